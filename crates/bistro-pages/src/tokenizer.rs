//! Text to token ids.

use bistro_core::ids::Hash;
use tiktoken_rs::CoreBPE;

use crate::error::PagesError;

/// A byte-pair encoding. Cheap to clone: the table is loaded once a process.
#[derive(Clone, Copy)]
pub struct Tokenizer {
    name: &'static str,
    bpe: &'static CoreBPE,
    end_of_text: u32,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tokenizer").field(&self.name).finish()
    }
}

impl Tokenizer {
    /// GPT-2's: 50,257 ids. The first call takes about 0.1 s.
    pub fn gpt2() -> Self {
        Self { name: "gpt2", bpe: tiktoken_rs::r50k_base_singleton(), end_of_text: 50_256 }
    }

    /// The tokenizer that a run's rules name.
    pub fn by_name(name: &str) -> Result<Self, PagesError> {
        if name == "gpt2" { Ok(Self::gpt2()) } else { Err(PagesError::Tokenizer(name.into())) }
    }

    /// Its name in a run's rules.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How many ids there are; the largest is one less.
    pub fn vocab_size(&self) -> usize {
        self.end_of_text as usize + 1
    }

    /// The id that stands between documents. No text is encoded to it, not even its own spelling.
    pub fn end_of_text(&self) -> u32 {
        self.end_of_text
    }

    /// The ids of `text`, of at most [`crate::corpus::MAX_ROW_BYTES`].
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.bpe.encode_ordinary(text)
    }

    /// BLAKE3 over the bytes of every id in order, each after its length (u32, little-endian).
    pub fn digest(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        for id in 0..=self.end_of_text {
            let bytes = self.bpe.decode_bytes(&[id]).unwrap_or_default();
            hasher.update(&(bytes.len() as u32).to_le_bytes());
            hasher.update(&bytes);
        }
        Hash(*hasher.finalize().as_bytes())
    }
}
