//! `bistro-validator model export` against a network that runs: real programs, real chain and S3 interfaces.
#![allow(clippy::unwrap_used, missing_docs)]

mod programs;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use bistro_core::ids::Block;
use bistro_core::protocol::MasterManifest;
use bistro_localnet::network::{LocalNetwork, Setup};
use bistro_node::leader;
use tokio::process::Child;

/// A validator that begins a run with the model of `config`.
fn begin(network: &LocalNetwork, corpus: &Path, config: &Path) -> Child {
    programs::of_member(network, "validator", &network.members[0], corpus)
        .args(["--rows-per-page", "4", "--model", config.to_str().unwrap()])
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
    let output = programs::program("validator")
        .arg("model")
        .args(args)
        .env("AWS_ENDPOINT_URL", network.s3.endpoint())
        .env("AWS_REGION", "us-east-1")
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output();
    output.await.unwrap()
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_networks_master_is_exported_without_keys_and_measured() {
    let dir = tempfile::tempdir().unwrap();
    let (corpus, config) = programs::material(dir.path());
    let (out, text) = (dir.path().join("master"), corpus.join("words.txt"));
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
