//! The `model` commands, as an operator types them.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::{Command, Output};

fn model(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bistro-validator")).arg("model").args(args).output().unwrap()
}

fn answer(args: &[&str]) -> String {
    let output = model(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const CONFIG: &str = r#"{"model_type": "llama", "vocab_size": 50257, "hidden_size": 16, "intermediate_size": 24,
    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64,
    "tie_word_embeddings": true}"#;

#[test]
fn models_are_made_converted_measured_and_sampled() {
    let folder = tempfile::tempdir().unwrap();
    let [config, a, b, words] = ["config.json", "a", "b", "words.txt"].map(|name| folder.path().join(name));
    std::fs::write(&config, CONFIG).unwrap();
    std::fs::write(&words, "The quick brown fox jumps over the lazy dog. ".repeat(40)).unwrap();
    let made = answer(&["init", text(&config), "--out", text(&a), "--seed", "3"]);
    let again = answer(&["init", text(&config), "--out", text(&b), "--seed", "3"]);
    assert_eq!(made.split("hash").last(), again.split("hash").last(), "a seed is a model");

    let eval = |model: &Path, more: &[&str]| -> serde_json::Value {
        let args = [&["eval", "--json", "--model", text(model), "--text", text(&words)], more].concat();
        serde_json::from_str(&answer(&args)).unwrap()
    };
    let eight = eval(&a, &["--seq", "8", "--max-tokens", "9"]);
    assert_eq!(eight["tokens"], 8);
    let loss = eight["loss"].as_f64().unwrap();
    assert!((loss - 50_257_f64.ln()).abs() < 0.05, "a new model guesses: {loss}");
    assert!((eight["perplexity"].as_f64().unwrap().ln() - loss).abs() < 1e-9);
    assert!(eight["tokens_per_s"].as_f64().unwrap() > 0.0);
    // Cut otherwise, the same tokens are predicted.
    assert_eq!(eval(&a, &["--max-tokens", "200"])["tokens"], 199);

    answer(&["import", text(&a), "--out", text(&b), "--dtype", "bf16"]);
    let short = eval(&b, &["--seq", "8", "--max-tokens", "9"])["loss"].as_f64().unwrap();
    assert!((short - loss).abs() < 1e-3, "{short} is not about {loss}");

    let sample = ["sample", "--model", text(&a), "--prompt", "Hello", "--tokens", "5", "--seed", "1"];
    let written = answer(&sample);
    assert!(written.starts_with("Hello"));
    assert_eq!(written, answer(&sample));
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let output = model(&["eval", "--model", text(&nowhere), "--text", text(folder.path())]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere"));
    let output = model(&["init", "giant", "--out", text(&nowhere)]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("135m"));
    assert!(!nowhere.exists());
}

#[test]
fn a_device_that_cannot_be_used_is_refused_with_the_reason_and_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let [config, a, words] = ["config.json", "a", "words.txt"].map(|name| folder.path().join(name));
    std::fs::write(&config, CONFIG).unwrap();
    std::fs::write(&words, "One two three four.").unwrap();
    answer(&["init", text(&config), "--out", text(&a)]);
    // No machine has so many: without CUDA the library is what is missing, else the driver or the device.
    let output = model(&["eval", "--model", text(&a), "--text", text(&words), "--device", "cuda:4095"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(["setup.sh --cuda", "nvidia-smi", "counted from 0"].iter().any(|hint| said.contains(hint)), "{said}");
    assert!(output.stdout.is_empty());
}
