//! The chain's client while connections break, answers are lost and blocks are taken back: nothing is sent twice, and nothing is
//! believed that the chain took back.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use bistro_chain::{Deadlines, Keypair, Network, SubtensorChain};
use bistro_core::ids::{Block, NetUid, Uid};
use bistro_core::ports::{Chain, Retry};
use bistro_localnet::chain::faults::{Fate, Faults};
use bistro_localnet::chain::{GenesisNeuron, LocalChain, LocalChainConfig, TAO, runtime};
use tokio::time::{Instant, timeout};

const NETUID: NetUid = NetUid(1);
const LAG: u32 = 3;
const WEIGHTS: [(Uid, u16); 1] = [(Uid(1), 65535)];

fn key(name: &str) -> Keypair {
    Keypair::from_uri(&format!("//{name}")).unwrap()
}

/// A validator and a miner behind connections that break on demand. Blocks come from transactions and on request.
async fn start() -> LocalChain {
    start_with(LocalChainConfig { clock: false, seal_on_transaction: true, ..LocalChainConfig::default() }).await
}

/// The same with blocks by the clock, ten a second.
async fn ticking() -> LocalChain {
    start_with(LocalChainConfig { block_time: Duration::from_millis(100), ..LocalChainConfig::default() }).await
}

async fn start_with(config: LocalChainConfig) -> LocalChain {
    let neuron = |name: &str, stake| GenesisNeuron {
        coldkey: key("Cold").public().0.into(),
        hotkey: key(name).public().0.into(),
        stake,
    };
    let neurons = vec![neuron("Validator", 500 * TAO), neuron("Miner", 0)];
    LocalChain::start(LocalChainConfig { finality_lag: LAG, faults: true, neurons, ..config }).await.unwrap()
}

fn faults(local: &LocalChain) -> &Faults {
    local.faults().unwrap()
}

async fn client(network: &Network, deadlines: Deadlines) -> Arc<SubtensorChain> {
    Arc::new(SubtensorChain::connect_with(network, NETUID, Some(key("Validator")), deadlines).await.unwrap())
}

/// Deadlines for a chain whose blocks a test makes by hand.
fn by_hand() -> Deadlines {
    let some = Some(Duration::from_secs(10));
    Deadlines { inclusion: some, search: some, settle: some, call: Duration::from_secs(10), ..Deadlines::default() }
}

/// How many transactions of the validator are in blocks.
fn sent(local: &LocalChain) -> u32 {
    let account: runtime::AccountId = key("Validator").public().0.into();
    local.read(|| runtime::System::account_nonce(&account)).unwrap()
}

