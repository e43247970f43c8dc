//! What the architecture promises about absence: see `docs/architecture.md`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Names before `[dev-dependencies]` of a member's manifest.
fn dependencies(member: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
    let section = text.split("[dependencies]").nth(1).unwrap_or("");
    let section = section.split("\n[").next().unwrap();
    section.lines().filter_map(|l| l.split(['.', ' ', '=']).next()).filter(|n| !n.is_empty()).map(Into::into).collect()
}

fn sources(member: &str) -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, into: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                into.push((path, text));
            }
        }
    }
    let mut all = Vec::new();
    walk(&root().join(member).join("src"), &mut all);
    all
}

/// Code before the tests of a file.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap()
}

#[test]
fn dependencies_point_one_way() {
    let ours = |member: &str| -> Vec<String> {
        dependencies(member).into_iter().filter(|d| d.starts_with("bistro-")).collect()
    };
    assert!(ours("crates/bistro-core").is_empty());
    for leaf in ["delta", "storage", "pages", "chain", "model"] {
        let found = ours(&format!("crates/bistro-{leaf}"));
        assert!(found.iter().all(|d| d == "bistro-core" || d == "bistro-delta"), "bistro-{leaf}: {found:?}");
    }
    assert_eq!(ours("crates/bistro-node"), ["bistro-core", "bistro-delta"], "the loops know ports only");
    let localnet = ours("crates/bistro-localnet");
    assert!(!localnet.iter().any(|d| d == "bistro-model" || d == "bistro-cli"), "{localnet:?} would need libtorch");
}

#[test]
fn libtorch_is_named_by_one_crate() {
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let uses = dependencies(&format!("crates/{name}")).iter().any(|d| d == "tch");
        assert_eq!(uses, name == "bistro-model", "{name}");
    }
}

/// Time, files, network and chance are arguments of the pure crates and of the loops.
#[test]
fn the_core_and_the_loops_have_no_clock_and_no_chance_of_their_own() {
    let forbidden = ["SystemTime::now", "Instant::now", "rand::random", "rand::rng()", "std::net::Tcp", "env::var"];
    for member in ["crates/bistro-core", "crates/bistro-delta", "crates/bistro-node"] {
        for (path, text) in sources(member) {
            for word in forbidden {
                assert!(!code(&text).contains(word), "{} uses {word}", path.display());
            }
        }
    }
    for member in ["crates/bistro-core", "crates/bistro-delta"] {
        for (path, text) in sources(member) {
            for word in ["std::fs", "fs_err", "tokio::"] {
                assert!(!code(&text).contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

#[test]
fn files_stay_small() {
    for dir in ["crates", "bin"] {
        for entry in fs::read_dir(root().join(dir)).unwrap() {
            let member = format!("{dir}/{}", entry.unwrap().file_name().into_string().unwrap());
            for (path, text) in sources(&member) {
                let lines = code(&text).lines().count();
                assert!(lines <= 600, "{} has {lines} lines", path.display());
            }
        }
    }
}

/// Each line of the README's pseudo-code has its line in the loop.
#[test]
fn the_validators_loop_reads_as_the_readme() {
    let text = fs::read_to_string(root().join("crates/bistro-node/src/validator/mod.rs")).unwrap();
    let start = text.find("pub async fn run(").unwrap();
    let body = &text[start..start + text[start..].find("\n}").unwrap()];
    let lines = [
        "master = init_model(); upload( master )",
        "uid = random.choice( metagraph.uids )",
        "delta = get_delta( uid )",
        "add_delta",
        "moving_average( -local_loss )",
        "softmax( weights * temperature )",
        "subtensor.set_weights( weights )",
        "min_loss = global_loss",
        "upload( master, delta )",
        "remove_delta",
    ];
    let mut from = 0;
    for line in lines {
        let at = body[from..].find(line);
        assert!(at.is_some(), "`{line}` is missing or out of order");
        from += at.unwrap();
    }
    assert!(body.lines().count() <= 45, "the loop no longer fits on a screen");
}
