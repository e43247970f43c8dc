//! Text to token ids.
//!
//! - this file: a run's tokenizer, by name.
//! - [`gpt2`]: GPT-2's byte-pair encoding, written for speed.
//! - [`scan`]: where GPT-2 cuts a text into pieces.
//! - [`unicode`]: letters, numbers and white space.
//! - [`json`]: any `tokenizer.json` of Hugging Face.

pub mod gpt2;
pub mod json;
pub mod scan;
pub mod unicode;

use std::path::Path;
use std::sync::Arc;

use bistro_core::ids::Hash;

use crate::error::PagesError;
use gpt2::Gpt2;
use json::JsonTokenizer;

/// A run's tokenizer. Cheap to clone.
#[derive(Clone)]
pub struct Tokenizer {
    name: Arc<str>,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Gpt2(&'static Gpt2),
    Json(Arc<JsonTokenizer>),
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tokenizer").field(&self.name).finish()
    }
}

impl Tokenizer {
    /// GPT-2's: 50,257 ids. The first call takes about 0.1 s.
    pub fn gpt2() -> Self {
        Self { name: "gpt2".into(), kind: Kind::Gpt2(Gpt2::shared()) }
    }

    /// The tokenizer of a `tokenizer.json`. Its name is `json:` and the BLAKE3 of the file.
    pub fn from_file(path: &Path) -> Result<Self, PagesError> {
        let (tokenizer, digest) = JsonTokenizer::open(path)?;
        Ok(Self { name: format!("json:{digest}").into(), kind: Kind::Json(Arc::new(tokenizer)) })
    }

    /// What an operator names: `gpt2`, or the path of a `tokenizer.json`.
    pub fn find(name: &str) -> Result<Self, PagesError> {
        if name == "gpt2" {
            return Ok(Self::gpt2());
        }
        let path = Path::new(name);
        if path.is_file() { Self::from_file(path) } else { Err(PagesError::Tokenizer(name.into())) }
    }

    /// Its name in a run's rules.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many ids there are; the largest is one less.
    pub fn vocab_size(&self) -> usize {
        match &self.kind {
            Kind::Gpt2(gpt2) => gpt2.vocab_size(),
            Kind::Json(json) => json.vocab_size(),
        }
    }

    /// The id that stands between documents. No text is encoded to it, not even its own spelling.
    pub fn end_of_text(&self) -> u32 {
        match &self.kind {
            Kind::Gpt2(gpt2) => gpt2.end_of_text(),
            Kind::Json(json) => json.end_of_text(),
        }
    }

    /// The ids of `text`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, PagesError> {
        match &self.kind {
            Kind::Gpt2(gpt2) => Ok(gpt2.encode(text)),
            Kind::Json(json) => json.encode(text),
        }
    }

    /// What everybody's tokenizer must agree in. For GPT-2's: BLAKE3 over the bytes of every id in order, each after its
    /// length (u32, little-endian). For a `tokenizer.json`: BLAKE3 of the file.
    pub fn digest(&self) -> Hash {
        match &self.kind {
            Kind::Gpt2(gpt2) => gpt2.digest(),
            Kind::Json(json) => json.digest(),
        }
    }
}
