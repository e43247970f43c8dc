//! The local chain as an independent client sees it: subxt, through the legacy RPC methods, with nothing of the runtime linked in.
//!
//! Blocks are made when a transaction arrives or when a test asks for one, so nothing here waits for a clock.
#![allow(clippy::unwrap_used)]

mod chain_client;

use bistro_localnet::chain::{LocalChainConfig, TAO};
use chain_client::{Client, Key, NETUID, balances, chain_of, commitment, storage, weights};
use subxt::{
    OnlineClient, SubstrateConfig,
    config::DefaultExtrinsicParamsBuilder,
    dynamic::{self, Value},
    ext::{frame_metadata::RuntimeMetadata, scale_decode::DecodeAsType},
};

/// The fields of a metagraph that a validator reads.
#[derive(Debug, DecodeAsType)]
#[decode_as_type(crate_path = "subxt::ext::scale_decode")]
struct Metagraph {
    netuid: u16,
    block: u64,
    tempo: u16,
    num_uids: u16,
    weights_rate_limit: u64,
    commit_reveal_weights_enabled: bool,
    hotkeys: Vec<[u8; 32]>,
    coldkeys: Vec<[u8; 32]>,
    active: Vec<bool>,
    validator_permit: Vec<bool>,
    last_update: Vec<u64>,
    block_at_registration: Vec<u64>,
    total_stake: Vec<u64>,
}

async fn metagraph(client: &Client, netuid: u16) -> Option<Metagraph> {
    let call = dynamic::runtime_api_call::<_, Option<Metagraph>>("SubnetInfoRuntimeApi", "get_metagraph", (netuid,));
    client.api.at_current_block().await.unwrap().runtime_apis().call(call).await.unwrap()
}

#[tokio::test]
async fn a_metagraph_shows_who_is_there_with_what_stake_and_permit() {
    let chain =
        chain_of(&[(Key::new("//validator"), 5 * TAO), (Key::new("//miner"), 0)], LocalChainConfig::default()).await;
    let client = Client::connect(&chain).await;
    let uid = chain.register(Key::new("//late//cold").public(), Key::new("//late").public()).await.unwrap();

    let seen = metagraph(&client, NETUID).await.unwrap();
    assert_eq!((uid, seen.num_uids, seen.netuid), (2, 3, NETUID));
    let hotkeys = ["//validator", "//miner", "//late"].map(|k| Key::new(k).public());
    assert_eq!(seen.hotkeys, hotkeys);
    assert_eq!(seen.coldkeys[2], Key::new("//late//cold").public());
    assert_eq!(seen.total_stake, [5 * TAO, 0, 0]);
    assert_eq!(seen.validator_permit, [true, false, false]);
    assert_eq!(seen.active, [true; 3]);
    assert_eq!(seen.block, u64::from(chain.block()));
    assert_eq!(seen.block_at_registration, [0, 0, seen.block]);
    assert_eq!(seen.last_update, seen.block_at_registration);
    assert_eq!((seen.tempo, seen.weights_rate_limit, seen.commit_reveal_weights_enabled), (360, 100, false));
    assert!(metagraph(&client, 99).await.is_none(), "no such subnet");
    chain.stop().await;
}

#[tokio::test]
async fn a_commitment_is_read_back_as_it_was_made() {
    let miner = Key::new("//miner");
    let chain = chain_of(&[(miner.clone(), 0)], LocalChainConfig { netuid: 7, ..LocalChainConfig::default() }).await;
    let client = Client::connect(&chain).await;
    let call = commitment(7, b"bucket");
    let at = client.api.at_current_block().await.unwrap();
    assert_eq!(hex::encode(at.tx().call_data(&call).unwrap()), "1200070004076275636b6574");

    let events = client.send(&call, &miner).await.unwrap();
    assert!(events.contains(&"Commitments.Commitment".to_owned()), "{events:?}");
    let stored: Value = storage(&client, "Commitments", "CommitmentOf", (7_u16, miner.public())).await.unwrap();
    let expected = format!("block: {}", chain.block());
    assert!(stored.to_string().contains(&expected) && stored.to_string().contains("Raw6"), "{stored}");

    let stranger = client.send(&commitment(7, b"bucket"), &Key::new("//stranger")).await.unwrap_err();
    assert!(stranger.contains("Commitments::AccountNotAllowedCommit"), "{stranger}");
    chain.stop().await;
}

