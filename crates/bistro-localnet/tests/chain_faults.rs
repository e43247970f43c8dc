//! Finality and reorganisations as a client sees them over RPC, and the `bistro_*` methods.
#![allow(clippy::unwrap_used)]

mod chain_client;

use bistro_localnet::chain::{
    LocalChain, LocalChainConfig,
    faults::{Fate, Faults},
};
use chain_client::{Client, Key, NETUID, commitment};
use jsonrpsee::{
    core::client::{ClientT as _, SubscriptionClientT as _},
    rpc_params,
    ws_client::{WsClient, WsClientBuilder},
};
use serde_json::Value;
use std::time::Duration;
use subxt::config::DefaultExtrinsicParams;

const LAG: u32 = 2;

/// A chain that makes blocks on request, with faults.
async fn start() -> LocalChain {
    let miner = bistro_localnet::chain::GenesisNeuron {
        coldkey: [9; 32].into(),
        hotkey: Key::new("//miner").public().into(),
        stake: 0,
    };
    let config =
        LocalChainConfig { clock: false, finality_lag: LAG, faults: true, neurons: vec![miner], ..Default::default() };
    LocalChain::start(config).await.unwrap()
}

async fn connect(chain: &LocalChain) -> WsClient {
    WsClientBuilder::default().build(chain.url()).await.unwrap()
}

async fn ask(rpc: &WsClient, method: &str) -> Value {
    rpc.request(method, rpc_params![]).await.unwrap()
}

/// The number in a header.
fn number(header: &Value) -> u32 {
    u32::from_str_radix(header["number"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

async fn finalized(rpc: &WsClient) -> u32 {
    let hash = ask(rpc, "chain_getFinalizedHead").await;
    number(&rpc.request("chain_getHeader", rpc_params![hash]).await.unwrap())
}

fn faults(chain: &LocalChain) -> &Faults {
    chain.faults().unwrap()
}

#[tokio::test]
async fn finality_follows_the_newest_block_and_is_never_taken_back() {
    let chain = start().await;
    let rpc = connect(&chain).await;
    let (subscribe, unsubscribe) = ("chain_subscribeFinalizedHeads", "chain_unsubscribeFinalizedHeads");
    let mut heads = rpc.subscribe::<Value, _>(subscribe, rpc_params![], unsubscribe).await.unwrap();
    while chain.block() < 6 {
        chain.seal().await.unwrap();
    }
    assert_eq!((finalized(&rpc).await, number(&ask(&rpc, "chain_getHeader").await)), (4, 6));
    let before: Vec<Value> = rpc.request("chain_getBlockHash", rpc_params![vec![4, 5, 6]]).await.unwrap();

    faults(&chain).reorganise(LAG + 1, Fate::Lost).expect_err("a final block is not taken back");
    assert_eq!(faults(&chain).reorganise(LAG, Fate::Lost).unwrap(), 7, "the new branch is longer");
    let after: Vec<Value> = rpc.request("chain_getBlockHash", rpc_params![vec![4, 5, 6]]).await.unwrap();
    assert!(before[0] == after[0] && before[1] != after[1] && before[2] != after[2]);
    let gone: Value = rpc.request("chain_getHeader", rpc_params![&before[2]]).await.unwrap();
    assert!(gone.is_null(), "{gone}");
    assert_eq!(finalized(&rpc).await, 5);
    for expected in 0..=5 {
        let head = heads.next().await.unwrap().unwrap();
        assert_eq!(number(&head), expected, "each once, in order");
    }
    chain.stop().await;
}

/// What a watcher of a transaction is told until the end.
async fn fate(chain: &LocalChain, fate: Fate) -> Vec<String> {
    let rpc = connect(chain).await;
    let client = Client::connect(chain).await;
    let transaction =
        client.sign(&commitment(NETUID, b"bucket"), &Key::new("//miner"), DefaultExtrinsicParams::default()).await;
    let transaction = format!("0x{}", hex::encode(transaction));
    let (subscribe, unsubscribe) = ("author_submitAndWatchExtrinsic", "author_unwatchExtrinsic");
    let mut told = rpc.subscribe::<Value, _>(subscribe, rpc_params![transaction], unsubscribe).await.unwrap();
    chain.seal().await.unwrap();
    faults(chain).reorganise(1, fate).unwrap();
    for _ in 0..LAG {
        chain.seal().await.unwrap();
    }
    let mut names = Vec::new();
    while let Ok(Some(Ok(status))) = tokio::time::timeout(Duration::from_secs(2), told.next()).await {
        let name = status.as_str().map(str::to_owned);
        names.push(name.unwrap_or_else(|| status.as_object().unwrap().keys().next().unwrap().clone()));
        if ["finalized", "dropped"].contains(&names.last().unwrap().as_str()) {
            break;
        }
    }
    names
}

#[tokio::test]
async fn transactions_of_replaced_blocks_are_included_again_or_lost() {
    let chain = start().await;
    assert_eq!(fate(&chain, Fate::Reincluded).await, ["ready", "inBlock", "retracted", "inBlock", "finalized"]);
    assert_eq!(fate(&chain, Fate::Lost).await, ["ready", "inBlock", "retracted", "dropped"]);
    chain.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_can_be_asked_for_over_rpc() {
    let chain = start().await;
    let rpc = connect(&chain).await;
    let refused: Value = rpc.request("bistro_refuse", rpc_params![1014, "Priority is too low"]).await.unwrap();
    assert!(refused.is_null());
    let error = rpc.request::<Value, _>("author_submitExtrinsic", rpc_params!["0x00"]).await.unwrap_err();
    assert!(error.to_string().contains("Priority is too low"), "{error}");
    chain.seal().await.unwrap();
    let head: u32 = rpc.request("bistro_reorganise", rpc_params![1, "lost"]).await.unwrap();
    assert_eq!(head, chain.block());

    // A stall that ends by itself: the answer to a question within it comes after it.
    let _: Value = rpc.request("bistro_stall", rpc_params![1]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = std::time::Instant::now();
    assert_eq!(number(&ask(&rpc, "chain_getHeader").await), head);
    assert!(began.elapsed() > Duration::from_millis(300), "{:?}", began.elapsed());

    let _: Value = rpc.request("bistro_refuseConnections", rpc_params![1]).await.unwrap();
    rpc.on_disconnect().await;
    assert!(WsClientBuilder::default().build(chain.url()).await.is_err());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let rpc = connect(&chain).await;
    let _: Result<Value, _> = rpc.request("bistro_dropConnections", rpc_params![]).await;
    rpc.on_disconnect().await;
    chain.stop().await;
}

#[tokio::test]
async fn without_the_switch_a_chain_has_no_faults() {
    let chain = LocalChain::start(LocalChainConfig { clock: false, ..LocalChainConfig::default() }).await.unwrap();
    assert!(chain.faults().is_none());
    let rpc = connect(&chain).await;
    let error = rpc.request::<Value, _>("bistro_reorganise", rpc_params![1]).await.unwrap_err();
    assert!(error.to_string().contains("Method not found"), "{error}");
    chain.stop().await;
}
