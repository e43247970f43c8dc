//! Which tokenizer a model folder has, and GPT-2's as the `tokenizer.json` that `transformers` loads.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Result, anyhow};
use bistro_model::hf;
use bistro_pages::Tokenizer;
use fs_err as fs;
use serde_json::{Value, json};

/// Ids of GPT-2's vocabulary, end-of-text included.
pub(super) const GPT2_IDS: usize = 50_257;
/// Settings that `transformers` reads beside the tokenizer.
pub(super) const SETTINGS: &str = "tokenizer_config.json";
const END_OF_TEXT: &str = "<|endoftext|>";

/// The tokenizer of a model folder: its own, or GPT-2's.
pub(super) fn of(folder: &Path) -> Result<Tokenizer> {
    let file = folder.join(hf::TOKENIZER);
    if file.is_file() { Ok(Tokenizer::from_file(&file)?) } else { Ok(Tokenizer::gpt2()) }
}

/// From ids back to text.
pub(super) enum Words {
    Gpt2,
    Json(Box<tokenizers::Tokenizer>),
}

impl Words {
    pub(super) fn of(folder: &Path) -> Result<Self> {
        let file = folder.join(hf::TOKENIZER);
        if !file.is_file() {
            return Ok(Self::Gpt2);
        }
        let json = tokenizers::Tokenizer::from_file(&file).map_err(|e| anyhow!("{}: {e}", file.display()))?;
        Ok(Self::Json(Box::new(json)))
    }

    /// What is no whole letter becomes a replacement character.
    pub(super) fn text(&self, ids: &[u32]) -> Result<String> {
        match self {
            Self::Gpt2 => {
                let bytes = tiktoken_rs::r50k_base_singleton().decode_bytes(ids)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            Self::Json(json) => json.decode(ids, false).map_err(|e| anyhow!("tokens to text: {e}")),
        }
    }
}

/// Writes GPT-2's tokenizer into a model folder.
pub(super) fn write_gpt2(folder: &Path) -> Result<()> {
    fs::write(folder.join(hf::TOKENIZER), serde_json::to_vec(&gpt2()?)?)?;
    let settings = json!({
        "tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": false, "clean_up_tokenization_spaces": false,
        "bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "unk_token": END_OF_TEXT,
    });
    Ok(fs::write(folder.join(SETTINGS), format!("{settings:#}\n"))?)
}

/// GPT-2's table in Hugging Face's form: every id as text, and the pair of which each longer one is made. The table that we
/// carry has the bytes only; the pair is what the other merges, all of lower ids, leave of them.
fn gpt2() -> Result<Value> {
    let table = tiktoken_rs::r50k_base_singleton();
    let last = GPT2_IDS as u32 - 1;
    let all = (0..last).map(|id| Ok(table.decode_bytes(&[id])?)).collect::<Result<Vec<Vec<u8>>>>()?;
    let ranks: HashMap<&[u8], usize> = all.iter().enumerate().map(|(id, bytes)| (bytes.as_slice(), id)).collect();
    let letters = letters();
    let spelled = |bytes: &[u8]| bytes.iter().map(|byte| letters[byte]).collect::<String>();
    let mut vocab = BTreeMap::new();
    let mut merges = Vec::new();
    for (id, bytes) in all.iter().enumerate() {
        vocab.insert(spelled(bytes), id);
        if bytes.len() > 1 {
            let at = halves(bytes, id, &ranks).ok_or_else(|| anyhow!("GPT-2's id {id} is no pair of others"))?;
            merges.push(format!("{} {}", spelled(&bytes[..at]), spelled(&bytes[at..])));
        }
    }
    vocab.insert(END_OF_TEXT.into(), GPT2_IDS - 1);
    let level = |prefix: bool, trim: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": true});
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [{"id": GPT2_IDS - 1, "content": END_OF_TEXT, "single_word": false, "lstrip": false,
                          "rstrip": false, "normalized": true, "special": true}],
        "pre_tokenizer": level(false, true), "post_processor": level(true, false), "decoder": level(true, true),
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": merges},
    }))
}

/// Where the two parts meet that are left when only ids below `id` are merged, lowest first.
fn halves(bytes: &[u8], id: usize, ranks: &HashMap<&[u8], usize>) -> Option<usize> {
    let mut cuts: Vec<usize> = (0..=bytes.len()).collect();
    while cuts.len() > 3 {
        let rank = |i: usize| ranks.get(&bytes[cuts[i]..cuts[i + 2]]).copied().filter(|rank| *rank < id);
        let (_, best) = (0..cuts.len() - 2).filter_map(|i| Some((rank(i)?, i))).min()?;
        cuts.remove(best + 1);
    }
    cuts.get(1).copied()
}

/// GPT-2's letter for each byte: itself where it can be printed, else one beyond U+0100 in order.
fn letters() -> HashMap<u8, char> {
    let printed = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let hidden = (0..=255_u8).filter(|byte| !printed(byte)).zip('\u{100}'..);
    (0..=255_u8).filter(printed).map(|byte| (byte, char::from(byte))).chain(hidden).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_tokenizer_is_gpt2s() {
        let folder = tempfile::tempdir().unwrap();
        write_gpt2(folder.path()).unwrap();
        let (own, written) = (Tokenizer::gpt2(), of(folder.path()).unwrap());
        let words = Words::of(folder.path()).unwrap();
        assert_eq!(written.vocab_size(), GPT2_IDS);
        assert_eq!(written.end_of_text(), own.end_of_text());
        for text in
            ["Hello, world!", " don't\n\n  stop\t123456", "naïve façade — 日本語 🎉", "<|endoftext|> is text", ""]
        {
            let ids = own.encode(text).unwrap();
            assert_eq!(words.text(&ids).unwrap(), text);
            assert_eq!(Words::Gpt2.text(&ids).unwrap(), text);
            if !text.contains("<|") {
                assert_eq!(written.encode(text).unwrap(), ids, "{text}");
            }
        }
    }
}
