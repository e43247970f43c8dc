//! `doctor` of a validator against a real local network: what only it needs.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::Command;
use std::time::Duration;

use bistro_localnet::network::{LocalNetwork, Setup};
use serde_json::Value;

#[test]
fn a_validator_s_permit_stake_and_memory_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("text")).unwrap();
    std::fs::write(folder.path().join("text/a.txt"), "the union and the states ".repeat(500)).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let setup = Setup {
        dir: folder.path().to_owned(),
        block_time: Duration::from_millis(500),
        names: ["validator", "poor"].map(Into::into).into(),
        ..Setup::default()
    };
    let network = runtime.block_on(LocalNetwork::start(setup)).unwrap();
    let doctor = |member: usize, more: &[&str]| -> (i32, Value) {
        let member = &network.members[member];
        let mut command = Command::new(env!("CARGO_BIN_EXE_bistro-validator"));
        command.env_clear().env("HOME", folder.path()).current_dir(folder.path()).envs(network.environment(member));
        command.args(["doctor", "--json", "--dataset", "dir:text"]).args(network.flags(member)).args(more);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
        (output.status.code().unwrap(), report)
    };
    let check = |report: &Value, id: &str| -> (String, String) {
        let checks = report["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["id"] == id).unwrap();
        (found["verdict"].as_str().unwrap().to_owned(), found["says"].as_str().unwrap().to_owned())
    };

    let (status, report) = doctor(0, &[]);
    assert_eq!((status, &report["ok"]), (0, &true.into()), "{report:#}");
    let (verdict, says) = check(&report, "D09");
    assert!(verdict == "PASS" && says.contains("stake 1000") && says.contains("every 10 blocks"), "{verdict} {says}");
    let (verdict, says) = check(&report, "D18");
    assert!(verdict == "PASS" && says.contains("weights"), "{verdict} {says}");

    let (status, report) = doctor(1, &["--quick"]);
    assert_eq!((status, check(&report, "D09").0.as_str()), (3, "FAIL"), "{report:#}");

    // The largest that is allowed: 180 GiB with the copies of master and delta.
    let config = r#"{"model_type": "llama", "vocab_size": 50257, "hidden_size": 8192, "intermediate_size": 28672,
        "num_hidden_layers": 15, "num_attention_heads": 64, "num_key_value_heads": 64, "max_position_embeddings": 64,
        "tie_word_embeddings": true}"#;
    std::fs::write(folder.path().join("huge.json"), config).unwrap();
    let (status, report) = doctor(0, &["--model", "huge.json"]);
    let (verdict, says) = check(&report, "D18");
    assert!(status == 3 && verdict == "FAIL" && says.contains("does not fit"), "{verdict} {says}");
}
