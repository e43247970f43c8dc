//! `dataset index` and `dataset verify`, as an operator types them, over files that pyarrow wrote.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn dataset(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bistro-validator"));
    command.env_clear().env("HOME", "/nonexistent").arg("dataset").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Two configs: `aa` of two files, `bb` of one.
fn files() -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/bistro-pages/tests/pyarrow");
    for (name, to) in [
        ("snappy.parquet", "aa/train-00000-of-00002.parquet"),
        ("zstd.parquet", "aa/train-00001-of-00002.parquet"),
        ("zstd.parquet", "bb/train-00000-of-00001.parquet"),
    ] {
        let to = dir.path().join("data").join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from.join(name), to).unwrap();
    }
    let name = format!("parquet:{}", dir.path().display());
    (dir, name)
}

#[test]
fn an_index_is_made_and_holds_until_the_files_change() {
    let (dir, name) = files();
    let index = dir.path().join("index.json");
    let index = index.to_str().unwrap();
    let made = dataset(&["index", "--dataset", &name, "--name", "maker/loaves", "--out", index]);
    assert!(made.status.success() && made.stdout.is_empty(), "{}", text(&made.stderr));
    let file: Value = serde_json::from_slice(&std::fs::read(index).unwrap()).unwrap();
    assert_eq!(file["dataset"], "maker/loaves");
    let rows: Vec<_> = file["configs"].as_array().unwrap().iter().map(|config| config["rows"].as_u64()).collect();
    assert_eq!(rows, [Some(800), Some(400)]);
    // Without --out it goes to standard output, the same to the byte; a prefix leaves the other config out.
    let printed = dataset(&["index", "--dataset", &name, "--name", "maker/loaves"]);
    assert_eq!(printed.stdout, std::fs::read(index).unwrap());
    let one = dataset(&["index", "--dataset", &name, "--name", "maker/loaves", "--configs", "b"]);
    let one: Value = serde_json::from_slice(&one.stdout).unwrap();
    assert_eq!(one["configs"].as_array().unwrap().len(), 1);

    let verify = || dataset(&["verify", "--dataset", &name, "--dataset.index", index]);
    let holds = verify();
    assert!(holds.status.success(), "{}", text(&holds.stderr));
    assert!(text(&holds.stdout).contains("2 configs, 1200 rows, 3 files"), "{}", text(&holds.stdout));
    std::fs::remove_dir_all(dir.path().join("data/bb")).unwrap();
    let differs = verify();
    assert_eq!(differs.status.code(), Some(2));
    assert!(text(&differs.stderr).contains("bb/train: 400 rows → gone"), "{}", text(&differs.stderr));
    let damaged = text(&std::fs::read(index).unwrap()).replacen("800", "801", 1);
    std::fs::write(index, damaged).unwrap();
    let refused = verify();
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("index.json"), "{}", text(&refused.stderr));
}

#[test]
fn mistakes_are_named() {
    let (dir, name) = files();
    let place = dir.path().display().to_string();
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let empty = format!("parquet:{}", empty.display());
    for (args, what) in [
        (vec!["verify", "--dataset", &name], "--dataset.index"),
        (vec!["index", "--dataset", &empty], "no parquet file"),
        (vec!["index", "--dataset", &name, "--dataset.column", "words"], "no column `words`"),
        (vec!["index", "--dataset", "parquet:/nonexistent"], "/nonexistent"),
        (vec!["index", "--dataset", &name, "--out", &place], &place),
    ] {
        let output = dataset(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stdout));
        assert!(text(&output.stderr).contains(what), "{args:?}: {}", text(&output.stderr));
    }
}
