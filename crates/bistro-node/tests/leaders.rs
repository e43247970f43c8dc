//! Many validators: who publishes, who follows, and what happens when the leader is lost, changes, comes back or is broken.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code, clippy::cast_lossless)]

mod world;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bistro_core::events::Event;
use bistro_core::ids::{Hash, Hotkey};
use bistro_core::params::ModelSpec;
use bistro_core::ports::{BucketAddress, PortError, PublicBuckets, Put, ReadLimits, Retry};
use bistro_core::protocol::{Encoding, Folder, Signed};
use bistro_node::leader::{self, Leader, SILENT_BLOCKS};
use bistro_node::replay::source;
use bistro_node::{NodeError, Parts, audit, log, miner, validator};
use bistro_sim::chain::FakeIdentity;
use bytes::Bytes;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use world::gate::{self, Rule};
use world::{NETUID, ToyBuild, World, rules};

const FIRST: Hotkey = Hotkey([1; 32]);
const MINER: Hotkey = Hotkey([2; 32]);
const SECOND: Hotkey = Hotkey([4; 32]);

/// A folder for everybody's state, a network whose second validator has `second` stake against 1000, and what stops everybody.
fn stage(second: u64) -> (TempDir, World, CancellationToken) {
    let world = World::with_stakes(&[(FIRST, 1_000), (MINER, 0), (SECOND, second)]);
    (tempfile::tempdir().unwrap(), world, CancellationToken::new())
}

type Program<T> = JoinHandle<Result<T, NodeError>>;

fn validate(
    world: &World,
    hotkey: Hotkey,
    dir: &Path,
    seed: u8,
    stop: &CancellationToken,
) -> Program<validator::Summary> {
    validate_with(world.parts(hotkey, dir), seed, stop)
}

fn validate_with(parts: Parts, seed: u8, stop: &CancellationToken) -> Program<validator::Summary> {
    let options = validator::Options { rules: rules("recommended"), seed: [seed; 32], version: "test".into() };
    let stop = stop.clone();
    tokio::task::spawn_local(async move { validator::run(parts, &ToyBuild, options, stop).await })
}

fn mine(world: &World, dir: &Path, stop: &CancellationToken) -> Program<miner::Summary> {
    mine_with(world.parts(MINER, dir), stop)
}

fn mine_with(parts: Parts, stop: &CancellationToken) -> Program<miner::Summary> {
    let options = miner::Options { mechanism: None, encoding: Encoding::F32, batch_rows: 4, seed: [2; 32] };
    let stop = stop.clone();
    tokio::task::spawn_local(async move { miner::run(parts, &ToyBuild, options, stop).await })
}

async fn blocks(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}

fn anybody(world: &World, dir: &Path) -> Parts {
    world.parts(Hotkey([9; 32]), dir)
}

async fn leader(world: &World, dir: &Path) -> Leader {
    leader::find(&anybody(world, dir), &world.metagraph()).await.unwrap().unwrap()
}

/// Every published lineage and every log holds.
async fn all_holds(world: &World, dir: &Path) {
    let spec = ModelSpec { tensors: [("bigram".to_owned(), vec![12, 12])].into() };
    let leader = leader(world, dir).await;
    let master = leader.master(&anybody(world, dir), &spec, None).await.unwrap();
    assert_eq!(master.hash, leader.manifest.hash);
    if leader.manifest.hotkey == FIRST && leader.manifest.chain.first().is_some_and(|step| step.seq == 1) {
        assert!(audit::lineage(&anybody(world, dir), &leader, &spec).await.unwrap().holds());
    }
    for (hotkey, bucket) in [(FIRST, "bucket-1"), (SECOND, "bucket-4")] {
        let replayed = source::of_path(&dir.join(bucket).join(log::FOLDER), &FakeIdentity(hotkey), 0).unwrap();
        assert!(replayed.report.holds(), "{hotkey}: {:#?}", replayed.report);
    }
}