#[tokio::test]
async fn an_epoch_has_space_for_thirty_one_short_commitments() {
    let miner = Key::new("//miner");
    let chain = chain_of(&[(miner.clone(), 0)], LocalChainConfig::default()).await;
    let client = Client::connect(&chain).await;
    for _ in 0..31 {
        client.send(&commitment(NETUID, b"b"), &miner).await.unwrap();
    }
    let full = client.send(&commitment(NETUID, b"b"), &miner).await.unwrap_err();
    assert!(full.contains("Commitments::SpaceLimitExceeded"), "{full}");
    chain.stop().await;
}

#[tokio::test]
async fn a_hotkey_without_balance_sets_weights_and_then_has_to_wait() {
    let validator = Key::new("//validator");
    let config = LocalChainConfig { weights_rate_limit: 3, ..LocalChainConfig::default() };
    let chain = chain_of(&[(validator.clone(), TAO), (Key::new("//a"), 0), (Key::new("//b"), 0)], config).await;
    let client = Client::connect(&chain).await;

    let events = client.send(&weights(&[1, 2], &[100, 50], 0), &validator).await.unwrap();
    assert!(events.contains(&"SubtensorModule.WeightsSet".to_owned()), "{events:?}");
    let set_at = chain.block();
    let stored: Vec<(u16, u16)> = storage(&client, "SubtensorModule", "Weights", (NETUID, 0_u16)).await.unwrap();
    assert_eq!(stored, [(1, 65535), (2, 32768)], "scaled so that the largest is all of u16");
    assert_eq!(chain.weights().unwrap(), [(0, stored)].into());
    let updated: Vec<u64> = storage(&client, "SubtensorModule", "LastUpdate", (NETUID,)).await.unwrap();
    assert_eq!(updated, [u64::from(set_at), 0, 0]);

    let early = client.send(&weights(&[1], &[1], 0), &validator).await.unwrap_err();
    assert!(early.contains("SubtensorModule::SettingWeightsTooFast"), "{early}");
    assert_eq!(chain.block(), set_at + 1, "the refusal took a block");
    chain.seal().await.unwrap();
    client.send(&weights(&[1], &[1], 0), &validator).await.expect("the third block after is late enough");
    chain.stop().await;
}

#[tokio::test]
async fn weights_are_refused_for_the_reasons_that_subtensor_names() {
    let (validator, miner) = (Key::new("//validator"), Key::new("//miner"));
    let config = LocalChainConfig {
        weights_rate_limit: 0,
        weights_version: 5,
        min_allowed_weights: 2,
        max_weights_limit: 40_000,
        ..LocalChainConfig::default()
    };
    let chain = chain_of(&[(validator.clone(), TAO), (miner.clone(), 0), (Key::new("//b"), 0)], config).await;
    let client = Client::connect(&chain).await;
    let stranger = Key::new("//stranger");
    for (who, call, name) in [
        (&validator, weights(&[1, 2], &[1], 5), "WeightVecNotEqualSize"),
        (&validator, weights(&[0, 1, 2, 3], &[1; 4], 5), "UidsLengthExceedUidsInSubNet"),
        (&stranger, weights(&[1, 2], &[1, 1], 5), "HotKeyNotRegisteredInSubNet"),
        (&validator, weights(&[1, 2], &[1, 1], 4), "IncorrectWeightVersionKey"),
        (&miner, weights(&[0, 2], &[1, 1], 5), "NeuronNoValidatorPermit"),
        (&validator, weights(&[1, 1], &[1, 1], 5), "DuplicateUids"),
        (&validator, weights(&[1, 3], &[1, 1], 5), "UidVecContainInvalidOne"),
        (&validator, weights(&[1], &[1], 5), "WeightVecLengthIsLow"),
        (&validator, weights(&[1, 2], &[9, 1], 5), "MaxWeightExceeded"),
    ] {
        let refused = client.send(&call, who).await.unwrap_err();
        assert!(refused.contains(&format!("SubtensorModule::{name}")), "wanted {name}, got {refused}");
    }
    assert!(chain.weights().unwrap().is_empty(), "a refused call writes nothing");
    client.send(&weights(&[1], &[1], 5), &miner).await.expect("anyone may weigh itself alone");
    chain.stop().await;
}

