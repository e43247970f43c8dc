//! What systemd hears from a real program: ready, what it does, that it moves, and that it stops, in that order.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bistro_localnet::network::{LocalNetwork, Setup};
use tokio::net::UnixDatagram;
use tokio::process::Command;

/// The next message of which some line begins with `wanted`; those before it are read and left.
async fn heard(socket: &UnixDatagram, wanted: &str) -> Vec<String> {
    let mut passed = Vec::new();
    let listening = async {
        loop {
            let mut message = [0; 512];
            let length = socket.recv(&mut message).await.unwrap();
            let lines: Vec<String> =
                String::from_utf8(message[..length].to_vec()).unwrap().lines().map(str::to_owned).collect();
            let found = lines.iter().any(|line| line.starts_with(wanted));
            passed.extend(lines);
            if found {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(2), listening).await.unwrap_or_else(|_| panic!("no {wanted}"));
    passed
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_that_a_miner_is_ready_what_it_does_that_it_moves_and_that_it_stops() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = dir.path().join("corpus");
    std::fs::create_dir(&corpus).unwrap();
    std::fs::write(corpus.join("a.txt"), "The people of the United States keep the union.\n\n".repeat(2_000)).unwrap();
    let names = vec!["validator".to_owned(), "miner".to_owned()];
    let setup = Setup { dir: dir.path().to_owned(), names, block_time: Duration::from_millis(300), ..Setup::default() };
    let network = LocalNetwork::start(setup).await.unwrap();
    let member = network.members[1].clone();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    // It waits for a first master, which never comes: all that this test wants to hear.
    let mut miner = Command::new(PathBuf::from(env!("CARGO_BIN_EXE_bistro-localnet")).with_file_name("bistro-miner"))
        .args(network.flags(&member))
        .args(["--device", "cpu", "--threads", "1", "--dataset"])
        .arg(format!("dir:{}", corpus.display()))
        .envs(network.environment(&member))
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "500000")
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let first = heard(&socket, "READY=1").await;
    assert_eq!(first, ["READY=1"], "nothing is said before it is ready");
    heard(&socket, "STATUS=").await;
    heard(&socket, "WATCHDOG=1").await;
    heard(&socket, "STATUS=waiting for a block").await;
    let id = miner.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    heard(&socket, "STOPPING=1").await;
    tokio::time::timeout(Duration::from_mins(1), miner.wait()).await.expect("it ends").unwrap();
    network.stop().await;
}
