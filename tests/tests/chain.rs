//! The chain's client against a local subtensor: what it reads, what it writes, and what it makes of refusals and faults.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bistro_chain::{ChainError, Deadlines, Keypair, Network, SubtensorChain};
use bistro_core::ids::{Block, Hotkey, NetUid, Uid};
use bistro_core::ports::{Chain, PortError, Retry};
use bistro_localnet::chain::faults::gate::Gate;
use bistro_localnet::chain::{GenesisNeuron, LocalChain, LocalChainConfig, TAO, runtime};

const NETUID: NetUid = NetUid(1);
/// A clock that never ticks in a test: blocks come from transactions and [`LocalChain::seal`] only.
const NEVER: Duration = Duration::from_hours(1);

fn key(name: &str) -> Keypair {
    Keypair::from_uri(&format!("//{name}")).unwrap()
}

/// Two validators by stake and a miner, blocks on demand.
fn config() -> LocalChainConfig {
    let neuron = |name: &str, stake| GenesisNeuron {
        coldkey: key("Cold").public().0.into(),
        hotkey: key(name).public().0.into(),
        stake,
    };
    LocalChainConfig {
        block_time: NEVER,
        seal_on_transaction: true,
        // Nobody makes the later blocks that finality would wait for.
        finality_lag: 0,
        max_validators: 2,
        neurons: vec![neuron("Validator", 500 * TAO), neuron("Miner", 0), neuron("Second", 900 * TAO)],
        ..LocalChainConfig::default()
    }
}

async fn start(config: LocalChainConfig) -> LocalChain {
    let local = LocalChain::start(config).await.unwrap();
    // The clock's first tick makes block 1; after that it stands still.
    while local.block() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    local
}

async fn client_at(url: &str, name: &str) -> SubtensorChain {
    let deadlines = Deadlines {
        call: Duration::from_secs(10),
        inclusion: Some(Duration::from_secs(10)),
        patience: Some(Duration::from_secs(10)),
        search: Some(Duration::from_secs(10)),
        ..Deadlines::default()
    };
    SubtensorChain::connect_with(&Network::at(url), NETUID, Some(key(name)), deadlines).await.unwrap()
}

async fn client(local: &LocalChain, name: &str) -> SubtensorChain {
    client_at(&local.url(), name).await
}

/// A way to the chain that can be broken.
async fn gate_to(local: &LocalChain) -> Gate {
    let node = local.url().trim_start_matches("ws://").parse().unwrap();
    Gate::open_at(([127, 0, 0, 1], 0).into(), node).await.unwrap()
}

fn url(gate: &Gate) -> String {
    format!("ws://{}", gate.address())
}

/// How many transactions of this key are in blocks.
fn sent(local: &LocalChain, name: &str) -> u32 {
    let account: runtime::AccountId = key(name).public().0.into();
    local.read(|| runtime::System::account_nonce(&account)).unwrap()
}

fn refusal(outcome: Result<(), PortError>) -> (String, Retry) {
    let error = outcome.unwrap_err();
    (error.name, error.retry)
}

