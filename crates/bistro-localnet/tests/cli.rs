//! A newcomer's way on the local network: chain up, wallet made, funded, registered, staked.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn localnet(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bistro-localnet"));
    command.args(args).env("NO_COLOR", "1");
    command
}

/// Ended with the test, also with one that fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a network on free ports; the chain's address is in its first line.
fn up(dir: &Path, more: &[&str]) -> (Running, String, String) {
    let dir = dir.display().to_string();
    let mut command = localnet(&["up", "--dir", &dir, "--chain-port", "0", "--s3-port", "0", "--block-time", "200"]);
    let mut child = command.args(more).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let url = first.split_whitespace().nth(1).unwrap().to_owned();
    let programs: Vec<String> = lines.map(Result::unwrap).filter(|l| l.contains("bistro-")).take(3).collect();
    (Running(child), url, programs.join("\n"))
}

fn run(command: &str, url: &str, wallets: &str, more: &[&str]) -> Output {
    let mut args = vec![command, "--wallet.path", wallets, "--wallet.name", "new"];
    if command != "wallet" {
        args.extend(["--subtensor.chain_endpoint", url]);
    }
    args.extend(more);
    localnet(&args).output().unwrap()
}

#[test]
fn a_new_wallet_is_funded_registered_and_staked() {
    let dir = tempfile::tempdir().unwrap();
    let (_network, url, programs) = up(dir.path(), &[]);
    assert!(programs.contains("bistro-validator") && programs.contains("bistro-miner"), "{programs}");
    let wallets = dir.path().join("mine").display().to_string();
    let step = |command: &str, more: &[&str]| {
        let output = run(command, &url, &wallets, more);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    assert_eq!(step("wallet", &[]).0, Some(0));
    let (code, said) = step("register", &[]);
    assert_eq!(code, Some(2), "an empty coldkey cannot pay: {said}");
    assert!(said.contains("too little TAO"), "the reason is the balance: {said}");
    assert_eq!(step("fund", &[]).0, Some(0));
    let (code, said) = step("register", &[]);
    assert!(code == Some(0) && said.contains("uid=3"), "{said}");
    let opened = localnet(&["open", "--subtensor.chain_endpoint", &url]).output().unwrap();
    let said = String::from_utf8_lossy(&opened.stderr).into_owned();
    assert!(opened.status.success() && said.contains("needed=false"), "{said}");
    assert_eq!(step("stake", &["--amount", "5"]).0, Some(0));
    let (code, said) = step("stake", &["--amount", "5000"]);
    assert_eq!(code, Some(2), "more than there is: {said}");
    // The same wallet is never overwritten.
    let (code, said) = step("wallet", &[]);
    assert!(code == Some(2) && said.contains("exists already"), "{said}");
}

#[test]
fn a_network_with_commit_reveal_and_faults_passes_the_smoke_test() {
    let dir = tempfile::tempdir().unwrap();
    let (_network, url, _) = up(dir.path(), &["--commit-reveal", "--faults"]);
    let wallets = dir.path().join("wallets").display().to_string();
    let flags = ["--subtensor.chain_endpoint", &url, "--wallet.path", &wallets, "--wallet.name", "validator"];
    let output = localnet(&["smoke"]).args(flags).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("by commit-reveal") && said.contains("all steps OK"), "{said}");
}

/// A variable left over from mining must not make this program pay, or poison, elsewhere.
#[test]
fn public_networks_are_refused() {
    for command in ["register", "open", "stake"] {
        let output = localnet(&[command]).env("BT_SUBTENSOR_NETWORK", "finney").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains("finney is a public network"), "{said}");
    }
}
