//! A validator and a miner as people see them while they run: the page, JSON and metrics over HTTP, `status` from another shell,
//! lines of JSON on standard error, and the end at Ctrl-C. No secret stands in any of it.
#![allow(clippy::unwrap_used, missing_docs)]

mod programs;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use bistro_localnet::network::{LocalNetwork, Member, Setup};
use programs::PATIENCE;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;

struct Running {
    child: Child,
    port: u16,
}

/// Starts the program of `role` as `member`, with the page on a free port and its log as JSON in `log`.
async fn start(
    network: &LocalNetwork,
    role: &str,
    member: &Member,
    corpus: &Path,
    log: &Path,
    more: &[&str],
) -> Running {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let child = programs::of_member(network, role, member, corpus)
        .args(["--log-format", "json", "--http", &format!("127.0.0.1:{port}")])
        .args(more)
        .stderr(std::fs::File::create(log).unwrap())
        .spawn()
        .unwrap();
    Running { child, port }
}

impl Running {
    /// What `method path` is answered with, head and body; nothing while nobody listens.
    async fn ask(&self, method: &str, path: &str) -> Option<(String, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.to_owned(), body.to_owned()))
    }

    async fn get(&self, path: &str) -> String {
        let (head, body) = self.ask("GET", path).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}\n{body}");
        body
    }

    /// What `/api/status` says once `ready` holds of it.
    async fn status(&self, ready: impl Fn(&Value) -> bool) -> Value {
        let (begun, mut last) = (Instant::now(), String::from("nothing"));
        while begun.elapsed() < PATIENCE {
            if let Some((_, body)) = self.ask("GET", "/api/status").await {
                let status: Value = serde_json::from_str(&body).unwrap();
                if ready(&status) {
                    return status;
                }
                last = body;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("the program gets no further than {last}");
    }

    /// Ctrl-C, and the status it ends with.
    async fn interrupt(mut self) -> Option<i32> {
        programs::interrupt(&self.child).await;
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap().code()
    }
}

/// `status` in a shell that knows the data folder, and neither network nor storage.
async fn status_of(network: &LocalNetwork, role: &str, member: &Member, more: &[&str]) -> Output {
    let folder = network.setup.dir.join("state").join(&member.name);
    let mut command = programs::program(role);
    command.args(["status", "--data-dir", folder.to_str().unwrap()]).args(more).env("HOME", "/nonexistent");
    let names =
        ["AWS_ENDPOINT_URL", "AWS_REGION", "BT_SUBTENSOR_NETWORK", "BT_SUBTENSOR_CHAIN_ENDPOINT", "BISTRO_NETUID"];
    for name in names {
        command.env_remove(name);
    }
    tokio::time::timeout(PATIENCE, command.stdout(Stdio::piped()).output()).await.expect("it answers").unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// `bistro-miner status --json` once the validator's log, which reaches its bucket with its next masters, tells of the miner.
async fn told_of(network: &LocalNetwork, miner: &Member) -> Value {
    let told = async {
        loop {
            let output = status_of(network, "miner", miner, &["--json"]).await;
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(answer["running"], true, "{answer}");
            if answer["judgements"][0]["judged"].as_u64() > Some(0) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("the validator's log tells of the miner")
}

/// No secret of the member stands in what was seen.
fn no_secret_of(network: &LocalNetwork, member: &Member, seen: &[String]) {
    let path = network.setup.dir.join("wallets").join(&member.name).join("hotkeys/default");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let fields = ["privateKey", "secretSeed", "secretPhrase"];
    let mut secrets: Vec<&str> = fields.iter().filter_map(|field| file[field].as_str()).collect();
    assert!(!secrets.is_empty(), "the wallet of {} holds no secret", member.name);
    secrets.push(&member.secret_key);
    for secret in secrets {
        let bare = secret.trim_start_matches("0x");
        assert!(seen.iter().all(|text| !text.contains(bare)), "a secret of {} is to be seen", member.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_seen_by_page_metrics_status_and_log_without_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let (corpus, config) = programs::material(dir.path());
    let [judge_log, miner_log] = ["judge.log", "miner.log"].map(|n| dir.path().join(n));
    let names = ["validator", "miner"].map(str::to_owned).into();
    let setup =
        Setup { dir: dir.path().join("network"), block_time: Duration::from_millis(500), names, ..Setup::default() };
    let network = LocalNetwork::start(setup).await.unwrap();
    let [judge, worker] = [0, 1].map(|i| network.members[i].clone());
    let model = ["--rows-per-page", "4", "--model", config.to_str().unwrap()];
    let validator = start(&network, "validator", &judge, &corpus, &judge_log, &model).await;
    let miner = start(&network, "miner", &worker, &corpus, &miner_log, &[]).await;

    let status =
        validator.status(|status| status["status"]["validator"]["counts"]["accepted"].as_u64() > Some(0)).await;
    assert_eq!(status["status"]["about"]["hotkey"], judge.hotkey.to_string(), "{status}");
    assert!(status["status"]["validator"].to_string().contains(&worker.hotkey.to_string()), "{status}");
    miner.status(|status| status["status"]["miner"]["uploads"].as_u64() > Some(0)).await;
    let mut seen = Vec::new();
    for (program, metric) in [(&validator, "bistro_validator_verdicts_total"), (&miner, "bistro_miner_uploads_total")] {
        assert_eq!(program.get("/healthz").await.trim(), "ok");
        let (page, metrics) = (program.get("/").await, program.get("/metrics").await);
        assert!(page.contains("<script src="), "{page}");
        assert!(metrics.contains(metric), "{metrics}");
        let (refused, _) = program.ask("POST", "/api/status").await.unwrap();
        assert!(refused.starts_with("HTTP/1.1 405"), "{refused}");
        seen.extend([page, metrics, program.get("/api/status").await]);
    }

    let answer = told_of(&network, &worker).await;
    assert_eq!(answer["judgements"][0]["validator"], judge.hotkey.to_string(), "{answer}");
    for (role, member) in [("validator", &judge), ("miner", &worker)] {
        let output = status_of(&network, role, member, &[]).await;
        assert!(output.status.success() && said(&output).contains(&member.hotkey.to_string()), "{output:?}");
        seen.push(said(&output));
    }

    let audit = programs::audited(&network, |report| report["on_chain"]["set_at"].is_u64()).await;
    assert_eq!(audit["hotkey"], judge.hotkey.to_string(), "{audit}");
    assert!(audit["differences"] == serde_json::json!([]) && audit["broken"].is_null(), "{audit}");

    assert_eq!(miner.interrupt().await, Some(0));
    assert_eq!(validator.interrupt().await, Some(0));
    let gone = status_of(&network, "validator", &judge, &[]).await;
    assert_eq!(gone.status.code(), Some(3), "{gone:?}");
    let folder = network.setup.dir.join("state").join(&worker.name);
    let wallet = [("name", worker.name.as_str()), ("path", network.setup.dir.join("wallets").to_str().unwrap())]
        .map(|(flag, value)| format!("--wallet.{flag}={value}"));
    let flags = ["status", "--json", "--data-dir", folder.to_str().unwrap(), &wallet[0], &wallet[1]];
    let later: Value = serde_json::from_str(&said(&programs::observed(&network, "miner", &flags).await)).unwrap();
    assert_eq!(later["running"], false, "{later}");
    assert!(later["judgements"][0]["judged"].as_u64() > Some(0), "{later}");
    for (log, last) in [(judge_log, "stopped; this master is published"), (miner_log, "stopped; saved work")] {
        let text = std::fs::read_to_string(log).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        assert!(lines.iter().all(|line| line["level"].is_string() && line["timestamp"].is_string()), "{text}");
        assert!(lines.last().unwrap().to_string().contains(last), "{text}");
        seen.push(text);
    }
    for member in [&judge, &worker] {
        no_secret_of(&network, member, &seen);
    }
    network.stop().await;
}