fn events(dir: &Path, bucket: &str, which: fn(&Event) -> bool) -> usize {
    let (records, _) = log::read(&dir.join(bucket).join(log::FOLDER)).unwrap();
    records.iter().filter(|record| which(&record.event)).count()
}

/// The leader dies. Nobody else publishes while it may only be slow; then the next by stake goes on from its last master. The
/// leader comes back, and goes on from theirs.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_lost_leader_is_replaced_and_takes_over_again_when_it_is_back() {
    let (dir, world, stop) = stage(500);
    let dir = dir.path();
    let first = validate(&world, FIRST, dir, 1, &stop);
    let second = validate(&world, SECOND, dir, 4, &stop);
    let m = mine(&world, dir, &stop);
    blocks(40).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let lost = leader(&world, dir).await.manifest;
    assert!(lost.hotkey == FIRST && lost.seq > 1);
    blocks(SILENT_BLOCKS - 20).await;
    assert_eq!(leader(&world, dir).await.manifest.hotkey, FIRST, "it may only be slow");
    blocks(60).await;
    let next = leader(&world, dir).await.manifest;
    assert_eq!(next.hotkey, SECOND);
    assert!(next.seq > lost.seq, "{} after {}", next.seq, lost.seq);
    assert!(next.chain.iter().all(|step| step.seq > lost.seq && step.hotkey == MINER));
    assert!(next.chain.first().unwrap().parent == lost.hash, "it goes on from the last master");
    all_holds(&world, dir).await;
    let first = validate(&world, FIRST, dir, 7, &stop);
    blocks(60).await;
    let back = leader(&world, dir).await.manifest;
    assert_eq!(back.hotkey, FIRST);
    assert!(back.seq >= next.seq);
    stop.cancel();
    assert!(m.await.unwrap().unwrap().uploads > 60, "the miner worked all the time");
    let (first, second) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    assert!(first.seq.abs_diff(second.seq) <= 3, "{} {}", first.seq, second.seq);
    all_holds(&world, dir).await;
}

/// Buckets behind a cache that goes on answering with one old pointer.
struct FakeCache {
    behind: Arc<dyn PublicBuckets>,
    key: String,
    old: Bytes,
}

#[async_trait]
impl PublicBuckets for FakeCache {
    async fn get(&self, bucket: &BucketAddress, key: &str, limits: ReadLimits) -> Result<Option<Bytes>, PortError> {
        if key == self.key { Ok(Some(self.old.clone())) } else { self.behind.get(bucket, key, limits).await }
    }
}

/// Seed 175 of the simulator: master 17 was lost, as the validator began again from what the public saw of its own pointer.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_validator_that_is_back_begins_from_what_it_published_not_from_what_a_cache_says() {
    let (dir, world, stop) = stage(0);
    let dir = dir.path();
    let first = validate(&world, FIRST, dir, 1, &stop);
    let m = mine(&world, dir, &stop);
    blocks(20).await;
    let key = Folder::new(NETUID, &FIRST).master();
    let (before, old) = (leader(&world, dir).await.manifest, world.buckets.peek("bucket-1", &key).unwrap());
    blocks(20).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let lost = leader(&world, dir).await.manifest;
    assert!(lost.seq > before.seq);
    let behind = world.parts(FIRST, dir);
    let parts = Parts { public: Arc::new(FakeCache { behind: behind.public.clone(), key, old }), ..behind };
    let again = validate_with(parts, 7, &stop);
    blocks(20).await;
    let back = leader(&world, dir).await.manifest;
    assert!(back.seq > lost.seq && back.hash_of(lost.seq) == Some(lost.hash), "{} after {}", back.seq, lost.seq);
    stop.cancel();
    again.await.unwrap().unwrap();
    m.await.unwrap().unwrap();
}

/// One object cannot be read for a while: the server is there, and refuses for now.
struct Outage {
    key: String,
    on: Arc<AtomicBool>,
}

impl Outage {
    fn of(key: &str, on: &Arc<AtomicBool>) -> Self {
        Self { key: key.into(), on: on.clone() }
    }
}

