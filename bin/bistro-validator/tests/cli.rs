//! What an operator meets before the loop begins: help, and one clear error for each mistake.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bistro-validator"));
    // An environment of its own: the tester's AWS keys and wallets are none of its business.
    command.env_clear().env("HOME", "/nonexistent").args(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_names_every_flag_of_the_readme() {
    let output = run(&["--help"]);
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for flag in
        ["--wallet.name", "--wallet.hotkey", "--subtensor.network", "--netuid", "--bucket", "--device", "--rules"]
    {
        assert!(help.contains(flag), "{flag} is missing");
    }
    assert!(!help.contains("SECRET_ACCESS_KEY="), "a secret must never be a flag");
}

#[test]
fn a_missing_wallet_is_named_with_the_path_tried() {
    let output = run(&["--bucket", "decis", "--wallet.name", "nobody"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("/nonexistent/.bittensor/wallets/nobody"), "{}", stderr(&output));
}

#[test]
fn a_missing_bucket_flag_is_a_usage_error() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--bucket"));
}

#[test]
fn a_mistyped_flag_is_answered_with_the_right_one() {
    let output = run(&["--walet.name", "x", "--bucket", "abc"]);
    assert!(stderr(&output).contains("--wallet.name"), "{}", stderr(&output));
}

/// Wallet and chain come first, so the rules are checked against a local wallet and no chain: the error is the chain's, and
/// temporary.
#[test]
fn a_chain_that_does_not_answer_is_a_temporary_failure() {
    let home = tempfile::tempdir().unwrap();
    let wallets = home.path().join("wallets");
    bistro_chain::Wallet::create(
        Some(&wallets),
        "w",
        "default",
        bistro_chain::KeySource::Random,
        bistro_chain::KeySource::Uri("//Bob"),
    )
    .unwrap();
    let wallets = wallets.display().to_string();
    // Port 9 of the loopback (discard) is closed.
    let endpoint = "ws://127.0.0.1:9";
    let output = run(&[
        "--bucket",
        "decis",
        "--wallet.path",
        &wallets,
        "--wallet.name",
        "w",
        "--subtensor.chain_endpoint",
        endpoint,
    ]);
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    assert!(stderr(&output).contains(endpoint), "{}", stderr(&output));
}