#[tokio::test]
async fn the_metagraph_is_the_chains() {
    let config = LocalChainConfig { tempo: 20, weights_rate_limit: 7, min_allowed_weights: 2, ..config() };
    let local = start(config).await;
    let metagraph = client(&local, "Miner").await.metagraph().await.unwrap();
    let hotkeys: Vec<_> = metagraph.neurons.iter().map(|n| n.hotkey).collect();
    assert_eq!(hotkeys, ["Validator", "Miner", "Second"].map(|name| key(name).public()));
    assert_eq!(metagraph.neurons.iter().map(|n| n.uid.0).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(metagraph.by_authority().iter().map(|n| n.uid.0).collect::<Vec<_>>(), [2, 0]);
    assert_eq!(metagraph.neurons[0].stake, 500 * TAO);
    assert_eq!((metagraph.tempo, metagraph.weights_rate_limit, metagraph.min_allowed_weights), (20, 7, 2));
    assert_eq!((metagraph.netuid, metagraph.commit_reveal), (NETUID, false));
    assert_eq!(metagraph.block, Block(local.block().into()));
}

#[tokio::test]
async fn a_full_subnet_is_read_and_one_sixteen_times_as_large() {
    for count in [256_u16, 4096] {
        let neurons = (0..count).map(|n| {
            let account = |kind: u8| {
                let mut bytes = [kind; 32];
                bytes[..2].copy_from_slice(&n.to_le_bytes());
                bytes.into()
            };
            GenesisNeuron { coldkey: account(6), hotkey: account(7), stake: u64::from(n) }
        });
        let local = start(LocalChainConfig { neurons: neurons.collect(), max_uids: count, ..config() }).await;
        let chain = client(&local, "Miner").await;
        let metagraph = chain.metagraph().await.unwrap();
        assert_eq!(metagraph.neurons.len(), usize::from(count));
        assert!(metagraph.neurons.iter().all(|n| n.stake == u64::from(n.uid.0)));
        assert_eq!(metagraph.neurons[usize::from(count) - 1].hotkey.0[..2], (count - 1).to_le_bytes());
    }
}

#[tokio::test]
async fn a_hotkey_that_loses_its_slot_while_it_runs_is_told() {
    let coldkey = key("Owner");
    let endowed = vec![(coldkey.public().0.into(), 10 * TAO)];
    let local = start(LocalChainConfig { max_uids: 3, immunity_period: 0, endowed, ..config() }).await;
    let first = client(&local, "Validator").await;
    let own = key("Validator").public();
    first.set_weights(&[(Uid(1), 65535)]).await.unwrap();
    assert_eq!(first.metagraph().await.unwrap().neuron(&own).map(|neuron| neuron.uid), Some(Uid(0)));

    // The subnet is full, nobody earns, and the oldest goes.
    let new = key("New").public();
    assert_eq!(first.burned_register(&coldkey, &new).await.unwrap(), Uid(0));
    let metagraph = first.metagraph().await.unwrap();
    assert_eq!((metagraph.neuron(&own), metagraph.neurons[0].hotkey), (None, new));
    let refused = first.set_weights(&[(Uid(1), 65535)]).await.unwrap_err();
    assert_eq!((refused.name.as_str(), refused.retry), ("HotKeyNotRegisteredInSubNet", Retry::Never));
    assert!(refused.message.contains("lost its slot"), "{refused}");
    assert_eq!(refusal(first.commit("bucket").await), ("AccountNotAllowedCommit".to_owned(), Retry::Never));
}

#[tokio::test]
async fn a_subnet_that_does_not_exist_is_named() {
    let local = start(config()).await;
    let chain = SubtensorChain::connect(&Network::at(&local.url()), NetUid(9), None).await.unwrap();
    let error = chain.metagraph().await.unwrap_err();
    assert_eq!((error.name.as_str(), error.retry), ("SubnetNotExists", Retry::Never));
    assert_eq!(refusal(chain.commit("x").await).0, "NoKey");
}

#[tokio::test]
async fn a_commitment_is_written_once_and_read_by_all() {
    let local = start(config()).await;
    let (miner, other) = (client(&local, "Miner").await, client(&local, "Validator").await);
    let hotkey = key("Miner").public();
    assert_eq!(other.commitment(&hotkey).await.unwrap(), None);
    miner.commit("bistro-miner@eu-central-1").await.unwrap();
    assert_eq!(other.commitment(&hotkey).await.unwrap().as_deref(), Some("bistro-miner@eu-central-1"));
    miner.commit("bistro-miner@eu-central-1").await.unwrap();
    assert_eq!(sent(&local, "Miner"), 1, "the same text is not sent again");
    let longest = "b".repeat(128);
    miner.commit(&longest).await.unwrap();
    assert_eq!(other.commitment(&hotkey).await.unwrap(), Some(longest));
    for unsendable in [String::new(), "b".repeat(129)] {
        assert_eq!(miner.commit(&unsendable).await.unwrap_err().name, "Unsendable");
    }
    let stranger = client(&local, "Stranger").await;
    assert_eq!(refusal(stranger.commit("bucket").await), ("AccountNotAllowedCommit".to_owned(), Retry::Never));
}

#[tokio::test]
async fn an_epoch_without_room_for_a_commitment_is_told_before_anything_is_sent() {
    let local = start(LocalChainConfig { tempo: 99, ..config() }).await;
    let miner = client(&local, "Miner").await;
    for n in 0..31 {
        miner.commit(&format!("bucket-{n}")).await.unwrap();
    }
    miner.commit("bucket-30").await.expect("what the chain has already needs no room");
    let refused = miner.commit("bucket-31").await.unwrap_err();
    assert_eq!((refused.name.as_str(), sent(&local, "Miner")), ("SpaceLimitExceeded", 31));
    let Retry::After(blocks) = refused.retry else { panic!("{:?}", refused.retry) };
    assert!(refused.message.contains(&format!("try again in {blocks} blocks")), "{refused}");
    for _ in 1..blocks - 1 {
        local.seal().await.unwrap();
    }
    assert_eq!(refusal(miner.commit("bucket-31").await).1, Retry::After(2));
    local.seal().await.unwrap();
    miner.commit("bucket-31").await.expect("the next block begins the next epoch");
}

#[tokio::test]
async fn weights_reach_the_chain_and_the_rate_limit_is_told_in_blocks() {
    let local = start(LocalChainConfig { weights_version: 5, ..config() }).await;
    let validator = client(&local, "Validator").await;
    validator.set_weights(&[(Uid(1), 65535), (Uid(2), 100)]).await.unwrap();
    assert_eq!(local.weights().unwrap()[&0], [(1, 65535), (2, 100)]);
    assert_eq!(validator.weights_of(Uid(0)).await.unwrap(), [(Uid(1), 65535), (Uid(2), 100)]);
    assert_eq!(validator.weights_of(Uid(2)).await.unwrap(), []);
    let set_at = validator.metagraph().await.unwrap().neurons[0].last_update;
    assert_eq!(set_at, Block(local.block().into()));

    local.seal().await.unwrap();
    let (name, retry) = refusal(validator.set_weights(&[(Uid(1), 65535)]).await);
    assert_eq!(name, "SettingWeightsTooFast");
    // The refused call took a block of its own.
    let due = set_at.0 + 100 - u64::from(local.block());
    assert_eq!(retry, Retry::After(due));
    assert_eq!(local.weights().unwrap()[&0], [(1, 65535), (2, 100)]);
}

#[tokio::test]
async fn refusals_of_weights_keep_the_chains_names() {
    let limits = LocalChainConfig { min_allowed_weights: 2, max_validators: 1, max_weights_limit: 40_000, ..config() };
    let local = start(limits).await;
    let weights = [(Uid(0), 1), (Uid(1), 1)];
    let cases = [
        ("Validator", &weights[..], "NeuronNoValidatorPermit"),
        ("Stranger", &weights, "HotKeyNotRegisteredInSubNet"),
        ("Second", &[(Uid(0), 1), (Uid(3), 1)], "UidVecContainInvalidOne"),
        ("Second", &[(Uid(0), 1), (Uid(0), 1)], "DuplicateUids"),
        ("Second", &[(Uid(0), 1)], "WeightVecLengthIsLow"),
        ("Second", &[(Uid(0), 9), (Uid(1), 1)], "MaxWeightExceeded"),
        ("Second", &[], "Unsendable"),
    ];
    for (who, weights, name) in cases {
        assert_eq!(refusal(client(&local, who).await.set_weights(weights).await).0, name, "{who}");
    }
    // Before a block: the pool's extension, by the number of its own error.
    let local = start(LocalChainConfig { stake_threshold: 600 * TAO, ..config() }).await;
    let validator = client(&local, "Validator").await;
    assert_eq!(refusal(validator.set_weights(&weights).await), ("StakeAmountTooLow".to_owned(), Retry::Never));
    assert_eq!(sent(&local, "Validator"), 0, "the pool did not take it");
}

#[tokio::test]
async fn every_refusal_of_the_pool_has_a_name_and_a_reason_to_wait_or_not() {
    let local = start(LocalChainConfig { faults: true, ..config() }).await;
    let validator = client(&local, "Validator").await;
    let invalid = |words| (1010, "Invalid Transaction", Some(words));
    for ((code, message, data), name, retry) in [
        (invalid("Custom error: 1"), "StakeAmountTooLow", Retry::Never),
        (invalid("Custom error: 3"), "SubnetNotExists", Retry::Never),
        (invalid("Custom error: 19"), "UidNotFound", Retry::Never),
        (invalid("Custom error: 25"), "CommitRevealEnabled", Retry::Soon),
        (invalid("Custom error: 255"), "BadRequest", Retry::Never),
        (invalid("Transaction is outdated"), "Stale", Retry::Soon),
        (invalid("Transaction has a bad signature"), "BadProof", Retry::Soon),
        (invalid("Transaction has an ancient birth block"), "AncientBirthBlock", Retry::Soon),
        (invalid("Transaction would exhaust the block limits"), "ExhaustsResources", Retry::Soon),
        ((1012, "Transaction is temporarily banned", None), "TemporarilyBanned", Retry::Soon),
        ((1014, "Priority is too low: (1 vs 1)", None), "PriorityTooLow", Retry::Soon),
        ((1016, "Immediately Dropped", None), "ImmediatelyDropped", Retry::Soon),
        ((-32601, "Method not found", None), "Rpc-32601", Retry::Never),
    ] {
        local.faults().unwrap().refuse(code, message, data);
        let refused = validator.set_weights(&[(Uid(1), 65535)]).await.unwrap_err();
        assert_eq!((refused.name.as_str(), refused.retry), (name, retry), "{code} {data:?}");
    }
    assert_eq!(sent(&local, "Validator"), 0);
}

/// The rounds that committed weights wait for.
fn awaited_rounds(local: &LocalChain) -> Vec<u64> {
    let commits = || runtime::subtensor::TimelockedWeightCommits::<runtime::Runtime>::iter_values().flatten();
    local.read(|| commits().map(|(.., round)| round).collect()).unwrap()
}

#[tokio::test]
async fn a_subnet_with_commit_reveal_gets_commitments_and_reveals_them() {
    let local = start(LocalChainConfig { commit_reveal: true, tempo: 9, ..config() }).await;
    let validator = client(&local, "Validator").await;
    assert!(validator.metagraph().await.unwrap().commit_reveal);
    validator.set_weights(&[(Uid(1), 65535), (Uid(2), 100)]).await.unwrap();
    assert_eq!(validator.weights_of(Uid(0)).await.unwrap(), [], "nobody sees them yet");
    let rounds = awaited_rounds(&local);
    assert_eq!(rounds.len(), 1);

    let committed = u64::from(local.block());
    local.seal().await.unwrap();
    let (name, retry) = refusal(validator.set_weights(&[(Uid(1), 1)]).await);
    assert!(["CommittingWeightsTooFast", "RateLimitExceeded"].contains(&name.as_str()), "{name}");
    assert_eq!(retry, Retry::After(committed + 100 - u64::from(local.block())));

    local.publish_round(rounds[0]).await.unwrap();
    for _ in 0..20 {
        local.seal().await.unwrap();
    }
    assert_eq!(validator.weights_of(Uid(0)).await.unwrap(), [(Uid(1), 65535), (Uid(2), 100)]);
}

#[tokio::test]
async fn a_lost_acknowledgement_of_committed_weights_is_looked_up() {
    let local = start(LocalChainConfig { commit_reveal: true, weights_rate_limit: 0, ..config() }).await;
    let gate = gate_to(&local).await;
    let validator = client_at(&url(&gate), "Validator").await;
    gate.cut_at("author_extrinsicUpdate");
    validator.set_weights(&[(Uid(1), 65535)]).await.unwrap();
    assert_eq!((gate.cuts(), sent(&local, "Validator"), awaited_rounds(&local).len()), (1, 1, 1));
}

#[tokio::test]
async fn blocks_are_waited_for_and_their_absence_is_an_error() {
    let local = start(config()).await;
    let deadlines = Deadlines { patience: Some(Duration::from_millis(300)), ..Deadlines::default() };
    let chain = SubtensorChain::connect_with(&Network::at(&local.url()), NETUID, None, deadlines).await.unwrap();
    let head = chain.head().await.unwrap();
    let error = chain.next_block(head).await.unwrap_err();
    assert_eq!((error.name.as_str(), error.retry), ("NoNewBlock", Retry::Soon));
    let (next, sealed) = tokio::join!(chain.next_block(head), local.seal());
    assert_eq!(next.unwrap(), Block(sealed.unwrap().into()));
    assert_eq!(chain.next_block(Block(head.0 - 1)).await.unwrap(), Block(head.0 + 1), "the newest, not the next");
    assert_eq!(chain.head().await.unwrap(), Block(head.0 + 1));
}

#[tokio::test]
async fn a_coldkey_registers_and_stakes() {
    let cold = key("Owner");
    let endowed = vec![(cold.public().0.into(), 1000 * TAO)];
    let local = start(LocalChainConfig { endowed, ..config() }).await;
    let chain = client(&local, "New").await;
    let hotkey = key("New").public();
    assert_eq!(chain.uid_of(&hotkey).await.unwrap(), None);
    let uid = chain.burned_register(&cold, &hotkey).await.unwrap();
    assert_eq!(uid, Uid(3));
    assert_eq!(chain.burned_register(&cold, &hotkey).await.unwrap(), uid);
    assert_eq!(sent(&local, "Owner"), 1, "a registered hotkey is not paid for again");
    chain.add_stake(&cold, &hotkey, 600 * TAO).await.unwrap();
    let metagraph = chain.metagraph().await.unwrap();
    assert!(metagraph.neuron(&hotkey).unwrap().stake >= 600 * TAO);
    let poor = chain.burned_register(&key("Poor"), &Hotkey([7; 32])).await.unwrap_err();
    assert!(matches!(&poor, ChainError::Refused { refusal, .. } if refusal.retry == Retry::Never), "{poor}");
}

#[tokio::test]
async fn a_runtime_upgrade_is_followed() {
    let local = start(config()).await;
    let miner = client(&local, "Miner").await;
    miner.commit("before").await.unwrap();
    local.upgrade(LocalChainConfig::default().spec_version + 1).await.unwrap();
    miner.commit("after").await.unwrap();
    assert_eq!(miner.commitment(&key("Miner").public()).await.unwrap().as_deref(), Some("after"));
}

#[tokio::test]
async fn a_node_of_another_chain_is_refused() {
    let local = start(config()).await;
    let elsewhere = Network::named("finney").unwrap().through(vec![local.url()]);
    let error = SubtensorChain::connect(&elsewhere, NETUID, None).await.err().unwrap();
    assert!(matches!(error, ChainError::WrongGenesis { .. }), "{error}");
    let genesis = Some(local.genesis_hash());
    let right = Network { genesis, ..Network::at(&local.url()) };
    assert!(SubtensorChain::connect(&right, NETUID, None).await.is_ok());
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let local = start(config()).await;
    let gate = gate_to(&local).await;
    let chain = client_at(&url(&gate), "Miner").await;
    let head = chain.head().await.unwrap();
    gate.drop_connections();
    chain.commit("after the cut").await.unwrap();
    assert_eq!(chain.next_block(head).await.unwrap(), Block(head.0 + 1));
    // The subscription to heads lives again too: nothing but it looks at the chain now.
    let (next, _) = tokio::join!(chain.next_block(Block(head.0 + 1)), local.seal());
    assert_eq!(next.unwrap(), Block(head.0 + 2));
}

#[tokio::test]
async fn another_endpoint_takes_over() {
    let local = start(config()).await;
    let first = gate_to(&local).await;
    let network = Network::resolve(None, &[url(&first), local.url()]).unwrap();
    let chain = SubtensorChain::connect(&network, NETUID, Some(key("Miner"))).await.unwrap();
    let head = chain.head().await.unwrap();
    drop(first);
    local.seal().await.unwrap();
    assert_eq!(chain.next_block(head).await.unwrap(), Block(head.0 + 1));
    chain.commit("through the second").await.unwrap();
}

#[tokio::test]
async fn a_lost_acknowledgement_is_looked_up_and_not_sent_again() {
    let local = start(config()).await;
    let gate = gate_to(&local).await;
    let validator = client_at(&url(&gate), "Validator").await;
    gate.cut_at("author_extrinsicUpdate");
    validator.set_weights(&[(Uid(1), 65535)]).await.unwrap();
    assert_eq!(gate.cuts(), 1, "the acknowledgement was lost");
    assert_eq!(local.weights().unwrap()[&0], [(1, 65535)]);
    gate.cut_at("author_extrinsicUpdate");
    validator.commit("bucket").await.unwrap();
    assert_eq!((gate.cuts(), sent(&local, "Validator")), (2, 2));
}

#[tokio::test]
async fn without_an_acknowledgement_or_an_effect_the_caller_is_told() {
    let local = start(LocalChainConfig { seal_on_transaction: false, ..config() }).await;
    let short = Some(Duration::from_millis(300));
    let deadlines = Deadlines { inclusion: short, search: short, ..Deadlines::default() };
    let network = Network::at(&local.url());
    let validator = SubtensorChain::connect_with(&network, NETUID, Some(key("Validator")), deadlines).await.unwrap();
    let (name, retry) = refusal(validator.set_weights(&[(Uid(1), 65535)]).await);
    assert_eq!((name.as_str(), retry), ("Unacknowledged", Retry::Soon));
    // It was in the pool all the time. A repetition of the impatient does not make a second one.
    let (name, retry) = refusal(validator.set_weights(&[(Uid(1), 65535)]).await);
    assert!(["PriorityTooLow", "Unacknowledged"].contains(&name.as_str()) && retry == Retry::Soon, "{name}");
    local.seal().await.unwrap();
    assert_eq!(local.weights().unwrap()[&0], [(1, 65535)]);
    assert_eq!(sent(&local, "Validator"), 1);
}