/// Waits until the chain has weights of the validator.
async fn until_weights(local: &LocalChain) {
    while local.weights().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn seal(local: &LocalChain, blocks: u32) {
    for _ in 0..blocks {
        local.seal().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_dead_socket_is_noticed_by_its_silence() {
    let local = ticking().await;
    // No call's deadline helps here: only the silence of the socket tells.
    let deadlines =
        Deadlines { call: Duration::from_mins(2), silence: Duration::from_millis(600), ..Deadlines::default() };
    let chain = client(&Network::at(&local.url()), deadlines).await;
    let head = chain.head().await.unwrap();
    faults(&local).gate().stall();
    let began = Instant::now();
    let connections = faults(&local).gate().accepted();
    let reading = tokio::spawn({
        let chain = chain.clone();
        async move { chain.metagraph().await }
    });
    // The old socket is given up, and a new one is tried.
    while faults(&local).gate().accepted() == connections {
        assert!(began.elapsed() < Duration::from_secs(5), "nothing noticed the silence");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    faults(&local).gate().open().await.unwrap();
    let read = timeout(Duration::from_secs(30), reading).await.expect("the call gets through").unwrap();
    assert_eq!(read.unwrap().neurons.len(), 2);
    let later = timeout(Duration::from_secs(30), async {
        while chain.next_block(head).await.is_err() || chain.metagraph().await.is_err() {}
    });
    later.await.expect("the chain is there again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_node_is_left_for_the_next_address() {
    let (first, second) = (ticking().await, ticking().await);
    // Both are the same chain by their genesis.
    assert_eq!(first.genesis_hash(), second.genesis_hash());
    let deadlines = Deadlines { call: Duration::from_secs(1), silence: Duration::from_secs(1), ..Deadlines::default() };
    let network = Network::resolve(None, &[first.url(), second.url()]).unwrap();
    let chain = client(&network, deadlines).await;
    faults(&first).gate().stall();
    let found = timeout(Duration::from_secs(30), async {
        while second.weights().unwrap().is_empty() {
            let _ = chain.set_weights(&WEIGHTS).await;
        }
    });
    found.await.expect("the second node serves");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_connections_are_tried_again_after_longer_and_longer_pauses() {
    let local = ticking().await;
    let chain =
        client(&Network::at(&local.url()), Deadlines { call: Duration::from_secs(2), ..Deadlines::default() }).await;
    faults(&local).gate().refuse_connections().await;
    let error = chain.metagraph().await.unwrap_err();
    assert_eq!((error.name.as_str(), error.retry), ("Connection", Retry::Soon));
    let lost_at = Block(local.block().into());
    tokio::time::sleep(Duration::from_secs(1)).await;
    faults(&local).gate().open().await.unwrap();
    let again = timeout(Duration::from_secs(20), async {
        while chain.next_block(lost_at).await.is_err() {}
        chain.commit("after").await
    });
    again.await.expect("connected again").unwrap();
    assert_eq!(sent(&local), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_connections_do_not_repeat_what_was_sent() {
    let local = ticking().await;
    let chain =
        client(&Network::at(&local.url()), Deadlines { call: Duration::from_secs(5), ..Deadlines::default() }).await;
    for round in 1..=3 {
        let dropping = tokio::spawn({
            let gate = faults(&local).clone();
            async move {
                tokio::time::sleep(Duration::from_millis(30 * round)).await;
                gate.gate().drop_connections();
            }
        });
        // Wherever the cut falls: at most one transaction of each text comes into a block.
        let text = format!("bucket-{round}");
        let outcome = chain.commit(&text).await;
        dropping.await.unwrap();
        assert!(outcome.is_ok() || outcome.as_ref().is_err_and(|e| e.retry == Retry::Soon), "{outcome:?}");
        timeout(Duration::from_secs(20), async { while chain.commit(&text).await.is_err() {} }).await.unwrap();
        assert_eq!(u64::from(sent(&local)), round);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_comes_is_looked_up_on_the_chain() {
    let local = start().await;
    let deadlines = Deadlines { call: Duration::from_secs(1), ..by_hand() };
    let chain = client(&Network::at(&local.url()), deadlines).await;
    faults(&local).swallow(1);
    chain.set_weights(&WEIGHTS).await.expect("the chain shows the weights");
    assert_eq!((sent(&local), local.weights().unwrap()[&0].clone()), (1, vec![(1, 65535)]));
    faults(&local).swallow(1);
    chain.commit("bucket").await.expect("the chain shows the commitment");
    assert_eq!(sent(&local), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reorganisation_includes_again_is_set_once() {
    let local = start().await;
    let chain = client(&Network::at(&local.url()), by_hand()).await;
    let setting = tokio::spawn({
        let chain = chain.clone();
        async move { chain.set_weights(&WEIGHTS).await }
    });
    until_weights(&local).await;
    // The client has to hear of the block before it is replaced.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let first = local.block();
    let head = faults(&local).reorganise(1, Fate::Reincluded).unwrap();
    assert_eq!(head, first + 1);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!setting.is_finished(), "its block is not final yet");
    seal(&local, LAG).await;
    timeout(Duration::from_secs(5), setting).await.unwrap().unwrap().expect("it is in a final block");
    assert_eq!((sent(&local), local.weights().unwrap()[&0].clone()), (1, vec![(1, 65535)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reorganisation_takes_away_is_noticed_and_can_be_set_again() {
    let local = start().await;
    let chain = client(&Network::at(&local.url()), by_hand()).await;
    let setting = tokio::spawn({
        let chain = chain.clone();
        async move { chain.set_weights(&WEIGHTS).await }
    });
    until_weights(&local).await;
    // The client has to hear of the block before it is replaced.
    tokio::time::sleep(Duration::from_secs(1)).await;
    faults(&local).reorganise(2.min(local.block()), Fate::Lost).unwrap();
    let error = timeout(Duration::from_secs(5), setting).await.unwrap().unwrap().unwrap_err();
    assert_eq!((error.name.as_str(), error.retry), ("TakenBack", Retry::Soon));
    assert_eq!((sent(&local), local.weights().unwrap().len()), (0, 0), "it was not sent again");

    let again = tokio::spawn({
        let chain = chain.clone();
        async move { chain.set_weights(&WEIGHTS).await }
    });
    until_weights(&local).await;
    seal(&local, LAG).await;
    again.await.unwrap().unwrap();
    assert_eq!(sent(&local), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_see_the_best_block_and_writes_wait_for_the_final_one() {
    let local = start().await;
    let chain = client(&Network::at(&local.url()), by_hand()).await;
    let committing = tokio::spawn({
        let chain = chain.clone();
        async move { chain.commit("bucket").await }
    });
    let own = key("Validator").public();
    while chain.commitment(&own).await.unwrap().is_none() {}
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!committing.is_finished(), "what is read is not final yet");
    seal(&local, LAG).await;
    timeout(Duration::from_secs(5), committing).await.unwrap().unwrap().unwrap();
    // Where finality does not come, a block that has stood for a while is taken for settled.
    let hasty = Deadlines { settle: Some(Duration::from_millis(200)), ..by_hand() };
    let chain = client(&Network::at(&local.url()), hasty).await;
    timeout(Duration::from_secs(5), chain.commit("bucket-2")).await.unwrap().unwrap();
}
