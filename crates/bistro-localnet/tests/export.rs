//! `bistro-validator model export` against a network that runs: real programs, real chain and S3 interfaces.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use bistro_core::ids::Block;
use bistro_core::protocol::MasterManifest;
use bistro_localnet::network::{LocalNetwork, Setup};
use bistro_node::leader;
use tokio::process::{Child, Command};

const CONFIG: &str = r#"{"model_type": "llama", "vocab_size": 50257, "hidden_size": 16, "intermediate_size": 24,
    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 256,
    "tie_word_embeddings": true}"#;

fn validator() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_bistro-localnet")).with_file_name("bistro-validator")
}

/// A validator that begins a run with the model of `config`.
fn begin(network: &LocalNetwork, corpus: &Path, config: &Path) -> Child {
    let member = &network.members[0];
    Command::new(validator())
        .args(network.flags(member))
        .envs(network.environment(member))
        .args(["--device", "cpu", "--threads", "1", "--rows-per-page", "4", "--model", config.to_str().unwrap()])
        .args(["--dataset", &format!("dir:{}", corpus.display())])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// The first master that anybody sees, looked for at every block.
async fn published(network: &LocalNetwork) -> MasterManifest {
    let parts = network.parts(&network.members[0]).await.unwrap();
    let mut block = Block(0);
    loop {
        let metagraph = parts.chain.metagraph().await.unwrap();
        if let Some(leader) = leader::find(&parts, &metagraph).await.unwrap() {
            return leader.manifest;
        }
        block = parts.chain.next_block(block).await.unwrap();
    }
}

/// `bistro-validator model …` of somebody who has the network's addresses and no keys.
async fn model(network: &LocalNetwork, args: &[&str]) -> Output {
    let output = Command::new(validator())
        .arg("model")
        .args(args)
        .env("AWS_ENDPOINT_URL", network.s3.endpoint())
        .env("AWS_REGION", "us-east-1")
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .output();
    output.await.unwrap()
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_networks_master_is_exported_without_keys_and_measured() {
    let dir = tempfile::tempdir().unwrap();
    let [corpus, config, out, text] =
        ["corpus", "config.json", "master", "corpus/words.txt"].map(|n| dir.path().join(n));
    std::fs::create_dir(&corpus).unwrap();
    std::fs::write(&text, "The senate asks the people, and the people give the senate an answer.\n".repeat(2000))
        .unwrap();
    std::fs::write(&config, CONFIG).unwrap();
    let setup = Setup {
        dir: dir.path().join("network"),
        block_time: Duration::from_millis(200),
        names: vec!["validator".into()],
        ..Setup::default()
    };
    let network = LocalNetwork::start(setup).await.unwrap();
    let (url, netuid) = (network.chain.url(), network.setup.netuid.to_string());
    let folder = out.to_str().unwrap();
    let export = ["export", "--netuid", &netuid, "--subtensor.chain_endpoint", &url, "--out", folder];
    let early = model(&network, &export).await;
    assert!(!early.status.success() && said(&early).contains("has published a master"), "{}", said(&early));

    let _validator = begin(&network, &corpus, &config);
    let manifest = tokio::time::timeout(Duration::from_mins(2), published(&network)).await.unwrap();
    let exported = model(&network, &export).await;
    assert!(exported.status.success(), "{}", said(&exported));
    assert!(said(&exported).contains(&manifest.hash.to_string()), "wanted {}: {}", manifest.hash, said(&exported));

    let eval = ["eval", "--json", "--model", folder, "--text", text.to_str().unwrap(), "--max-tokens", "101"];
    let measured = model(&network, &eval).await;
    let answer: serde_json::Value = serde_json::from_slice(&measured.stdout).unwrap();
    let loss = answer["loss"].as_f64().unwrap();
    assert!(answer["tokens"] == 100 && (loss - 50_257_f64.ln()).abs() < 0.1, "{answer}");
    network.stop().await;
}
