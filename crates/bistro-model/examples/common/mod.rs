//! Text for the examples, and where a batch begins in it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// GPT-2 tokens of a file, or of all `.txt` files of a folder in the order of their names; an end of text after each.
pub(crate) fn tokens(path: &Path) -> anyhow::Result<Vec<u32>> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = std::fs::read_dir(path)?.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<PathBuf>, _>>()?;
        files.retain(|file| file.extension().is_some_and(|e| e == "txt"));
        files.sort();
    }
    let bpe = tiktoken_rs::r50k_base()?;
    let mut ids = Vec::new();
    for file in files {
        ids.extend(bpe.encode_ordinary(&std::fs::read_to_string(&file).with_context(|| file.display().to_string())?));
        ids.push(50256);
    }
    Ok(ids)
}

/// Numbers that look random, the same ones in every run: Knuth's linear congruential generator.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}
