//! `pages`, as an operator types it: what it prints is the schedule that numpy gives.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::{Command, Output};

use bistro_pages::IndexFile;
use bistro_pages::index_file::IndexedConfig;
use serde_json::Value;

fn pages(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bistro-miner"));
    command.env_clear().env("HOME", "/nonexistent").arg("pages").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The known answers of `bistro-core`, through an index file and the whole program. No network is there to be asked.
#[test]
fn both_windows_are_numpys() {
    let known = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/bistro-core/tests/pages.json");
    let known: Value = serde_json::from_slice(&std::fs::read(known).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for (number, dataset) in known["datasets"].as_array().unwrap().iter().enumerate() {
        let config = |(i, rows): (usize, &Value)| IndexedConfig {
            name: format!("part-{i:02}"),
            split: "train".into(),
            rows: rows.as_u64().unwrap(),
            files: Vec::new(),
        };
        let configs = dataset["rows"].as_array().unwrap().iter().enumerate().map(config).collect();
        let index = dir.path().join(format!("{number}.json"));
        std::fs::write(&index, IndexFile::new("maker/words", "text", configs).to_text()).unwrap();
        for case in dataset["cases"].as_array().unwrap() {
            let (uid, offset) = (case["seed"].as_u64().unwrap(), case["offset"].as_u64().unwrap());
            // The README's rules slide by 4 pages a block, and a miner looks 100 pages ahead.
            let windows = [("judged", Some(offset)), ("trained", offset.checked_sub(100))];
            for (window, start) in windows.map(|(window, start)| (window, start.filter(|start| start % 4 == 0))) {
                let Some(block) = start.map(|start| (start / 4).to_string()) else { continue };
                let output = pages(&[
                    "--dataset",
                    "hf:maker/words",
                    "--dataset.index",
                    index.to_str().unwrap(),
                    "--rows_per_page",
                    "100",
                    "--rules",
                    "readme",
                    "--block",
                    &block,
                    "--uid",
                    &uid.to_string(),
                    "--json",
                ]);
                assert!(output.status.success(), "{}", text(&output.stderr));
                let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
                let page = |p: &Value| (format!("part-{:02}", p[0].as_u64().unwrap()), p[1].as_u64().unwrap());
                let expected: Vec<_> = case["pages"].as_array().unwrap().iter().map(page).collect();
                let page = |p: &Value| (p["config"].as_str().unwrap().to_owned(), p["row"].as_u64().unwrap());
                let found: Vec<_> = answer[window].as_array().unwrap().iter().map(page).collect();
                assert_eq!(found.len(), 100);
                assert_eq!(found[..expected.len()], expected, "{window} of uid {uid} at block {block}");
                checked += 1;
            }
            // Two or three programs a dataset are enough; the schedule itself is tested in the core.
            if checked > 2 * number + 3 {
                break;
            }
        }
    }
    assert!(checked >= 8, "{checked} windows");
}

#[test]
fn lines_for_people_name_dataset_and_windows() {
    let fineweb = ["--dataset", "hf:HuggingFaceFW/fineweb-edu-score-2"];
    let output = pages(&[&fineweb[..], &["--rows_per_page", "100", "--block", "3000000", "--uid", "7"]].concat());
    let out = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(out.starts_with("dataset HuggingFaceFW/fineweb-edu-score-2 digest "), "{out}");
    assert!(out.contains("at block 3000000 the miner trains on 100 pages of uid 7:\n  CC-MAIN-"), "{out}");
    assert!(out.contains("the validators judge on 100 pages of uid 7:"), "{out}");
}

#[test]
fn a_dataset_that_is_not_there_is_one_clear_error() {
    for (args, what) in [
        (["--dataset", "dir:/nonexistent/corpus"], "/nonexistent/corpus"),
        (["--dataset", "hf:maker/unknown"], "dataset.index"),
        (["--dataset", "carrier-pigeon:home"], "carrier-pigeon:home"),
    ] {
        let output = pages(&[&args[..], &["--block", "1", "--uid", "1"]].concat());
        assert_eq!(output.status.code(), Some(2), "{what}");
        assert!(text(&output.stderr).contains(what) && output.stdout.is_empty(), "{}", text(&output.stderr));
    }
}
