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

/// Makes the wallet `w` below `home`; the folder of wallets.
fn wallet(home: &std::path::Path) -> String {
    let wallets = home.join("wallets");
    let (coldkey, hotkey) = (bistro_chain::KeySource::Random, bistro_chain::KeySource::Uri("//Bob"));
    bistro_chain::Wallet::create(Some(&wallets), "w", "default", coldkey, hotkey).unwrap();
    wallets.display().to_string()
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

/// A server that takes connections and never says a word: the watchdog is the first to lose patience.
#[test]
fn a_program_that_stands_still_ends_with_status_75_and_says_at_what() {
    let home = tempfile::tempdir().unwrap();
    let wallets = wallet(home.path());
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("ws://{}", silent.local_addr().unwrap());
    let flags = ["--bucket", "decis", "--wallet.path", &wallets, "--wallet.name", "w", "--stall-after", "1"];
    let output = run(&[&flags[..], &["--subtensor.chain_endpoint", &endpoint]].concat());
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("stands still") && said.contains("connecting to the chain"), "{said}");
}

/// Wallet and chain come first, so the rules are checked against a local wallet and no chain: the error is the chain's, and
/// temporary.
#[test]
fn a_chain_that_does_not_answer_is_a_temporary_failure() {
    let home = tempfile::tempdir().unwrap();
    let wallets = wallet(home.path());
    // Port 9 of the loopback (discard) is closed.
    let endpoint = "ws://127.0.0.1:9";
    let line =
        ["--bucket", "decis", "--wallet.path", &wallets, "--wallet.name", "w", "--subtensor.chain_endpoint", endpoint];
    let output = run(&line);
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains(endpoint) && said.contains(" INFO ") && !said.contains('\x1b'), "{said}");

    let quiet = stderr(&run(&[&line[..], &["-q", "--color", "always"]].concat()));
    assert!(quiet.contains(endpoint) && !quiet.contains("INFO") && quiet.contains("\x1b[31mERROR"), "{quiet}");
}

/// A program with a folder of its own to stand in.
fn within(folder: &std::path::Path, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bistro-validator"));
    let variables = variables.iter().copied();
    command.env_clear().env("HOME", "/nonexistent").current_dir(folder).envs(variables).args(args).output().unwrap()
}

#[test]
fn settings_come_from_flag_variable_file_and_default_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bistro.toml"), "netuid = 7\nbucket = \"of-file\"\nwallet.name = \"w\"\n")
        .unwrap();
    let secret = ("AWS_SECRET_ACCESS_KEY", "hush-hush");
    let args = ["--bucket", "of-flag", "config", "show", "--json"];
    let output = within(folder.path(), &args, &[("BISTRO_NETUID", "8"), ("BT_WALLET_HOTKEY", "h"), secret]);
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success() && !said.contains("hush"), "{said}{}", stderr(&output));
    let shown: serde_json::Value = serde_json::from_str(&said).unwrap();
    for (name, value, origin) in [
        ("bucket", "\"of-flag\"", "command line"),
        ("netuid", "8", "variable BISTRO_NETUID"),
        ("wallet.hotkey", "\"h\"", "variable BT_WALLET_HOTKEY"),
        ("wallet.name", "\"w\"", "bistro.toml"),
        ("device", "\"cpu\"", "default"),
    ] {
        let setting = &shown["settings"][name];
        assert_eq!(
            (setting["value"].to_string().as_str(), setting["origin"].as_str().unwrap()),
            (value, origin),
            "{name}"
        );
    }
}

#[test]
fn a_mistake_in_the_file_ends_with_status_2_before_anything_begins() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bistro.toml"), "bukcet = \"b\"\nnetuid = \"many\"\n").unwrap();
    let output = within(folder.path(), &[], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("did you mean `bucket`?") && stderr(&output).contains("`netuid`"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_new_file_is_never_laid_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let init = || within(folder.path(), &["config", "init"], &[]);
    assert!(init().status.success());
    assert!(within(folder.path(), &["config", "check"], &[]).status.success());
    let again = init();
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("bistro.toml exists"), "{}", stderr(&again));
}
