//! Committed weights as a client meets them: refusals by name, the wait, and the reveal at the epoch and the round.
#![allow(clippy::unwrap_used)]

mod chain_client;

use bistro_chain::timelock::{Beacon, encrypt, legacy_weights_payload, weights_payload};
use bistro_core::ids::{Hotkey, Uid};
use bistro_localnet::chain::{
    LocalChain, LocalChainConfig, TAO,
    runtime::{Runtime, subtensor::TimelockedWeightCommits},
};
use chain_client::{Call, Client, Key, NETUID, chain_of, storage};
use std::collections::BTreeMap;
use subxt::{
    dynamic::{self, Value},
    ext::scale_decode::DecodeAsType,
};

const TEMPO: u16 = 9;
/// A round that the clock does not reach while a test runs.
const FAR: u64 = 1 << 40;

#[derive(Debug, DecodeAsType)]
#[decode_as_type(crate_path = "subxt::ext::scale_decode")]
struct BeaconConfig {
    public_key: Vec<u8>,
    period: u32,
    genesis_time: u32,
}

/// The beacon, as a client learns it.
async fn beacon(client: &Client) -> Beacon {
    let read: BeaconConfig = storage(client, "Drand", "BeaconConfig", ()).await.unwrap();
    Beacon {
        public_key: read.public_key.try_into().unwrap(),
        genesis: read.genesis_time.into(),
        period: read.period.into(),
    }
}

fn commit(ciphertext: &[u8], round: u64, version: u16) -> Call {
    let arguments = vec![
        Value::u128(NETUID.into()),
        Value::from_bytes(ciphertext),
        Value::u128(round.into()),
        Value::u128(version.into()),
    ];
    dynamic::tx("SubtensorModule", "commit_timelocked_weights", arguments)
}

fn mechanism_commit(mecid: u8, ciphertext: &[u8], round: u64) -> Call {
    let arguments = vec![
        Value::u128(NETUID.into()),
        Value::u128(mecid.into()),
        Value::from_bytes(ciphertext),
        Value::u128(round.into()),
        Value::u128(4),
    ];
    dynamic::tx("SubtensorModule", "commit_timelocked_mechanism_weights", arguments)
}

/// The weights of `key`, locked until `round`.
fn sealed(beacon: &Beacon, round: u64, key: &Key, weights: &[(u16, u16)]) -> Vec<u8> {
    let weights: Vec<(Uid, u16)> = weights.iter().map(|&(uid, weight)| (Uid(uid), weight)).collect();
    encrypt(beacon, round, &weights_payload(&Hotkey(key.public()), &weights, 0), &mut rand::rng()).unwrap()
}

fn config() -> LocalChainConfig {
    LocalChainConfig { commit_reveal: true, tempo: TEMPO, weights_rate_limit: 0, ..LocalChainConfig::default() }
}

/// Index of the epoch that a block is in.
fn epoch(block: u32) -> u32 {
    (block + u32::from(NETUID) + 1) / (u32::from(TEMPO) + 1)
}

/// Makes blocks up to the first of the next epoch.
async fn next_epoch(chain: &LocalChain) {
    let now = epoch(chain.block());
    while epoch(chain.seal().await.unwrap()) == now {}
}

