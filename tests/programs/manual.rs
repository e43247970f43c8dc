//! What is made from the flags: completions, manual pages, and a program's part of `docs/cli.md`. A test of either program.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::Command;

const NAME: &str = env!("CARGO_PKG_NAME");
const PROGRAM: &str = env!(concat!("CARGO_BIN_EXE_", env!("CARGO_PKG_NAME")));

fn answer(args: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    let output = command.env_clear().env("HOME", "/nonexistent").args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// `BISTRO_UPDATE_DOCS=1` writes the part anew.
#[test]
fn the_page_of_flags_is_up_to_date() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let [begin, end] = ["", "/"].map(|slash| format!("<!-- {slash}{NAME} -->\n"));
    // The other program's test may write its part at the same time.
    let alone = std::fs::File::open(&page).unwrap();
    alone.lock().unwrap();
    let text = std::fs::read_to_string(&page).unwrap();
    let from = text.find(&begin).unwrap() + begin.len();
    let to = text.find(&end).unwrap();
    let now = answer(&["man", "--markdown"]);
    if std::env::var_os("BISTRO_UPDATE_DOCS").is_some() {
        std::fs::write(&page, format!("{}{now}{}", &text[..from], &text[to..])).unwrap();
    } else if text[from..to] != now {
        panic!("docs/cli.md is stale: BISTRO_UPDATE_DOCS=1 cargo nextest run -p {NAME} --test manual");
    }
}

#[test]
fn every_shell_gets_completions_that_know_the_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = answer(&["completions", shell]);
        assert!(script.contains("wallet.name") && script.contains("doctor"), "{shell}");
    }
    let mut bash = Command::new("bash");
    let checked = bash.args(["-n", "-c", &answer(&["completions", "bash"])]).status().unwrap();
    assert!(checked.success(), "bash does not understand it");
}

#[test]
fn there_is_a_page_for_the_program_and_each_of_its_commands() {
    let folder = tempfile::tempdir().unwrap();
    answer(&["man", "--out", folder.path().to_str().unwrap()]);
    let page = std::fs::read_to_string(folder.path().join(format!("{NAME}.1"))).unwrap();
    assert!(page.contains(".SH SYNOPSIS") && page.contains("BISTRO_WALLET_NAME"), "{page}");
    assert!(folder.path().join(format!("{NAME}-bucket-check.1")).exists());
    assert_eq!(page, answer(&["man"]));
}
