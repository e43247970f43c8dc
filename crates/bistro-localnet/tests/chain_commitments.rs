//! What a whole subnet has committed, as the client reads it from a node in one request.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use bistro_core::ids::Hotkey;
use bistro_localnet::network::{LocalNetwork, Setup};

#[tokio::test(flavor = "multi_thread")]
async fn what_many_have_committed_is_what_each_has() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<_> = (0..12).map(|i| format!("member-{i}")).collect();
    let setup = Setup {
        dir: dir.path().to_owned(),
        block_time: Duration::from_millis(200),
        seal_on_transaction: true,
        names,
        ..Setup::default()
    };
    let network = LocalNetwork::start(setup).await.unwrap();
    let mut chains = Vec::new();
    for member in &network.members {
        chains.push(network.parts(member).await.unwrap().chain);
    }
    // Every third commits nothing.
    for (i, chain) in chains.iter().enumerate().filter(|(i, _)| i % 3 > 0) {
        chain.commit(&format!("bucket-{i}")).await.unwrap();
    }
    let mut hotkeys: Vec<Hotkey> = network.members.iter().map(|member| member.hotkey).collect();
    hotkeys.push(Hotkey([7; 32]));
    let found = chains[0].commitments(&hotkeys).await.unwrap();
    assert_eq!(found.len(), hotkeys.len(), "of each it is known whether it has committed");
    for (i, hotkey) in hotkeys.iter().enumerate() {
        let expected = (i % 3 > 0 && i < 12).then(|| format!("bucket-{i}"));
        assert_eq!(found[hotkey], expected, "{i}");
        assert_eq!(chains[0].commitment(hotkey).await.unwrap(), expected, "{i}");
    }
    assert!(chains[0].commitments(&[]).await.unwrap().is_empty());
    network.stop().await;
}
