//! Any `tokenizer.json` of Hugging Face.

use std::path::Path;

use bistro_core::ids::Hash;

use crate::error::PagesError;

/// Largest file that is read, bytes: the largest vocabularies of 2026 have 40 MB.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Spellings of the token between documents, most telling first. The file itself does not say which it is.
const END_OF_TEXT: [&str; 6] = ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "[SEP]"];

/// A tokenizer from a file.
pub struct JsonTokenizer {
    inner: tokenizers::Tokenizer,
    end_of_text: u32,
    digest: Hash,
}

impl JsonTokenizer {
    /// Reads the file; its digest is the BLAKE3 of its bytes.
    pub fn open(path: &Path) -> Result<(Self, Hash), PagesError> {
        let bad = |why: String| PagesError::TokenizerFile { file: path.into(), why };
        let bytes = fs_err::metadata(path)?.len();
        if bytes > MAX_FILE_BYTES {
            return Err(bad(format!("it has {bytes} bytes, more than {MAX_FILE_BYTES}")));
        }
        let file = fs_err::read(path)?;
        let digest = Hash::of(&file);
        let mut inner = tokenizers::Tokenizer::from_bytes(&file).map_err(|e| bad(e.to_string()))?;
        // A document is encoded whole, and a special token's spelling in it is text like any other.
        inner.with_truncation(None).map_err(|e| bad(e.to_string()))?;
        inner.with_padding(None);
        inner.set_encode_special_tokens(true);
        let end_of_text = END_OF_TEXT.iter().find_map(|spelling| inner.token_to_id(spelling));
        let end_of_text = end_of_text
            .ok_or_else(|| bad(format!("it has no token between documents: none of {}", END_OF_TEXT.join(", "))))?;
        Ok((Self { inner, end_of_text, digest }, digest))
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        let largest = self.inner.get_vocab(true).into_values().max().unwrap_or(0);
        largest as usize + 1
    }

    /// The id that stands between documents.
    pub fn end_of_text(&self) -> u32 {
        self.end_of_text
    }

    /// BLAKE3 of the file.
    pub fn digest(&self) -> Hash {
        self.digest
    }

    /// The ids of `text`, without any that the file would add around it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, PagesError> {
        let encoding = self.inner.encode_fast(text, false).map_err(|e| PagesError::Encode(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }
}