#[tokio::test]
async fn a_subnet_with_commit_reveal_takes_no_plain_weights() {
    let validator = Key::new("//validator");
    let config = LocalChainConfig { commit_reveal: true, ..LocalChainConfig::default() };
    let chain = chain_of(&[(validator.clone(), TAO)], config).await;
    let client = Client::connect(&chain).await;
    let refused = client.send(&weights(&[0], &[1], 0), &validator).await.unwrap_err();
    assert!(refused.contains("SubtensorModule::CommitRevealEnabled"), "{refused}");
    chain.stop().await;
}

#[tokio::test]
async fn too_little_stake_is_refused_before_inclusion_in_substrates_words() {
    let validator = Key::new("//validator");
    let config = LocalChainConfig { stake_threshold: 2 * TAO, ..LocalChainConfig::default() };
    let chain = chain_of(&[(validator.clone(), TAO)], config).await;
    let client = Client::connect(&chain).await;
    let before = chain.block();
    let refused = client.send(&weights(&[0], &[1], 0), &validator).await.unwrap_err();
    assert!(refused.contains("1010") && refused.contains("Invalid Transaction"), "{refused}");
    assert!(refused.contains("Custom error: 1"), "{refused}");
    assert_eq!(chain.block(), before, "it never came into a block");

    chain.stake(validator.public(), TAO).await.unwrap();
    client.send(&weights(&[0], &[1], 0), &validator).await.expect("the threshold is reached");
    chain.stop().await;
}

#[tokio::test]
async fn a_coldkey_registers_and_stakes_and_the_permit_comes_with_the_epoch() {
    let (coldkey, hotkey) = (Key::new("//cold"), Key::new("//hot"));
    let config = LocalChainConfig {
        endowed: vec![(coldkey.public().into(), 100 * TAO)],
        tempo: 20,
        weights_rate_limit: 0,
        ..LocalChainConfig::default()
    };
    let chain = chain_of(&[], config).await;
    let client = Client::connect(&chain).await;
    let hot = || Value::from_bytes(hotkey.public());
    let register = dynamic::tx("SubtensorModule", "burned_register", vec![Value::u128(NETUID.into()), hot()]);
    let events = client.send(&register, &coldkey).await.unwrap();
    assert!(events.contains(&"SubtensorModule.NeuronRegistered".to_owned()), "{events:?}");
    let again = client.send(&register, &coldkey).await.unwrap_err();
    assert!(again.contains("SubtensorModule::HotKeyAlreadyRegisteredInSubNet"), "{again}");

    let stake = |rao: u64| {
        let amount = Value::u128(rao.into());
        dynamic::tx("SubtensorModule", "add_stake", vec![hot(), Value::u128(NETUID.into()), amount])
    };
    client.send(&stake(10 * TAO), &coldkey).await.unwrap();
    let left = balances(&client, &coldkey).await;
    let spent = 100 * TAO - left;
    assert!((10 * TAO + TAO / 10..11 * TAO).contains(&spent), "stake, burn and two small fees: {spent}");
    let rich = client.send(&stake(1000 * TAO), &coldkey).await.unwrap_err();
    assert!(rich.contains("Custom error: 2"), "{rich}");

    assert_eq!(metagraph(&client, NETUID).await.unwrap().validator_permit, [false], "not before the epoch");
    while (chain.seal().await.unwrap() + u32::from(NETUID) + 2) % 21 != 0 {}
    assert_eq!(metagraph(&client, NETUID).await.unwrap().validator_permit, [true]);
    chain.stop().await;
}

