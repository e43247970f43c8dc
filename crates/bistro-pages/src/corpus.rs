//! A folder of text files as a dataset.
//!
//! All `.txt` files in the folder and below it, in the order of their paths, make one config of one split. What the index
//! says follows from the files' names and contents alone: two machines with the same files agree, wherever they keep them.

use std::path::{Path, PathBuf};

use bistro_core::ids::Hash;
use bistro_core::pages::{Config, DatasetIndex, PageId};

use crate::error::PagesError;
use crate::rows;

/// Name of the only config of a folder.
pub const CONFIG: &str = "corpus";

/// Name of its only split.
pub const SPLIT: &str = "train";

/// Most text that is read, bytes: it is kept in memory.
pub const MAX_BYTES: u64 = 4 << 30;

/// Longest row, bytes: keeps the tokenizer, which is slow on one long word, within milliseconds.
pub const MAX_ROW_BYTES: u64 = 64 << 10;

/// How a folder becomes rows and pages. Part of what everybody must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorpusOptions {
    /// Rows of a page. The original's is 100.
    pub rows_per_page: u64,
    /// Most bytes of a row. Web pages, which the original's rows are, have about 2 KiB of text or more.
    pub row_bytes: usize,
}

impl Default for CorpusOptions {
    fn default() -> Self {
        Self { rows_per_page: 100, row_bytes: 2048 }
    }
}

/// The text of a folder, cut into rows.
pub struct Corpus {
    index: DatasetIndex,
    /// All files, one after another.
    text: String,
    /// Where each row ends in `text`; it starts where the one before ends.
    ends: Vec<usize>,
}

impl Corpus {
    /// Reads all of a folder into memory. Blocks: a few hundred megabytes a second.
    pub fn open(folder: &Path, options: CorpusOptions) -> Result<Self, PagesError> {
        check("rows_per_page", options.rows_per_page, 1, 1 << 20)?;
        check("row_bytes", options.row_bytes as u64, 64, MAX_ROW_BYTES)?;
        if !folder.is_dir() {
            return Err(PagesError::NoFolder(folder.into()));
        }
        let mut files = Vec::new();
        find_texts(folder, "", &mut files)?;
        files.sort();
        let mut corpus = Builder::new(options.row_bytes);
        for (name, path) in &files {
            corpus.add(folder, name, path)?;
        }
        if corpus.text.trim().is_empty() {
            return Err(PagesError::NoText(folder.into()));
        }
        corpus.finish(folder, options.rows_per_page)
    }

    /// What everybody's folder must agree in.
    pub fn index(&self) -> &DatasetIndex {
        &self.index
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.ends.len()
    }

    /// Row `number`, or nothing beyond the last.
    pub fn row(&self, number: usize) -> Option<&str> {
        let start = if number == 0 { 0 } else { *self.ends.get(number - 1)? };
        Some(&self.text[start..*self.ends.get(number)?])
    }

    /// All the text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The rows of a page, or nothing if the corpus has no such page.
    pub fn page(&self, page: &PageId) -> Option<impl Iterator<Item = &str>> {
        let end = page.row.checked_add(self.index.rows_per_page)?;
        let known = page.config == CONFIG && page.split == SPLIT && end <= self.rows() as u64;
        known.then(|| (page.row as usize..end as usize).filter_map(|number| self.row(number)))
    }
}

/// A corpus in the making.
struct Builder {
    row_bytes: usize,
    text: String,
    ends: Vec<usize>,
    hasher: blake3::Hasher,
}

impl Builder {
    fn new(row_bytes: usize) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"bistro-corpus/1");
        hasher.update(&(row_bytes as u64).to_le_bytes());
        Self { row_bytes, text: String::new(), ends: Vec::new(), hasher }
    }

    /// Adds one file: its rows never run into the next one's.
    fn add(&mut self, folder: &Path, name: &str, path: &Path) -> Result<(), PagesError> {
        let bytes = self.text.len() as u64 + fs_err::metadata(path)?.len();
        if bytes > MAX_BYTES {
            return Err(PagesError::TooLarge { folder: folder.into(), bytes, max: MAX_BYTES });
        }
        let text = String::from_utf8(fs_err::read(path)?)
            .map_err(|e| PagesError::NotUtf8 { file: path.into(), offset: e.utf8_error().valid_up_to() })?;
        // Lengths precede what they measure, so that no text can be moved between a file and its neighbour unnoticed.
        for part in [name, &text] {
            self.hasher.update(&(part.len() as u64).to_le_bytes());
            self.hasher.update(part.as_bytes());
        }
        let start = self.text.len();
        self.ends.extend(rows::cut(&text, self.row_bytes).map(|row| start + row.end));
        self.text.push_str(&text);
        Ok(())
    }

    fn finish(self, folder: &Path, rows_per_page: u64) -> Result<Corpus, PagesError> {
        let content = Hash(*self.hasher.finalize().as_bytes());
        let config = Config { name: CONFIG.into(), split: SPLIT.into(), rows: self.ends.len() as u64 };
        let dataset = format!("dir:{}", content.hash16());
        let index = DatasetIndex {
            dataset,
            rows_per_page,
            row_bytes: Some(self.row_bytes as u64),
            content: Some(content),
            configs: vec![config],
        };
        index.check().map_err(|source| PagesError::TooSmall { folder: folder.into(), source })?;
        Ok(Corpus { index, text: self.text, ends: self.ends })
    }
}

/// Adds every `.txt` file of `folder` with its path from the top, parts joined by `/` on every system. Links to folders
/// are not followed, so the walk ends.
fn find_texts(folder: &Path, prefix: &str, found: &mut Vec<(String, PathBuf)>) -> Result<(), PagesError> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let is_folder = entry.file_type()?.is_dir();
        let is_text = path.extension().is_some_and(|extension| extension == "txt") && path.is_file();
        if !is_folder && !is_text {
            continue;
        }
        let name = entry.file_name().into_string().map_err(|_| PagesError::Name(path.clone()))?;
        let name = format!("{prefix}{name}");
        if is_folder {
            find_texts(&path, &format!("{name}/"), found)?;
        } else {
            found.push((name, path));
        }
    }
    Ok(())
}

/// Checks that a number lies within its bounds.
pub(crate) fn check(name: &'static str, value: u64, min: u64, max: u64) -> Result<(), PagesError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(PagesError::Option { name, value, min, max }) }
}
