//! A validator that is killed at every point where it can be: nothing torn, nothing lost but the step, no weights twice.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code, clippy::cast_lossless)]

mod world;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bistro_core::ids::{Hotkey, Uid};
use bistro_core::pages::PageId;
use bistro_core::params::ModelSpec;
use bistro_core::ports::{BucketAddress, OwnBucket, PortError, Put};
use bistro_core::protocol::{Encoding, Folder};
use bistro_core::rules::Rules;
use bistro_node::miner::upload::{Parcel, Statement};
use bistro_node::replay::source;
use bistro_node::{Build as _, Parts, audit, leader, log, validator};
use bistro_sim::chain::FakeIdentity;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use world::{NETUID, ToyBuild, World, commit_bucket, rules};

const VALIDATOR: Hotkey = Hotkey([1; 32]);
const MINER: Hotkey = Hotkey([2; 32]);

/// Lives, each by one step longer: a whole turn with a publication is some forty steps.
const LIVES: usize = 120;

/// A bucket of which every call may be the last: one that waits before and after it is done.
struct Slow(Arc<dyn OwnBucket>);

async fn pause() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[async_trait]
impl OwnBucket for Slow {
    fn address(&self) -> BucketAddress {
        self.0.address()
    }

    async fn put(&self, key: &str, body: Bytes, mode: Put) -> Result<(), PortError> {
        pause().await;
        self.0.put(key, body, mode).await?;
        pause().await;
        Ok(())
    }

    async fn get(&self, key: &str, max_bytes: u64) -> Result<Option<Bytes>, PortError> {
        pause().await;
        self.0.get(key, max_bytes).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, PortError> {
        pause().await;
        self.0.list(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<(), PortError> {
        pause().await;
        self.0.delete(key).await
    }
}

/// A program that is dropped where it stands after so many steps from one await to the next.
struct Killed<F> {
    program: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> Future for Killed<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
        self.left = left;
        self.program.as_mut().poll(context).map(Some)
    }
}

/// What must hold whenever the validator is dead; the newest master's number.
async fn check(world: &World, anybody: &Parts, log: &std::path::Path, at: usize) -> u64 {
    let replayed = source::of_path(log, &FakeIdentity(VALIDATOR), 0).unwrap().report;
    assert!(replayed.holds() && replayed.anew == 0, "killed at {at}: {replayed:#?}");
    let Some(leader) = leader::find(anybody, &world.metagraph()).await.unwrap() else { return 0 };
    let spec = ModelSpec { tensors: [("bigram".to_owned(), vec![12, 12])].into() };
    let lineage = audit::lineage(anybody, &leader, &spec).await.unwrap();
    assert!(lineage.holds(), "killed at {at}");
    // What the log's pointer names is there.
    if let Some(published) = log::published::Published::find(anybody, &VALIDATOR).await.unwrap() {
        assert!(source::of_published(anybody, &published, 0).await.unwrap().report.holds(), "killed at {at}");
    }
    leader.manifest.seq
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_validator_killed_at_every_await_loses_at_most_the_step() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(&[VALIDATOR, MINER]);
    let rules = rules("recommended");
    let miner = world.parts(MINER, dir.path());
    commit_bucket(&miner).await;
    let anybody = world.parts(Hotkey([9; 32]), dir.path());
    let log = dir.path().join("bucket-1").join(log::FOLDER);
    let mut seq = 0;
    for at in 1..=LIVES {
        let parts = world.parts(VALIDATOR, dir.path());
        let parts = Parts { own: Arc::new(Slow(parts.own.clone())), ..parts };
        let options = validator::Options { rules: rules.clone(), seed: [at as u8; 32], version: "test".into() };
        let program = Box::pin(validator::run(parts, &ToyBuild, options, CancellationToken::new()));
        let ended = Killed { program, left: at }.await;
        assert!(ended.is_none(), "it ended by itself: {:?}", ended.unwrap().map(|summary| summary.seq));
        if !log.is_dir() {
            continue;
        }
        let now = check(&world, &anybody, &log, at).await;
        assert!(now >= seq, "killed at {at}: master {seq} was lost");
        seq = now;
        upload(&world, &miner, &rules, at as u64).await;
    }
    assert!(seq > 10, "only {seq} masters");
    // Weights: as often as the chain took them, and never once more than it allows.
    let (records, _) = log::read(&log).unwrap();
    let refused = |r: &bistro_core::events::Record| matches!(&r.event, bistro_core::events::Event::WeightsRefused { name, .. } if name == "SettingWeightsTooFast");
    assert_eq!(records.iter().filter(|r| refused(r)).count(), 0, "weights were sent twice");
    assert!(!world.weights(&VALIDATOR).is_empty());
    // No object of an interrupted publication is left for long.
    let objects = anybody_list(&world, dir.path()).await;
    assert!(objects.iter().filter(|key| key.contains("/log-")).count() <= 3, "{objects:?}");
}

/// A step of training on the newest master, as a miner would upload it.
async fn upload(world: &World, parts: &Parts, rules: &Rules, row: u64) {
    let Some(leader) = leader::find(parts, &world.metagraph()).await.unwrap() else { return };
    let mut learner = ToyBuild.learner(rules).unwrap();
    let master = leader.master(parts, &learner.spec(), None).await.unwrap();
    let page = PageId { config: "a".into(), split: "train".into(), row: row * 20 };
    let batch = ToyBuild.pages(rules).unwrap().page(&page).await.unwrap();
    learner.load(&master.params).unwrap();
    for _ in 0..3 {
        learner.train_step(&batch).unwrap();
    }
    let delta = learner.params().unwrap().minus(&master.params);
    let statement = Statement {
        rules: leader.manifest.rules,
        base_seq: master.seq,
        base: master.hash,
        uid: Uid(1),
        block: world.block(),
        encoding: Encoding::F32,
        steps: 3,
        tokens: 1,
        pages: Vec::new(),
    };
    Parcel::pack(parts, &statement, &delta).send(parts.clone()).await.unwrap();
}

async fn anybody_list(world: &World, dir: &std::path::Path) -> Vec<String> {
    world.parts(VALIDATOR, dir).own.list(Folder::new(NETUID, &VALIDATOR).prefix()).await.unwrap()
}
