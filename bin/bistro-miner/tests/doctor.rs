//! `doctor` and the start of a program against a real local network: a healthy set-up passes, and each thing that can be
//! broken is told by its number.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use bistro_chain::{KeySource, Wallet};
use bistro_localnet::network::{LocalNetwork, Setup};
use serde_json::Value;

/// A network with one validator and one miner, and the miner's line and environment.
struct Stage {
    folder: tempfile::TempDir,
    network: LocalNetwork,
    runtime: tokio::runtime::Runtime,
    line: Vec<String>,
    environment: BTreeMap<String, String>,
}

impl Stage {
    fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("text")).unwrap();
        std::fs::write(folder.path().join("text/a.txt"), "the union and the states ".repeat(500)).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let setup = Setup {
            dir: folder.path().to_owned(),
            block_time: Duration::from_millis(500),
            names: ["validator", "miner"].map(Into::into).into(),
            ..Setup::default()
        };
        let network = runtime.block_on(LocalNetwork::start(setup)).unwrap();
        let miner = &network.members[1];
        let mut line = network.flags(miner);
        line.extend(["--dataset".into(), format!("dir:{}", folder.path().join("text").display())]);
        let environment = network.environment(miner).into_iter().collect();
        Self { folder, network, runtime, line, environment }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The miner's line with `more` behind it; what stands later counts.
    fn run(&self, more: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bistro-miner"));
        command.env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path());
        command.envs(&self.environment).envs(variables.iter().copied()).args(more).output().unwrap()
    }

    /// What `doctor` says of the line, changed: exit status, and each check's verdict and words.
    fn doctor(
        &self,
        changes: &[(&str, &str)],
        variables: &[(&str, &str)],
        how: &[&str],
    ) -> (i32, BTreeMap<String, Value>) {
        let mut line: Vec<&str> = vec!["doctor", "--json"];
        line.extend(how);
        let pairs = self.line.chunks(2).map(|pair| (pair[0].as_str(), pair[1].as_str()));
        let kept = pairs.filter(|(flag, _)| !changes.iter().any(|(changed, _)| changed == flag));
        line.extend(kept.chain(changes.iter().copied()).flat_map(|(flag, value)| [flag, value]));
        let output = self.run(&line, variables);
        let said = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(!said.contains("local-secret-of-"), "a secret is shown");
        let report: Value = serde_json::from_str(&said)
            .unwrap_or_else(|e| panic!("{e}: {said}{}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!((&report["version"], &report["program"]), (&1.into(), &"bistro-miner".into()));
        let checks = report["checks"].as_array().unwrap();
        let by_id = checks.iter().map(|check| (check["id"].as_str().unwrap().to_owned(), check.clone())).collect();
        (output.status.code().unwrap(), by_id)
    }
}

fn failed(checks: &BTreeMap<String, Value>) -> Vec<&str> {
    checks.iter().filter(|(_, check)| check["verdict"] == "FAIL").map(|(id, _)| id.as_str()).collect()
}

#[test]
fn a_healthy_miner_passes_and_each_broken_thing_is_told_by_its_number() {
    let stage = Stage::set();
    let (status, checks) = stage.doctor(&[], &[], &[]);
    assert_eq!((status, failed(&checks)), (0, vec![]), "{checks:#?}");
    assert_eq!(checks.len(), 21, "no check is forgotten");
    let skipped: Vec<_> = checks.iter().filter(|(_, c)| c["verdict"] == "SKIP").map(|(id, _)| id.as_str()).collect();
    assert_eq!(
        skipped,
        ["D09", "D18", "D21"],
        "a miner sets no weights, nobody has published a model, nor was asked: {checks:#?}"
    );
    assert_eq!(checks["D03"]["verdict"], "WARN", "the local network's coldkeys lie beside the hotkeys");
    assert!(checks["D07"]["says"].as_str().unwrap().contains("uid 1"), "{}", checks["D07"]);

    let wallets = stage.path("wallets");
    let stranger = Path::new(&wallets);
    Wallet::create(Some(stranger), "stranger", "default", KeySource::Random, KeySource::Random).unwrap();
    std::fs::set_permissions(stranger.join("stranger/hotkeys/default"), std::fs::Permissions::from_mode(0o644))
        .unwrap();
    std::fs::write(stage.path("file"), "no folder").unwrap();
    let (file, nowhere) = (stage.path("file/state"), format!("dir:{}", stage.path("nowhere")));
    // What is changed, which check says so, how, and with which words.
    let broken: [(&str, &str, &str, &str, &str); 11] = [
        ("--wallet.name", "nobody", "D02", "FAIL", "these wallets exist"),
        ("--wallet.name", "stranger", "D02", "WARN", "mode 644"),
        ("--subtensor.chain_endpoint", "ws://127.0.0.1:9", "D05", "FAIL", "ws://127.0.0.1:9"),
        ("--netuid", "99", "D06", "FAIL", "subnet 99 does not exist"),
        ("--wallet.name", "stranger", "D07", "FAIL", "is not registered on netuid 212; it costs τ"),
        ("--bucket", "bistro-nobody", "D11", "FAIL", "bistro-nobody"),
        ("--bucket", "No Bucket", "D11", "FAIL", "--bucket No Bucket"),
        ("--dataset", &nowhere, "D15", "FAIL", "there is no folder"),
        ("--tokenizer", "nowhere.json", "D16", "FAIL", "nowhere.json"),
        ("--device", "gpu", "D17", "FAIL", "take `cpu`"),
        ("--data-dir", &file, "D19", "FAIL", "cannot be made or written"),
    ];
    for (flag, value, id, verdict, words) in broken {
        let (status, checks) = stage.doctor(&[(flag, value)], &[], &["--quick"]);
        let check = &checks[id];
        assert_eq!(check["verdict"], verdict, "{flag} {value}: {check}");
        assert!(check["says"].as_str().unwrap().contains(words), "{flag} {value}: {check}");
        assert!(check["mend"].as_str().is_some_and(|mend| !mend.is_empty()), "{flag} {value}: {check}");
        if verdict == "FAIL" {
            assert_eq!(status, 3, "{flag} {value}");
        }
    }
    let (_, checks) = stage.doctor(&[("--wallet.name", "stranger")], &[], &["--quick"]);
    let line = checks["D07"]["mend"].as_str().unwrap();
    assert!(
        line.starts_with("btcli subnets register --netuid 212 --wallet.name stranger --wallet.hotkey default"),
        "{line}"
    );

    let (_, checks) = stage.doctor(&[], &[("BISTRO_BUKET", "x")], &["--quick"]);
    assert_eq!(checks["D01"]["verdict"], "WARN", "{}", checks["D01"]);
    let (status, checks) = stage.doctor(&[], &[("AWS_SECRET_ACCESS_KEY", "wrong")], &[]);
    assert_eq!((status, failed(&checks)), (3, vec!["D11", "D12"]), "{checks:#?}");

    let parts = stage.runtime.block_on(stage.network.parts(&stage.network.members[1])).unwrap();
    stage.runtime.block_on(parts.chain.commit("another-bucket")).unwrap();
    let (status, checks) = stage.doctor(&[], &[], &["--quick"]);
    assert_eq!((status, &checks["D10"]["verdict"]), (0, &"WARN".into()), "{}", checks["D10"]);
    assert!(checks["D10"]["says"].as_str().unwrap().contains("another-bucket"), "{}", checks["D10"]);
}

/// What GitHub's interface answers to the question for the newest release. The real one is on another network.
struct FakeReleases {
    address: String,
}

impl FakeReleases {
    /// Answers every question so, as long as the test runs.
    fn answering(status: &'static str, body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/repos/o/r/releases/latest", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _asked = stream.read(&mut [0; 4096]).unwrap();
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { address }
    }
}

#[test]
fn a_newer_release_is_told_when_it_is_asked_for() {
    let stage = Stage::set();
    let told = |status, body| {
        let flag = format!("--check-updates={}", FakeReleases::answering(status, body).address);
        let (status, checks) = stage.doctor(&[], &[], &[&flag]);
        assert_eq!(status, 0, "no release is a reason to fail");
        let text = |key: &str| checks["D21"][key].as_str().unwrap_or_default().to_owned();
        (text("verdict"), text("says"), text("mend"))
    };
    let (verdict, says, mend) = told("200 OK", r#"{"tag_name": "v99.1.0", "html_url": "https://evil.example/"}"#);
    assert!(verdict == "WARN" && says.starts_with("99.1.0 is released"), "{verdict}: {says}");
    assert!(mend.contains("upgrading.md") && !mend.contains("evil"), "{mend}");
    let (verdict, says, _) = told("404 Not Found", "{}");
    assert!(verdict == "PASS" && says.contains("no release is published"), "{verdict}: {says}");
    let (verdict, says, _) = told("403 Forbidden", "{}");
    assert!(verdict == "WARN" && says.contains("not known") && says.contains("403"), "{verdict}: {says}");
}

/// The start makes the quick checks with the same words, and ends with the status of what it found.
#[test]
fn a_start_ends_with_the_same_words_and_a_status_of_its_own() {
    let stage = Stage::set();
    let wallets = stage.path("wallets");
    Wallet::create(Some(Path::new(&wallets)), "stranger", "default", KeySource::Random, KeySource::Random).unwrap();
    let start = |changes: &[(&str, &str)]| {
        let pairs = stage.line.chunks(2).map(|pair| (pair[0].as_str(), pair[1].as_str()));
        let kept = pairs.filter(|(flag, _)| !changes.iter().any(|(changed, _)| changed == flag));
        let line: Vec<&str> = kept.chain(changes.iter().copied()).flat_map(|(flag, value)| [flag, value]).collect();
        let output = stage.run(&line, &[]);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, said) = start(&[("--wallet.name", "stranger")]);
    assert!(
        status == 4 && said.contains("D07 registration: hotkey 5") && said.contains("btcli subnets"),
        "{status}: {said}"
    );
    let (status, said) = start(&[("--tokenizer", "nowhere.json")]);
    assert!(status == 2 && said.contains("D16 tokenizer"), "{status}: {said}");
    let (status, said) = start(&[("--subtensor.chain_endpoint", "ws://127.0.0.1:9")]);
    assert!(status == 75 && said.contains("ws://127.0.0.1:9"), "{status}: {said}");
}
