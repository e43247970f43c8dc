//! The programs as members of a local network, and what they train on: a few sentences and a model of some thousand weights.

#![allow(dead_code)] // No test needs all of it.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use bistro_localnet::network::{LocalNetwork, Member};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// How long anything here may take beside other tests.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

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

/// A command of another shell: no keys, no region, and an instance-metadata service that nobody is to ask.
pub(crate) async fn observed(network: &LocalNetwork, role: &str, args: &[&str]) -> Output {
    let metadata = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut command = program(role);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.args(args).args(["--netuid", &network.setup.netuid.to_string()]);
    command.args(["--subtensor.chain_endpoint", &network.chain.url()]);
    command.env("AWS_ENDPOINT_URL", network.s3.endpoint()).env_remove("AWS_REGION").env("HOME", "/nonexistent");
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", metadata.local_addr().unwrap()));
    tokio::select! {
        output = command.output() => output.unwrap(),
        _ = metadata.accept() => panic!("the instance-metadata service is asked"),
    }
}

/// What anybody finds who follows the published log, once `ready` holds of it.
pub(crate) async fn audited(network: &LocalNetwork, ready: impl Fn(&Value) -> bool) -> Value {
    let audited = async {
        loop {
            let output = observed(network, "validator", &["replay", "--json"]).await;
            let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            if ready(&report) {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(PATIENCE, audited).await.expect("the published log tells of it")
}

/// Ctrl-C.
pub(crate) async fn interrupt(child: &Child) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
}
