//! The programs as members of a local network, and what they train on: a few sentences and a model of some thousand weights.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use bistro_localnet::network::{LocalNetwork, Member};
use tokio::process::Command;

const CONFIG: &str = r#"{"model_type": "llama", "vocab_size": 50257, "hidden_size": 16, "intermediate_size": 24,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 256,
    "tie_word_embeddings": true}"#;

/// A dataset's folder and a model's configuration below `dir`.
pub(crate) fn material(dir: &Path) -> (PathBuf, PathBuf) {
    let (corpus, config) = (dir.join("corpus"), dir.join("config.json"));
    std::fs::create_dir(&corpus).unwrap();
    let words = "The senate asks the people, and the people give the senate an answer.\n\n".repeat(4000);
    std::fs::write(corpus.join("words.txt"), words).unwrap();
    std::fs::write(&config, CONFIG).unwrap();
    (corpus, config)
}

/// The program of `role`, built beside this one.
pub(crate) fn program(role: &str) -> Command {
    let path = Path::new(env!("CARGO_BIN_EXE_bistro-localnet")).with_file_name(format!("bistro-{role}"));
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

/// That program as `member` runs it. Its output goes nowhere unless the caller says where.
pub(crate) fn of_member(network: &LocalNetwork, role: &str, member: &Member, corpus: &Path) -> Command {
    let mut command = program(role);
    command.args(network.flags(member)).envs(network.environment(member));
    command.args(["--device", "cpu", "--threads", "1", "--dataset", &format!("dir:{}", corpus.display())]);
    command
}