#[tokio::test]
async fn signatures_nonces_and_mortality_are_checked() {
    let miner = Key::new("//miner");
    let chain = chain_of(&[(miner.clone(), 0)], LocalChainConfig::default()).await;
    let client = Client::connect(&chain).await;
    let params = |nonce| DefaultExtrinsicParamsBuilder::<SubstrateConfig>::new().nonce(nonce);

    let forged = client.sign(&commitment(NETUID, b"x"), &miner, params(0).build()).await;
    let mut bytes = forged.clone();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let refused = client.submit(bytes).await.unwrap_err();
    assert!(refused.contains("1010") && refused.contains("bad signature"), "{refused}");
    client.submit(forged.clone()).await.expect("the same bytes unharmed are fine");
    let replayed = client.submit(forged).await.unwrap_err();
    assert!(replayed.contains("1012"), "{replayed}");

    let stale = client.sign(&commitment(NETUID, b"y"), &miner, params(0).build()).await;
    let refused = client.submit(stale).await.unwrap_err();
    assert!(refused.contains("1010") && refused.contains("outdated"), "{refused}");

    // Two ahead waits for the one between.
    let future = client.sign(&commitment(NETUID, b"third"), &miner, params(2).build()).await;
    let waiting = client.submit_only(future).await.unwrap();
    assert_eq!(client.nonce(&miner).await, 1, "a nonce with a gap before it does not count");
    let rival = client.sign(&commitment(NETUID, b"rival"), &miner, params(2).build()).await;
    let refused = client.submit(rival).await.unwrap_err();
    assert!(refused.contains("1014") && refused.contains("Priority is too low"), "{refused}");
    client.send(&commitment(NETUID, b"second"), &miner).await.unwrap();
    let at = client.api.at_current_block().await.unwrap();
    let body = at.extrinsics().fetch().await.unwrap();
    assert_eq!(body.len(), 3, "the timestamp, the one between, and the one that waited ({waiting:?})");

    let mortal = client.sign(&commitment(NETUID, b"z"), &miner, params(3).mortal(8).build()).await;
    for _ in 0..9 {
        chain.seal().await.unwrap();
    }
    let refused = client.submit(mortal).await.unwrap_err();
    assert!(refused.contains("1010"), "{refused}");
    let mortal = client.sign(&commitment(NETUID, b"z"), &miner, params(3).mortal(8).build()).await;
    client.submit(mortal).await.expect("within its eight blocks");
    chain.stop().await;
}

#[tokio::test]
async fn an_upgrade_is_announced_and_old_signatures_are_refused() {
    let miner = Key::new("//miner");
    let chain = chain_of(&[(miner.clone(), 0)], LocalChainConfig::default()).await;
    let client = Client::connect(&chain).await;
    let old =
        client.sign(&commitment(NETUID, b"x"), &miner, DefaultExtrinsicParamsBuilder::new().nonce(0).build()).await;
    let mut versions = client.rpc.state_subscribe_runtime_version().await.unwrap();
    let first = versions.next().await.unwrap().unwrap().spec_version;
    chain.upgrade(first + 1).await.unwrap();
    assert_eq!(versions.next().await.unwrap().unwrap().spec_version, first + 1);
    let refused = client.submit(old).await.unwrap_err();
    assert!(refused.contains("1010"), "{refused}");
    client.send(&commitment(NETUID, b"x"), &miner).await.expect("the client follows the upgrade");
    chain.stop().await;
}

#[tokio::test]
async fn heads_come_in_order_and_each_names_the_one_before() {
    let chain = chain_of(&[], LocalChainConfig::default()).await;
    let client = Client::connect(&chain).await;
    let mut blocks = client.api.stream_blocks().await.unwrap();
    let mut last: Option<(u64, [u8; 32])> = None;
    for _ in 0..4 {
        chain.seal().await.unwrap();
        let block = blocks.next().await.unwrap().unwrap();
        if let Some((number, hash)) = last {
            assert_eq!((block.number(), block.header().parent_hash.0), (number + 1, hash));
        }
        last = Some((block.number(), block.hash().0));
    }
    let genesis = client.rpc.genesis_hash().await.unwrap();
    assert_eq!(genesis.0, chain.genesis_hash());
    let header = client.rpc.chain_get_header(Some(genesis)).await.unwrap().unwrap();
    assert_eq!(header.number, 0);
    chain.stop().await;
}

#[tokio::test]
async fn nonsense_from_a_client_is_an_error_and_nothing_more() {
    let chain = chain_of(&[(Key::new("//miner"), 0)], LocalChainConfig::default()).await;
    let client = Client::connect(&chain).await;
    let garbage = client.submit(vec![0xde, 0xad]).await.unwrap_err();
    assert!(garbage.contains("1001"), "{garbage}");
    let missing = client.rpc.state_call("Nothing_here", None, None).await.unwrap_err();
    assert!(missing.to_string().contains("Nothing_here is not found"), "{missing}");
    let short = client.rpc.state_call("SubnetInfoRuntimeApi_get_metagraph", Some(&[1]), None).await.unwrap_err();
    assert!(short.to_string().contains("Execution failed"), "{short}");
    let unknown = client.rpc.state_get_storage(b"x", Some([7; 32].into())).await.unwrap_err();
    assert!(unknown.to_string().contains("UnknownBlock"), "{unknown}");
    assert_eq!(metagraph(&client, NETUID).await.unwrap().num_uids, 1, "the node is still there");
    chain.stop().await;
}

