//! Registration for a burn, and whom it costs the uid when the subnet is full.
#![allow(clippy::unwrap_used)]

mod chain_client;

use bistro_localnet::chain::{
    LocalChainConfig, TAO,
    runtime::{
        Runtime,
        subtensor::{Incentive, RegistrationsThisInterval},
    },
};
use chain_client::{Call, Client, Key, NETUID, balances, chain_of, storage};
use subxt::dynamic::{self, Value};

fn register(hotkey: &Key) -> Call {
    let arguments = vec![Value::u128(NETUID.into()), Value::from_bytes(hotkey.public())];
    dynamic::tx("SubtensorModule", "burned_register", arguments)
}

#[tokio::test]
async fn a_registration_burns_what_storage_says_it_costs() {
    let (coldkey, poor) = (Key::new("//cold"), Key::new("//poor"));
    let endowed = vec![(coldkey.public().into(), 10 * TAO), (poor.public().into(), 2 * TAO)];
    let chain = chain_of(&[], LocalChainConfig { burn: 3 * TAO, endowed, ..LocalChainConfig::default() }).await;
    let client = Client::connect(&chain).await;
    let burn: u64 = storage(&client, "SubtensorModule", "Burn", (NETUID,)).await.unwrap();
    assert_eq!(burn, 3 * TAO);

    client.send(&register(&Key::new("//hot")), &coldkey).await.unwrap();
    let spent = 10 * TAO - balances(&client, &coldkey).await;
    assert!((burn..burn + TAO / 10).contains(&spent), "the burn and a small fee: {spent}");
    let refused = client.send(&register(&Key::new("//other")), &poor).await.unwrap_err();
    assert!(refused.contains("SubtensorModule::NotEnoughBalanceToStake"), "{refused}");
    assert_eq!(chain.hotkeys().unwrap(), [Key::new("//hot").public()]);
    chain.stop().await;
}

#[tokio::test]
async fn a_full_subnet_gives_the_uid_of_the_least_earning_that_is_past_its_immunity() {
    let coldkey = Key::new("//cold");
    let old = ["//a", "//b", "//c"].map(Key::new);
    let neurons: Vec<_> = old.iter().map(|key| (key.clone(), 0)).collect();
    let config = LocalChainConfig {
        max_uids: 4,
        immunity_period: 10,
        endowed: vec![(coldkey.public().into(), 10 * TAO)],
        ..LocalChainConfig::default()
    };
    let chain = chain_of(&neurons, config).await;
    let client = Client::connect(&chain).await;
    while chain.block() < 10 {
        chain.seal().await.unwrap();
    }
    let (young, next) = (Key::new("//young"), Key::new("//next"));
    client.send(&register(&young), &coldkey).await.unwrap();
    // The young one earns least, yet is immune; of the others, the second earns least.
    let earned = || {
        Incentive::<Runtime>::insert(NETUID, vec![30, 10, 20, 0]);
        Ok(())
    };
    chain.root(earned).await.unwrap();
    client.send(&register(&next), &coldkey).await.unwrap();
    let hotkeys = [&old[0], &next, &old[2], &young].map(Key::public);
    assert_eq!(chain.hotkeys().unwrap(), hotkeys);
    let gone: Option<u16> = storage(&client, "SubtensorModule", "Uids", (NETUID, old[1].public())).await;
    assert_eq!(gone, None, "its hotkey is not registered any more");
    let born: u64 = storage(&client, "SubtensorModule", "BlockAtRegistration", (NETUID, 1_u16)).await.unwrap();
    assert_eq!(born, u64::from(chain.block()), "the uid starts anew");
    let earns: Vec<u16> = storage(&client, "SubtensorModule", "Incentive", (NETUID,)).await.unwrap();
    assert_eq!(earns, [30, 0, 20, 0]);
    chain.stop().await;
}

#[tokio::test]
async fn too_many_registrations_of_one_interval_are_refused_before_inclusion() {
    let coldkey = Key::new("//cold");
    let endowed = vec![(coldkey.public().into(), 10 * TAO)];
    let chain = chain_of(&[], LocalChainConfig { endowed, ..LocalChainConfig::default() }).await;
    let client = Client::connect(&chain).await;
    let most = || {
        RegistrationsThisInterval::<Runtime>::insert(NETUID, 3 * 64);
        Ok(())
    };
    chain.root(most).await.unwrap();
    let refused = client.send(&register(&Key::new("//hot")), &coldkey).await.unwrap_err();
    assert!(refused.contains("1010") && refused.contains("Custom error: 6"), "{refused}");
    while !chain.seal().await.unwrap().is_multiple_of(100) {}
    client.send(&register(&Key::new("//hot")), &coldkey).await.expect("the next interval has room");
    chain.stop().await;
}