#[tokio::test]
async fn committed_weights_are_set_at_their_epoch_and_not_before() {
    let validator = Key::new("//validator");
    let chain = chain_of(&[(validator.clone(), TAO), (Key::new("//a"), 0), (Key::new("//b"), 0)], config()).await;
    let client = Client::connect(&chain).await;
    next_epoch(&chain).await;
    let ciphertext = sealed(&beacon(&client).await, FAR, &validator, &[(1, 100), (2, 50)]);

    let events = client.send(&mechanism_commit(0, &ciphertext, FAR), &validator).await.unwrap();
    assert!(events.contains(&"SubtensorModule.TimelockedWeightsCommitted".to_owned()), "{events:?}");
    let committed = chain.block();
    let keys = (NETUID, u64::from(epoch(committed)));
    let stored: Vec<([u8; 32], u64, Vec<u8>, u64)> =
        storage(&client, "SubtensorModule", "TimelockedWeightCommits", keys).await.unwrap();
    assert_eq!(stored, [(validator.public(), u64::from(committed), ciphertext, FAR)]);
    let updated: Vec<u64> = storage(&client, "SubtensorModule", "LastUpdate", (NETUID,)).await.unwrap();
    assert_eq!(updated[0], u64::from(committed), "the rate limit counts from the commitment");

    chain.publish_round(FAR).await.unwrap();
    assert_eq!(epoch(chain.block()), epoch(committed));
    assert!(chain.weights().unwrap().is_empty(), "the round alone does not open it");
    next_epoch(&chain).await;
    assert_eq!(chain.weights().unwrap(), BTreeMap::from([(0, vec![(1, 65535), (2, 32768)])]));
    let updated: Vec<u64> = storage(&client, "SubtensorModule", "LastUpdate", (NETUID,)).await.unwrap();
    assert_eq!(updated[0], u64::from(committed), "nor does the reveal start it anew");
    let left: Vec<([u8; 32], u64, Vec<u8>, u64)> =
        storage(&client, "SubtensorModule", "TimelockedWeightCommits", keys).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    chain.stop().await;
}

#[tokio::test]
async fn the_epoch_alone_does_not_open_it_and_a_late_round_is_too_late() {
    let validator = Key::new("//validator");
    let chain = chain_of(&[(validator.clone(), TAO), (Key::new("//a"), 0)], config()).await;
    let client = Client::connect(&chain).await;
    let beacon = beacon(&client).await;
    next_epoch(&chain).await;
    for round in [FAR, FAR + 1] {
        let weights = [(1, 7)];
        client.send(&commit(&sealed(&beacon, round, &validator, &weights), round, 4), &validator).await.unwrap();
    }
    next_epoch(&chain).await;
    chain.seal().await.unwrap();
    assert!(chain.weights().unwrap().is_empty(), "no pulse yet");
    chain.publish_round(FAR).await.unwrap();
    chain.seal().await.unwrap();
    assert_eq!(chain.weights().unwrap()[&0], [(1, 65535)], "within its epoch a late pulse is in time");

    let waiting = |chain: &LocalChain| {
        chain.read(|| TimelockedWeightCommits::<Runtime>::iter_values().flatten().count()).unwrap()
    };
    assert_eq!(waiting(&chain), 1);
    next_epoch(&chain).await;
    assert_eq!(waiting(&chain), 0, "an epoch later it is forgotten");
    chain.stop().await;
}

#[tokio::test]
async fn a_copied_or_broken_commitment_sets_nothing() {
    let (validator, copier) = (Key::new("//validator"), Key::new("//copier"));
    let chain = chain_of(&[(validator.clone(), TAO), (copier.clone(), TAO), (Key::new("//a"), 0)], config()).await;
    let client = Client::connect(&chain).await;
    next_epoch(&chain).await;
    let mut ciphertext = sealed(&beacon(&client).await, FAR, &validator, &[(2, 1)]);
    client.send(&commit(&ciphertext, FAR, 4), &copier).await.unwrap();
    let middle = ciphertext.len() / 2 + 80;
    ciphertext[middle] ^= 1;
    client.send(&commit(&ciphertext, FAR, 4), &validator).await.unwrap();
    client.send(&commit(b"nothing of the kind", FAR, 4), &validator).await.unwrap();
    chain.publish_round(FAR).await.unwrap();
    next_epoch(&chain).await;
    assert!(chain.weights().unwrap().is_empty(), "{:?}", chain.weights());
    chain.stop().await;
}