#[tokio::test]
async fn keys_are_listed_in_pages_at_the_block_asked_for() {
    let keys: Vec<_> = (0..5).map(|n| (Key::new(&format!("//{n}")), 0)).collect();
    let chain = chain_of(&keys, LocalChainConfig::default()).await;
    let client = Client::connect(&chain).await;
    let genesis = client.rpc.genesis_hash().await.unwrap();
    chain.register(Key::new("//cold").public(), Key::new("//sixth").public()).await.unwrap();
    let at = client.api.at_current_block().await.unwrap();
    let address = dynamic::storage::<(u16, u16), [u8; 32]>("SubtensorModule", "Keys");
    let mut listed = 0;
    let mut entries = at.storage().iter(address, (NETUID,)).await.unwrap();
    while let Some(entry) = entries.next().await {
        let hotkey = entry.unwrap().value().decode().unwrap();
        assert!(hotkey == Key::new("//sixth").public() || keys.iter().any(|(key, _)| key.public() == hotkey));
        listed += 1;
    }
    assert_eq!(listed, 6);
    let prefix = at.storage().entry(("SubtensorModule", "Keys")).unwrap().key_prefix();
    let page = client.rpc.state_get_keys_paged(&prefix, 3, None, Some(genesis)).await.unwrap();
    let rest =
        client.rpc.state_get_keys_paged(&prefix, 100, page.last().map(Vec::as_slice), Some(genesis)).await.unwrap();
    assert_eq!((page.len(), rest.len()), (3, 2), "five at genesis, however many there are now");
    assert!(page.last() < rest.first());
    chain.stop().await;
}

#[tokio::test]
async fn types_have_the_paths_by_which_clients_know_them() {
    let chain = chain_of(&[], LocalChainConfig::default()).await;
    let client = Client::connect(&chain).await;
    let metadata = client.rpc.state_get_metadata(None).await.unwrap().to_frame_metadata().unwrap();
    let RuntimeMetadata::V14(metadata) = metadata.1 else { panic!("version {}", metadata.1.version()) };
    let paths: Vec<String> = metadata.types.types.iter().map(|ty| ty.ty.path.segments.join("::")).collect();
    for path in [
        "node_subtensor_runtime::RuntimeEvent",
        "node_subtensor_runtime::RuntimeCall",
        "pallet_subtensor::pallet::Error",
        "pallet_subtensor::pallet::AxonInfo",
        "pallet_commitments::types::Data",
        "pallet_commitments::types::CommitmentInfo",
    ] {
        assert!(paths.iter().any(|p| p == path), "{path} is missing");
    }
    assert_eq!(paths.iter().find(|p| p.starts_with("bistro")), None, "a module of ours shows");
    chain.stop().await;
}

#[tokio::test]
async fn subxt_finds_its_way_without_being_told_which_methods_to_use() {
    let miner = Key::new("//miner");
    let chain = chain_of(&[(miner.clone(), 0)], LocalChainConfig::default()).await;
    let api = OnlineClient::<SubstrateConfig>::from_insecure_url(chain.url()).await.unwrap();
    let at = api.at_current_block().await.unwrap();
    let progress = at.tx().sign_and_submit_then_watch_default(&commitment(NETUID, b"x"), &miner).await.unwrap();
    progress.wait_for_finalized_success().await.unwrap();
    chain.stop().await;
}

#[tokio::test]
async fn blocks_come_by_the_clock_too() {
    let config = LocalChainConfig { block_time: std::time::Duration::from_millis(20), ..LocalChainConfig::default() };
    let chain = bistro_localnet::chain::LocalChain::start(config).await.unwrap();
    let client = Client::connect(&chain).await;
    let mut blocks = client.api.stream_blocks().await.unwrap();
    let first = blocks.next().await.unwrap().unwrap().number();
    assert_eq!(blocks.next().await.unwrap().unwrap().number(), first + 1);
    let slot: u64 = storage(&client, "Timestamp", "Now", ()).await.unwrap();
    assert!(slot > 1_700_000_000_000, "milliseconds since 1970");
    let at = client.api.at_current_block().await.unwrap();
    let duration = at.constants().entry(dynamic::constant::<u64>("Aura", "SlotDuration")).unwrap();
    assert_eq!(duration, 20);
    chain.stop().await;
}