#[async_trait]
impl Rule for Outage {
    async fn read(&self, key: &str) -> Result<(), PortError> {
        let refused = key == self.key && self.on.load(Ordering::Relaxed);
        let slow = || PortError { name: "Server".into(), message: "503 SlowDown".into(), retry: Retry::Soon };
        if refused { Err(slow()) } else { Ok(()) }
    }
}

/// The leader's pointer cannot be read for some blocks, and another validator, which led before, still has an older one: nobody
/// goes back to that. Neither the leader, which would publish the old master anew in place of those that others have built on
/// (P3), whether it runs or begins again; nor a miner, whose work would be lost.
#[tokio::test(flavor = "local", start_paused = true)]
async fn nobody_goes_back_to_an_older_leader_while_the_newer_cannot_be_read() {
    let (dir, world, stop) = stage(500);
    let dir = dir.path();
    let (key, out) = (Folder::new(NETUID, &SECOND).master(), Arc::new(AtomicBool::new(false)));
    let first = validate(&world, FIRST, dir, 1, &stop);
    let mut second = validate_with(gate::behind(Outage::of(&key, &out), world.parts(SECOND, dir)), 4, &stop);
    let miner = gate::behind(Outage::of(&key, &out), world.parts(MINER, dir));
    let board = miner.board.clone();
    let m = mine_with(miner, &stop);
    blocks(30).await;
    world.set_stake(&SECOND, 5_000);
    blocks(60).await;
    let mut newest = leader(&world, dir).await.manifest;
    assert_eq!(newest.hotkey, SECOND);
    for restart in [false, true] {
        let base = || board.status().miner.unwrap().base.unwrap().seq;
        let (old, mut lowest) = (base(), u64::MAX);
        out.store(true, Ordering::Relaxed);
        if restart {
            second.abort();
            assert!((&mut second).await.unwrap_err().is_cancelled());
            second = validate_with(gate::behind(Outage::of(&key, &out), world.parts(SECOND, dir)), 5, &stop);
        }
        for _ in 0..20 {
            blocks(1).await;
            lowest = lowest.min(base());
        }
        out.store(false, Ordering::Relaxed);
        assert!(lowest >= old, "the miner went back from master {old} to {lowest}");
        blocks(90).await;
        let later = leader(&world, dir).await.manifest;
        assert_eq!(later.hotkey, SECOND);
        assert!(later.seq > newest.seq, "{} after {}", later.seq, newest.seq);
        assert_eq!(later.hash_of(newest.seq), Some(newest.hash), "master {} was built on", newest.seq);
        newest = later;
    }
    stop.cancel();
    for program in [first, second] {
        program.await.unwrap().unwrap();
    }
    m.await.unwrap().unwrap();
    all_holds(&world, dir).await;
}

/// A leader whose master does not get better is not silent: it renews its pointer.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_leader_without_miners_stays_the_leader() {
    let (dir, world, stop) = stage(500);
    let dir = dir.path();
    let programs = [validate(&world, FIRST, dir, 1, &stop), validate(&world, SECOND, dir, 4, &stop)];
    blocks(2 * SILENT_BLOCKS + 50).await;
    assert_eq!(leader(&world, dir).await.manifest.hotkey, FIRST);
    stop.cancel();
    for program in programs {
        assert_eq!(program.await.unwrap().unwrap().seq, 0);
    }
    assert_eq!(events(dir, "bucket-4", |event| matches!(event, Event::Published { .. })), 0);
}

