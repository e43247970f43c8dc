//! The smoke test as an operator runs it, against chains of several manners.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::Output;
use std::time::Duration;

use bistro_chain::{KeySource, Wallet};
use bistro_core::ports::Identity as _;
use bistro_localnet::chain::{GenesisNeuron, LocalChain, LocalChainConfig, TAO};
use tempfile::TempDir;

/// A clock that never ticks in a test: blocks come from transactions only.
const NEVER: Duration = Duration::from_hours(1);
/// The wallets, in the order of their uids; the third is not registered.
const WALLETS: [&str; 3] = ["validator", "miner", "stranger"];

/// A validator by stake and a miner, and a wallet that the chain does not know.
async fn start(config: LocalChainConfig) -> (TempDir, LocalChain) {
    let dir = tempfile::tempdir().unwrap();
    let neurons = WALLETS.map(|name| {
        let wallet = Wallet::create(Some(dir.path()), name, "h", KeySource::Random, KeySource::Random).unwrap();
        let stake = if name == "validator" { 500 * TAO } else { 0 };
        let (coldkey, hotkey) = (wallet.coldkey_address().unwrap().0.into(), wallet.hotkey().hotkey().0.into());
        GenesisNeuron { coldkey, hotkey, stake }
    });
    let neurons = neurons[..2].to_vec();
    let chain = LocalChain::start(LocalChainConfig { max_validators: 1, neurons, ..config }).await.unwrap();
    (dir, chain)
}

fn on_transaction() -> LocalChainConfig {
    LocalChainConfig { block_time: NEVER, seal_on_transaction: true, ..LocalChainConfig::default() }
}

fn on_clock() -> LocalChainConfig {
    LocalChainConfig::default()
}

async fn smoke(dir: &TempDir, chain: &LocalChain, wallet: &str) -> (Output, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_bistro-localnet"));
    command.args(["smoke", "--netuid", "1", "--wallet.hotkey", "h", "--wallet.name", wallet]);
    command.args(["--subtensor.chain_endpoint", &chain.url()]).arg("--wallet.path").arg(dir.path());
    let output = command.output().await.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, said)
}

fn assert_says(said: &str, lines: &[(&str, &str)]) {
    for (start, part) in lines {
        assert!(
            said.lines().any(|line| line.starts_with(start) && line.contains(part)),
            "no `{start}…{part}` in\n{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_passes_where_only_transactions_make_blocks() {
    let (dir, chain) = start(on_transaction()).await;
    let (output, said) = smoke(&dir, &chain, "validator").await;
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_says(
        &said,
        &[
            ("OK   metagraph", "2 neurons, own uid 0 with a validator permit"),
            ("OK   commitment", "read back"),
            ("OK   stranger", "AccountNotAllowedCommit"),
            ("OK   other way", "CommitRevealDisabled"),
            ("OK   bad uid", "UidVecContainInvalidOne"),
            ("OK   weights", "1 weights set"),
            ("OK   too fast", "SettingWeightsTooFast"),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_passes_where_weights_are_committed() {
    for config in [on_transaction(), LocalChainConfig { block_time: Duration::from_millis(200), ..on_clock() }] {
        let (dir, chain) = start(LocalChainConfig { commit_reveal: true, ..config }).await;
        let (output, said) = smoke(&dir, &chain, "validator").await;
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_says(
            &said,
            &[
                ("OK   metagraph", "by commit-reveal"),
                ("OK   commitment", "read back"),
                ("OK   other way", "CommitRevealEnabled"),
                ("OK   weights", "1 weights committed"),
                ("OK   too fast", "CommittingWeightsTooFast"),
            ],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_that_are_not_due_are_waited_for() {
    let config = LocalChainConfig {
        block_time: Duration::from_millis(100),
        weights_rate_limit: 20,
        ..LocalChainConfig::default()
    };
    let (dir, chain) = start(config).await;
    for run in ["first", "second"] {
        let (output, said) = smoke(&dir, &chain, "validator").await;
        assert_eq!(output.status.code(), Some(0), "{run} run:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miner_passes_by_being_refused() {
    let (dir, chain) = start(on_transaction()).await;
    let (output, said) = smoke(&dir, &chain, "miner").await;
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_says(&said, &[("OK   weights", "NeuronNoValidatorPermit"), ("OK   bad uid", "NeuronNoValidatorPermit")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_fails_and_is_told_why_and_nothing_is_registered() {
    let (dir, chain) = start(on_transaction()).await;
    let (output, said) = smoke(&dir, &chain, "stranger").await;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_says(&said, &[("FAIL metagraph", "is not registered on subnet 1"), ("1 step failed", "")]);
    assert_eq!(chain.hotkeys().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_wallet_or_node_is_told_apart() {
    let (dir, chain) = start(on_transaction()).await;
    let (output, said) = smoke(&dir, &chain, "nobody").await;
    assert_eq!(output.status.code(), Some(2), "{said}");
    chain.stop().await;
    let (dir, chain) = start(on_transaction()).await;
    let url = chain.url();
    chain.stop().await;
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_bistro-localnet"));
    command.args(["smoke", "--netuid", "1", "--wallet.hotkey", "h", "--wallet.name", "miner"]);
    let output = command.args(["--subtensor.chain_endpoint", &url, "--wallet.path"]).arg(dir.path()).output().await;
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_says(&said, &[("FAIL connect", "cannot connect")]);
}
