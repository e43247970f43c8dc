//! The whole network with the real programs, briefly: separate processes, real S3 protocol, real signed extrinsics, the
//! real model on real words.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Text with structure that a model finds soon: a small grammar over few words. Names that only some neighbouring sentences
/// have make a page worth more to whoever trained on it, as in any real text: without them premiums are noise, and once in
/// a hundred runs chance says of a miner that it did not work. The speeches themselves are for the demo; the tests need no
/// download.
fn write_corpus(dir: &Path) {
    let nouns = ["union", "senate", "people", "country", "army", "treaty", "river", "harvest", "treasury", "war"];
    let verbs = ["keeps", "serves", "asks", "gives", "defends", "builds"];
    let syllables = ["ka", "mo", "ri", "te", "lu", "so", "na", "vi", "da", "pe"];
    let mut text = String::new();
    let mut state = 1_u64;
    let mut draw = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    while text.len() < 400_000 {
        let names: [String; 3] = std::array::from_fn(|_| (0..4).map(|_| syllables[draw(10)]).collect());
        for _ in 0..40 {
            let (a, v, b) = (nouns[draw(10)], verbs[draw(6)], nouns[draw(10)]);
            let [here, there] = [draw(3), draw(3)].map(|i| &names[i]);
            let _ = write!(text, "The {a} of {here} {v} the {b}, and the {b} of {there} {v} the {a}.\n\n");
        }
    }
    std::fs::write(dir.join("grammar.txt"), text).unwrap();
}

#[test]
fn the_real_programs_train_one_model_and_shut_poison_out() {
    let dir = tempfile::tempdir().unwrap();
    let (corpus, keep, json) = (dir.path().join("corpus"), dir.path().join("keep"), dir.path().join("report.json"));
    std::fs::create_dir(&corpus).unwrap();
    write_corpus(&corpus);
    let output = Command::new(env!("CARGO_BIN_EXE_bistro-localnet"))
        .args(["demo", "--duration", "180", "--block-time", "500", "--target-loss", "8"])
        .arg("--corpus")
        .arg(&corpus)
        .arg("--keep")
        .arg(&keep)
        .arg("--json")
        .arg(&json)
        .output()
        .unwrap();
    let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let start = report["global_loss_start"].as_f64().unwrap();
    assert!((10.0..11.5).contains(&start), "an untrained model's loss is about ln 50257: {start}");
    assert_eq!((report["ok"].as_bool(), report["lineage_ok"].as_bool()), (Some(true), Some(true)), "{said}");
    // What is left behind is a model folder, and no secret stands in any log.
    assert!(keep.join("master/model.safetensors").exists() && keep.join("master/config.json").exists());
    for log in std::fs::read_dir(keep.join("logs")).unwrap() {
        let text = std::fs::read_to_string(log.unwrap().path()).unwrap();
        assert!(!text.contains("local-secret-of-"), "a secret in a log");
    }
}