/// Stake moves: the new first publishes what follows, from the old one's last master, and the old one follows it.
#[tokio::test(flavor = "local", start_paused = true)]
async fn the_leader_changes_when_stake_moves() {
    let (dir, world, stop) = stage(500);
    let dir = dir.path();
    let programs = [validate(&world, FIRST, dir, 1, &stop), validate(&world, SECOND, dir, 4, &stop)];
    let m = mine(&world, dir, &stop);
    blocks(40).await;
    let before = leader(&world, dir).await.manifest;
    assert_eq!(before.hotkey, FIRST);
    world.set_stake(&SECOND, 5_000);
    blocks(60).await;
    let after = leader(&world, dir).await.manifest;
    assert_eq!(after.hotkey, SECOND);
    assert!(after.seq >= before.seq);
    stop.cancel();
    let [first, second] = programs;
    let (first, second) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    m.await.unwrap().unwrap();
    assert!(first.seq.abs_diff(second.seq) <= 3, "{} {}", first.seq, second.seq);
    assert!(events(dir, "bucket-1", |event| matches!(event, Event::Followed { .. })) > 0);
    all_holds(&world, dir).await;
}

/// Two with the same stake: the lower uid leads, and only one publishes.
#[tokio::test(flavor = "local", start_paused = true)]
async fn of_two_with_the_same_stake_one_leads() {
    let (dir, world, stop) = stage(1_000);
    let dir = dir.path();
    let programs = [validate(&world, FIRST, dir, 1, &stop), validate(&world, SECOND, dir, 4, &stop)];
    let m = mine(&world, dir, &stop);
    blocks(50).await;
    stop.cancel();
    for program in programs {
        program.await.unwrap().unwrap();
    }
    m.await.unwrap().unwrap();
    assert_eq!(leader(&world, dir).await.manifest.hotkey, FIRST);
    assert_eq!(events(dir, "bucket-4", |event| matches!(event, Event::Published { .. })), 0);
    all_holds(&world, dir).await;
}

/// A leader that names an object which is not there, or not what it says, is not followed there: everybody stays where they
/// are and goes on working, and follows again once it is mended.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_broken_master_is_not_followed_and_harms_nobody() {
    let (dir, world, stop) = stage(500);
    let dir = dir.path();
    let first = validate(&world, FIRST, dir, 1, &stop);
    let second = validate(&world, SECOND, dir, 4, &stop);
    let m = mine(&world, dir, &stop);
    blocks(40).await;
    first.abort();
    let _ = first.await;
    blocks(10).await;
    let owner = world.parts(FIRST, dir);
    let whole = leader(&world, dir).await.manifest;
    let key = Folder::new(NETUID, &FIRST).master();
    let followed = events(dir, "bucket-4", |event| matches!(event, Event::Followed { .. }));
    let uploads = || world.buckets.peek("bucket-2", &Folder::new(NETUID, &MINER).latest()).unwrap();
    // First an object that is not there, then one that leads elsewhere than the step says.
    for missing in [true, false] {
        let mut broken = whole.clone();
        let mut step = broken.chain.last().unwrap().clone();
        (step.seq, step.parent) = (whole.seq + 1, whole.hash);
        if missing {
            step.object = Hash([9; 32]);
        } else {
            step.hash = Hash([9; 32]);
        }
        (broken.seq, broken.hash, broken.block) = (step.seq, step.hash, world.block());
        broken.chain.push(step);
        let json = Signed::new(broken, |message| owner.identity.sign(message)).to_json();
        owner.own.put(&key, json.into(), Put::Replace).await.unwrap();
        let before = uploads();
        blocks(20).await;
        assert_ne!(uploads(), before, "the miner goes on");
        assert_eq!(events(dir, "bucket-4", |event| matches!(event, Event::Followed { .. })), followed);
    }
    let mended = bistro_core::protocol::MasterManifest { block: world.block(), ..whole };
    owner
        .own
        .put(&key, Signed::new(mended, |message| owner.identity.sign(message)).to_json().into(), Put::Replace)
        .await
        .unwrap();
    let first = validate(&world, FIRST, dir, 7, &stop);
    blocks(40).await;
    assert!(events(dir, "bucket-4", |event| matches!(event, Event::Followed { .. })) > followed);
    stop.cancel();
    for program in [first, second] {
        program.await.unwrap().unwrap();
    }
    m.await.unwrap().unwrap();
    all_holds(&world, dir).await;
}
