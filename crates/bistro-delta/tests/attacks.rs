//! Every file of `attacks/` is refused for the reason that its README states, and the README names every file.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bistro_core::protocol::{DeltaManifest, ManifestError, Signed};
use bistro_core::skip::Reason;
use bistro_delta::{check_norm, decode_delta, encode_delta};
use common::{encoding_of, fake_verify, meta, small};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../attacks")
}

/// File name → reason, from the tables' rows: `| file | what it tries | reason |`.
fn promised() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        (cells.len() == 5 && cells[1].contains('.')).then(|| (cells[1].to_owned(), cells[3].to_owned()))
    };
    text.lines().filter_map(row).collect()
}

/// What becomes of a delta, on a master of the same model.
fn judge_delta(name: &str, object: &[u8]) -> Result<(), Reason> {
    let delta = decode_delta(object, &small().spec(), &meta(encoding_of(name))).map_err(|skip| skip.reason)?;
    check_norm(delta.norm(), small().norm(), 8.0).map_err(|skip| skip.reason)
}

fn judge_manifest(json: &[u8]) -> Result<(), Reason> {
    match Signed::<DeltaManifest>::from_json(json, fake_verify) {
        Ok(_) => Ok(()),
        Err(ManifestError::Signature(_)) => Err(Reason::BadSignature),
        Err(_) => Err(Reason::BadManifest),
    }
}

#[test]
fn every_attack_is_refused_as_promised() {
    let mut promised = promised();
    for part in ["delta", "manifest"] {
        for entry in std::fs::read_dir(folder().join(part)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let bytes = std::fs::read(&path).unwrap();
            let outcome = if part == "delta" { judge_delta(&name, &bytes) } else { judge_manifest(&bytes) };
            let found = serde_json::to_string(&outcome.expect_err(&name)).unwrap();
            let expected =
                promised.remove(&name).unwrap_or_else(|| panic!("{name} ({found}) is not in attacks/README.md"));
            assert_eq!(found.trim_matches('"'), expected, "{name}");
        }
    }
    assert!(promised.is_empty(), "named in attacks/README.md, but not there: {promised:?}");
}

/// The same judges pass what is honest: a refusal above is for the attack.
#[test]
fn the_honest_files_pass() {
    for encoding in bistro_core::protocol::Encoding::ALL {
        judge_delta(&format!("{}-", encoding.name()), &encode_delta(&small(), &meta(encoding))).unwrap();
    }
    judge_manifest(&common::manifest()).unwrap();
}
