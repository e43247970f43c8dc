//! Programs whose disk takes no more: a miner goes on to train and to upload, and says so; a validator ends, and goes on where it
//! was once there is room. Nothing is left half-written.
#![allow(clippy::unwrap_used, missing_docs)]

mod programs;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use bistro_localnet::network::{LocalNetwork, Setup};
use programs::PATIENCE;
use tokio::process::{Child, Command};

/// The validator's log in the network's folder.
const LOG: &str = "state/validator/log/00000000000000000000.jsonl";

/// Starts `program`; with a `limit`, where no file can be larger than so many KiB.
fn start(program: &Command, limit: Option<u32>) -> Child {
    let program = program.as_std();
    let mut command = Command::new("bash");
    // Without the signal, writing fails as on a full disk.
    let limit = limit.map(|limit| format!("ulimit -f {limit}; ")).unwrap_or_default();
    command.args(["-c", &format!("trap '' XFSZ; {limit}exec \"$0\" \"$@\"")]);
    command.arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
}

/// A network of a validator and a miner below `dir`, and both programs as yet not started.
async fn network(dir: &Path) -> (LocalNetwork, [Command; 2]) {
    let (corpus, config) = programs::material(dir);
    let names = ["validator", "miner"].map(str::to_owned).into();
    let setup = Setup { dir: dir.join("network"), block_time: Duration::from_millis(500), names, ..Setup::default() };
    let network = LocalNetwork::start(setup).await.unwrap();
    let [judge, worker] = [0, 1].map(|i| network.members[i].clone());
    let mut validator = programs::of_member(&network, "validator", &judge, &corpus);
    validator.args(["--rows-per-page", "4", "--model", config.to_str().unwrap()]);
    let miner = programs::of_member(&network, "miner", &worker, &corpus);
    (network, [validator, miner])
}

async fn interrupted(child: Child) -> Output {
    programs::interrupt(&child).await;
    ended(child).await
}

async fn ended(child: Child) -> Output {
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
    let (network, [validator, miner]) = network(dir.path()).await;
    let _judging = start(&validator, None);
    let (folder, log) = (network.setup.dir.join("state/miner"), network.setup.dir.join(LOG));

    // The model's file has more than 1.5 MiB.
    let training = start(&miner, Some(1024));
    accepted(&log, 3).await;
    let output = interrupted(training).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("the work could not be saved") && said.contains(folder.to_str().unwrap()), "{said}");
    assert!(!said.contains("stopped; saved work"), "{said}");
    let left = files(&folder);
    assert!(left.iter().all(|name| name == "lock"), "{left:?}\n{said}");

    let training = start(&miner, None);
    accepted(&log, 5).await;
    let output = interrupted(training).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(0) && said.contains("stopped; saved work"), "{said}");
    assert!(files(&folder).iter().any(|name| name == "miner-state.json"), "{said}");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_whose_disk_is_full_ends_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (network, [validator, miner]) = network(dir.path()).await;
    let _training = start(&miner, None);
    let log = network.setup.dir.join(LOG);

    let output = ended(start(&validator, Some(8))).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(75) && said.contains("File too large"), "{said}");
    let before = std::fs::read_to_string(&log).unwrap();

    let judging = start(&validator, None);
    let judged = before.matches("\"judged\"").count() as u64;
    let report = programs::audited(&network, |report| report["judged"].as_u64() >= Some(judged + 2)).await;
    assert!(report["differences"] == serde_json::json!([]) && report["broken"].is_null(), "{report}");
    let whole = before.rfind('\n').map_or("", |end| &before[..=end]);
    assert!(std::fs::read_to_string(&log).unwrap().starts_with(whole), "what was written stands");
    assert_eq!(interrupted(judging).await.status.code(), Some(0));
    network.stop().await;
}