#[tokio::test]
async fn a_payload_of_an_old_client_names_no_hotkey_and_is_revealed_all_the_same() {
    let validator = Key::new("//validator");
    let chain = chain_of(&[(validator.clone(), TAO), (Key::new("//a"), 0)], config()).await;
    let client = Client::connect(&chain).await;
    next_epoch(&chain).await;
    let text = legacy_weights_payload(&[(Uid(1), 9)], 0);
    let ciphertext = encrypt(&beacon(&client).await, FAR, &text, &mut rand::rng()).unwrap();
    client.send(&commit(&ciphertext, FAR, 4), &validator).await.unwrap();
    chain.publish_round(FAR).await.unwrap();
    next_epoch(&chain).await;
    assert_eq!(chain.weights().unwrap()[&0], [(1, 65535)]);
    chain.stop().await;
}

#[tokio::test]
async fn commitments_are_refused_for_the_reasons_that_subtensor_names() {
    let (validator, stranger) = (Key::new("//validator"), Key::new("//stranger"));
    let chain = chain_of(&[(validator.clone(), TAO), (Key::new("//a"), 0)], config()).await;
    let client = Client::connect(&chain).await;
    next_epoch(&chain).await;
    for (who, call, name) in [
        (&validator, commit(b"x", FAR, 3), "IncorrectCommitRevealVersion"),
        (&stranger, commit(b"x", FAR, 4), "HotKeyNotRegisteredInSubNet"),
        (&validator, mechanism_commit(1, b"x", FAR), "MechanismDoesNotExist"),
    ] {
        let refused = client.send(&call, who).await.unwrap_err();
        assert!(refused.contains(&format!("SubtensorModule::{name}")), "wanted {name}, got {refused}");
    }
    let past = client.send(&commit(b"x", 1, 4), &validator).await.unwrap_err();
    assert!(past.contains("1010") && past.contains("Custom error: 15"), "{past}");
    chain.stop().await;

    let open = LocalChainConfig { commit_reveal: false, ..config() };
    let chain = chain_of(&[(validator.clone(), TAO)], open).await;
    let client = Client::connect(&chain).await;
    let refused = client.send(&commit(b"x", FAR, 4), &validator).await.unwrap_err();
    assert!(refused.contains("SubtensorModule::CommitRevealDisabled"), "{refused}");
    chain.stop().await;
}

#[tokio::test]
async fn a_hotkey_commits_neither_too_fast_nor_too_often() {
    let validator = Key::new("//validator");
    let slow = LocalChainConfig { weights_rate_limit: 5, ..config() };
    let chain = chain_of(&[(validator.clone(), TAO)], slow).await;
    let client = Client::connect(&chain).await;
    client.send(&commit(b"x", FAR, 4), &validator).await.unwrap();
    let fast = client.send(&commit(b"x", FAR, 4), &validator).await.unwrap_err();
    assert!(fast.contains("SubtensorModule::CommittingWeightsTooFast"), "{fast}");
    chain.stop().await;

    let chain = chain_of(&[(validator.clone(), TAO)], LocalChainConfig { tempo: 360, ..config() }).await;
    let client = Client::connect(&chain).await;
    for _ in 0..10 {
        client.send(&commit(b"x", FAR, 4), &validator).await.unwrap();
    }
    let often = client.send(&commit(b"x", FAR, 4), &validator).await.unwrap_err();
    assert!(often.contains("SubtensorModule::TooManyUnrevealedCommits"), "{often}");
    chain.stop().await;
}

#[tokio::test]
async fn rounds_come_with_the_clock() {
    let chain = chain_of(&[], config()).await;
    let client = Client::connect(&chain).await;
    let beacon = beacon(&client).await;
    let block = storage::<u64>(&client, "Timestamp", "Now", ()).await.unwrap();
    let last = storage::<u64>(&client, "Drand", "LastStoredRound", ()).await.unwrap();
    assert_eq!(last, (block / 1000 - beacon.genesis) / beacon.period + 1);
    assert!(storage::<Value>(&client, "Drand", "Pulses", (last,)).await.is_some());
    chain.stop().await;
}
