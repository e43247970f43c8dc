//! Objects over real HTTP: the conformance suite, no torn reads, no leftovers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bistro_core::ports::{OwnBucket as _, PublicBuckets as _, Put, ReadLimits};
use bistro_storage::FakeBuckets;
use bistro_storage::conformance::{self, assert_named, limits};
use bytes::Bytes;

use crate::network::{Network, address, serve};

#[tokio::test]
async fn the_embedded_server_conforms() {
    let network = Network::start().await;
    let (own, public) = (network.own("alice", "alice-bucket").await, network.public());
    conformance::check(&own, &public).await;
    conformance::check_large(&own, &public, 40 << 20).await;
    network.server.stop().await;
}

#[tokio::test]
async fn the_fake_conforms() {
    let fake = FakeBuckets::new();
    let own = fake.own("alice-bucket");
    conformance::check(&own, &fake).await;
    conformance::check_large(&own, &fake, 1 << 20).await;
}

#[tokio::test]
async fn a_replaced_pointer_is_never_seen_torn() {
    let network = Network::start().await;
    let (own, public) = (network.own("alice", "alice-bucket").await, Arc::new(network.public()));
    let versions: Vec<Bytes> = (1..=2).map(|n| Bytes::from(vec![n; n as usize * 700_000])).collect();
    own.put("bistro/v1/latest.json", versions[0].clone(), Put::Replace).await.unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (public, versions, done) = (public.clone(), versions.clone(), done.clone());
            tokio::spawn(async move {
                let mut reads = 0;
                while done.load(Ordering::Relaxed) == 0 {
                    let read = public.get(&address("alice-bucket"), "bistro/v1/latest.json", limits(2_000_000)).await;
                    assert!(versions.contains(&read.unwrap().expect("there is always one")), "a torn object");
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    for round in 1..=40 {
        own.put("bistro/v1/latest.json", versions[round % 2].clone(), Put::Replace).await.unwrap();
    }
    done.store(1, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn of_many_immutable_writers_one_wins() {
    let network = Network::start().await;
    let own = Arc::new(network.own("alice", "alice-bucket").await);
    let writers = (0..8u8).map(|n| {
        let own = own.clone();
        async move { own.put("bistro/v1/once", Bytes::from(vec![n; 5 + usize::from(n)]), Put::Immutable).await.is_ok() }
    });
    let outcomes = futures::future::join_all(writers).await;
    assert_eq!(outcomes.iter().filter(|won| **won).count(), 1, "{outcomes:?}");
    let winner = outcomes.iter().position(|won| *won).unwrap();
    assert_eq!(own.get("bistro/v1/once", 100).await, Ok(Some(Bytes::from(vec![winner as u8; 5 + winner]))));
}

#[tokio::test]
async fn an_upload_whose_caller_went_away_leaves_no_parts() {
    let network = Network::start().await;
    let own = network.own("alice", "alice-bucket").await;
    let parts = || {
        let uploads = std::fs::read_dir(network.dir.path().join("tmp")).unwrap().flatten();
        uploads.filter(|entry| entry.file_name().to_string_lossy().starts_with("upload-")).count()
    };
    let body = conformance::body(40 << 20);
    let upload = own.put("big", body, Put::Replace);
    let begun = async {
        while parts() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        outcome = upload => panic!("done before it was seen: {outcome:?}"),
        () = begun => {}
    }
    let taken_back = async {
        while parts() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), taken_back).await.expect("the upload is still there");
    assert_eq!(own.list("").await, Ok(vec![]));
}

#[tokio::test]
async fn objects_outlive_the_server() {
    let network = Network::start().await;
    network
        .own("alice", "alice-bucket")
        .await
        .put("bistro/v1/k", Bytes::from_static(b"kept"), Put::Immutable)
        .await
        .unwrap();
    let before = network.public();
    let Network { dir, server } = network;
    server.stop().await;
    let quick = ReadLimits { deadline: Duration::from_millis(500), ..limits(9) };
    assert_named(before.get(&address("alice-bucket"), "bistro/v1/k", quick).await, "Unreachable");
    let network = Network { server: serve(&dir).await, dir };
    let read = network.public().get(&address("alice-bucket"), "bistro/v1/k", limits(9)).await;
    assert_eq!(read, Ok(Some(Bytes::from_static(b"kept"))));
}
