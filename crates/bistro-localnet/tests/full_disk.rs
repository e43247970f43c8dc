//! A miner whose disk takes no more goes on to train and to upload, says so, and leaves nothing half-written.
#![allow(clippy::unwrap_used, missing_docs)]

mod programs;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use bistro_localnet::network::{LocalNetwork, Member, Setup};
use tokio::process::Command;

/// How long anything here may take beside other tests.
const PATIENCE: Duration = Duration::from_mins(2);

/// Starts the miner; with a `limit`, where no file can be larger than so many KiB.
fn start(network: &LocalNetwork, member: &Member, corpus: &Path, limit: Option<u32>) -> tokio::process::Child {
    let miner = programs::of_member(network, "miner", member, corpus);
    let mut command = Command::new("bash");
    // Without the signal, writing fails as on a full disk.
    let limit = limit.map(|limit| format!("ulimit -f {limit}; ")).unwrap_or_default();
    command.args(["-c", &format!("trap '' XFSZ; {limit}exec \"$0\" \"$@\"")]);
    command.arg(miner.as_std().get_program()).args(miner.as_std().get_args());
    for (name, value) in miner.as_std().get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
}

async fn interrupted(child: tokio::process::Child) -> Output {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap()
}

/// Until the validator's log tells of `count` accepted deltas.
async fn accepted(log: &Path, count: usize) {
    let told = async {
        while std::fs::read_to_string(log).unwrap_or_default().matches("\"accept\"").count() < count {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("deltas are accepted");
}

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miner_whose_disk_is_full_trains_on_and_leaves_nothing_half_written() {
    let dir = tempfile::tempdir().unwrap();
    let (corpus, config) = programs::material(dir.path());
    let names = ["validator", "miner"].map(str::to_owned).into();
    let setup =
        Setup { dir: dir.path().join("network"), block_time: Duration::from_millis(500), names, ..Setup::default() };
    let network = LocalNetwork::start(setup).await.unwrap();
    let [judge, worker] = [0, 1].map(|i| network.members[i].clone());
    let _validator = programs::of_member(&network, "validator", &judge, &corpus)
        .args(["--rows-per-page", "4", "--model", config.to_str().unwrap()])
        .spawn()
        .unwrap();
    let state = network.setup.dir.join("state");
    let (folder, log) = (state.join(&worker.name), state.join(&judge.name).join("log/00000000000000000000.jsonl"));

    // The model's file has more than 1.5 MiB.
    let miner = start(&network, &worker, &corpus, Some(1024));
    accepted(&log, 3).await;
    let output = interrupted(miner).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("the work could not be saved") && said.contains(folder.to_str().unwrap()), "{said}");
    assert!(!said.contains("stopped; saved work"), "{said}");
    let left = files(&folder);
    assert!(left.iter().all(|name| name == "lock"), "{left:?}\n{said}");

    let miner = start(&network, &worker, &corpus, None);
    accepted(&log, 5).await;
    let output = interrupted(miner).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(0) && said.contains("stopped; saved work"), "{said}");
    assert!(files(&folder).iter().any(|name| name == "miner-state.json"), "{said}");
    network.stop().await;
}
