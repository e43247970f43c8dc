//! Ids of adversarial text, as the reference gives them.
//!
//! `gpt2.json` was written by Python's tiktoken 0.14.0, `get_encoding("gpt2").encode_ordinary(text)`.
#![allow(clippy::unwrap_used)]

use bistro_pages::Tokenizer;
use bistro_pages::corpus::MAX_ROW_BYTES;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
}

#[test]
fn ids_are_the_references() {
    let tokenizer = Tokenizer::gpt2();
    let cases: Vec<Case> = serde_json::from_str(include_str!("gpt2.json")).unwrap();
    assert!(cases.len() > 40);
    for Case { text, ids } in cases {
        assert_eq!(tokenizer.encode(&text), ids, "{text:?}");
    }
}

#[test]
fn no_text_becomes_end_of_text() {
    let tokenizer = Tokenizer::gpt2();
    let ids = tokenizer.encode("<|endoftext|>");
    assert!(!ids.contains(&tokenizer.end_of_text()));
    assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()));
}

#[test]
fn the_longest_row_of_one_kind_is_encoded() {
    let tokenizer = Tokenizer::gpt2();
    for unit in ["a", " ", "\n", "é", "1", "ab "] {
        let row = unit.repeat(MAX_ROW_BYTES as usize / unit.len());
        assert!(!tokenizer.encode(&row).is_empty());
    }
}

/// The digest was computed by Python from the reference's table.
#[test]
fn the_digest_is_the_tables() {
    let tokenizer = Tokenizer::by_name("gpt2").unwrap();
    assert_eq!(tokenizer.digest().to_string(), "ac38a36c90948e530a125ff0f9105d5f41a2c3046c4cae7b033fd4d791c41bf2");
    assert!(Tokenizer::by_name("gpt-4").unwrap_err().to_string().contains("gpt2"));
}
