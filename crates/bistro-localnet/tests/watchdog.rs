//! A program whose loop stands still ends with status 75, so that whoever supervises it starts it again.
#![allow(clippy::unwrap_used, missing_docs)]

mod programs;

use std::process::Stdio;
use std::time::Duration;

use bistro_localnet::network::{LocalNetwork, Setup};

/// Shorter than the 30 seconds for which the loop waits for a block by right, longer than anything it does before.
const STALL_AFTER: &str = "15";

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_stands_still_ends_with_status_75() {
    let dir = tempfile::tempdir().unwrap();
    let (corpus, _) = programs::material(dir.path());
    let names = vec!["validator".to_owned()];
    let block_time = Duration::from_millis(300);
    let setup = Setup { dir: dir.path().to_owned(), names, block_time, faults: true, ..Setup::default() };
    let network = LocalNetwork::start(setup).await.unwrap();
    let member = network.members[0].clone();
    let validator = programs::of_member(&network, "validator", &member, &corpus)
        .args(["--stall-after", STALL_AFTER])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Once it has measured the first master it has nothing to do but to wait for blocks.
    let log = dir.path().join("state/validator/log/00000000000000000000.jsonl");
    let begun = async {
        while !std::fs::read_to_string(&log).unwrap_or_default().contains("measured") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), begun).await.expect("the validator begins");
    network.chain.faults().unwrap().gate().stall();
    let ended = tokio::time::timeout(Duration::from_mins(1), validator.wait_with_output()).await.expect("it ends");
    let output = ended.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{said}");
    // Or it was just asking who is there, which it does every few blocks.
    let doing = ["waiting for a block", "reading the metagraph"];
    assert!(said.contains("the loop stands still") && doing.iter().any(|doing| said.contains(doing)), "{said}");
    network.stop().await;
}
