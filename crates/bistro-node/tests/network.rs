//! Whole networks in virtual time: real loops and mechanism, fake chain and buckets, a toy model with real gradients.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code, clippy::cast_lossless)]

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bistro_core::events::Event;
use bistro_core::ids::{Block, Hash, Hotkey, Uid};
use bistro_core::mechanism::Verdict;
use bistro_core::pages::{PageId, schedule};
use bistro_core::params::{Params, Tensor};
use bistro_core::ports::{PortError, Retry};
use bistro_core::protocol::{DeltaManifest, Encoding, Folder, Signed};
use bistro_core::rules::Rules;
use bistro_core::skip::Reason;
use bistro_node::{Build as _, NodeError, Parts, audit, judgements, leader, log, miner, validator};
use bistro_sim::faults::{Faults, Faulty};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use world::gate::{self, Rule};
use world::{HolesBuild, NETUID, ToyBuild, World, commit_bucket, loss_of, rules};

fn key(n: u8) -> Hotkey {
    Hotkey([n; 32])
}

/// A folder for everybody's state, a network of the first `hotkeys` keys, rules, and what stops everybody.
fn stage(hotkeys: u8, rules_name: &str) -> (TempDir, World, Rules, CancellationToken) {
    let keys: Vec<_> = (1..=hotkeys).map(key).collect();
    (tempfile::tempdir().unwrap(), World::new(&keys), rules(rules_name), CancellationToken::new())
}

fn start_validator(
    parts: Parts,
    rules: &Rules,
    stop: &CancellationToken,
) -> JoinHandle<Result<validator::Summary, NodeError>> {
    let options = validator::Options { rules: rules.clone(), seed: [1; 32], version: "test".into() };
    let stop = stop.clone();
    tokio::task::spawn_local(async move { validator::run(parts, &ToyBuild, options, stop).await })
}

fn start_miner(parts: Parts, seed: u8, stop: &CancellationToken) -> JoinHandle<Result<miner::Summary, NodeError>> {
    let options = miner::Options { mechanism: None, encoding: Encoding::F32, batch_rows: 4, seed: [seed; 32] };
    let stop = stop.clone();
    tokio::task::spawn_local(async move { miner::run(parts, &ToyBuild, options, stop).await })
}

async fn blocks(n: u32) {
    tokio::time::sleep(Duration::from_secs(1) * n).await;
}

/// Puts `delta` with a signed manifest into `parts`' bucket; `change` may spoil the manifest before it is signed.
async fn upload(
    parts: &Parts,
    uid: u16,
    delta: &Params,
    block: Block,
    change: impl FnOnce(&mut DeltaManifest),
) -> Hash {
    let metagraph = parts.chain.metagraph().await.unwrap();
    let leader = leader::find(parts, &metagraph).await.unwrap().unwrap();
    let hotkey = parts.identity.hotkey();
    let mut manifest = DeltaManifest {
        netuid: NETUID,
        uid: Uid(uid),
        hotkey,
        block,
        rules: leader.manifest.rules,
        base_seq: leader.manifest.seq,
        base: leader.manifest.hash,
        encoding: Encoding::F32,
        object: Hash([0; 32]),
        size: 0,
        steps: 1,
        tokens: 1,
        pages: Vec::new(),
    };
    let object = bistro_delta::encode_delta(delta, &(&manifest).into());
    (manifest.object, manifest.size) = (Hash::of(&object), object.len() as u64);
    let folder = Folder::new(NETUID, &hotkey);
    let bucket = parts.own.address().name;
    let buckets = parts.own.clone();
    buckets.put(&folder.delta(block, &manifest.object), object, bistro_core::ports::Put::Immutable).await.unwrap();
    change(&mut manifest);
    let object = manifest.object;
    let json = Signed::new(manifest, |m| parts.identity.sign(m)).to_json();
    buckets.put(&folder.latest(), json.into(), bistro_core::ports::Put::Replace).await.unwrap();
    assert!(!bucket.is_empty());
    object
}

fn constant(value: f32) -> Params {
    Params { tensors: [("bigram".to_owned(), Tensor::new(vec![12, 12], vec![value; 144]))].into() }
}

async fn trains(rules_name: &str) {
    let (dir, world, rules, stop) = stage(3, rules_name);
    let v = start_validator(world.parts(key(1), dir.path()), &rules, &stop);
    let miners = [2, 3].map(|n| start_miner(world.parts(key(n), dir.path()), n, &stop));
    blocks(120).await;
    stop.cancel();
    let summary = v.await.unwrap().unwrap();
    for miner in miners {
        assert!(miner.await.unwrap().unwrap().uploads > 10);
    }
    let parts = world.parts(key(9), dir.path());
    let leader = leader::find(&parts, &world.metagraph()).await.unwrap().unwrap();
    let spec = bistro_core::params::ModelSpec { tensors: [("bigram".to_owned(), vec![12, 12])].into() };
    let lineage = audit::lineage(&parts, &leader, &spec).await.unwrap();
    assert!(lineage.holds());
    assert_eq!(lineage.master.hash, summary.hash);
    // The toy language's entropy is ln 3 = 1.0986; the first master's loss is above 2.7.
    let loss = loss_of(&lineage.master.params, &rules).await;
    assert!(loss < 1.35, "{rules_name}: loss {loss} after {} masters", summary.seq);
    for miner in [2, 3] {
        assert!(lineage.steps.iter().any(|step| step.hotkey == key(miner)), "{rules_name}: nothing of miner {miner}");
    }
    let weights = world.weights(&key(1));
    assert_eq!(weights.iter().map(|(uid, _)| uid.0).collect::<Vec<_>>(), [1, 2]);
}

/// What the board shows is what the log, the chain and the bucket say.
#[tokio::test(flavor = "local", start_paused = true)]
async fn the_board_shows_what_happened() {
    let (dir, world, rules, stop) = stage(3, "recommended");
    let parts = [1, 2, 3].map(|n| world.parts(key(n), dir.path()));
    let v = start_validator(parts[0].clone(), &rules, &stop);
    let miners = [1, 2].map(|n| start_miner(parts[n].clone(), n as u8, &stop));
    blocks(60).await;
    stop.cancel();
    let summary = v.await.unwrap().unwrap();
    let (records, _) = log::read(&dir.path().join("bucket-1/log")).unwrap();
    let judged = records.iter().filter_map(|r| match &r.event {
        Event::Judged(judged) => Some((judged.hotkey, matches!(judged.verdict, Verdict::Accept(_)))),
        _ => None,
    });
    let judged: Vec<(Hotkey, bool)> = judged.collect();
    let skipped = records.iter().filter(|r| matches!(r.event, Event::Skipped { .. })).count();

    let shown = parts[0].board.status();
    let validator = shown.validator.unwrap();
    assert_eq!(validator.counts.accepted, judged.iter().filter(|(_, accepted)| *accepted).count() as u64);
    assert_eq!(validator.counts.accepted + validator.counts.rejected, judged.len() as u64);
    assert_eq!(validator.counts.skipped.values().sum::<u64>(), skipped as u64);
    assert_eq!(validator.master.map(|m| (m.seq, m.hash)), Some((summary.seq, summary.hash)));
    assert_eq!(validator.lineage.last().map(|step| step.hash), Some(summary.hash));
    assert_eq!(validator.weights.last_set.map(|set| set.weights), Some(world.weights(&key(1))));
    assert!(validator.leads && shown.uid == Some(Uid(0)) && shown.block > Block(50));
    assert_eq!(
        validator.miners.iter().map(|row| (row.uid.0, row.hotkey)).collect::<Vec<_>>(),
        [(1, key(2)), (2, key(3))]
    );
    assert!((validator.miners.iter().map(|row| row.share).sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(validator.miners.iter().all(|row| row.local_average.is_some() && row.global_average.is_some()));

    // A miner reads the same in the published log.
    let said = judgements::of(&parts[1], &key(2)).await.unwrap();
    assert_eq!((said.len(), said[0].validator, &said[0].trouble), (1, Some(key(1)), &None));
    let own: Vec<_> = judged.iter().filter(|(hotkey, _)| *hotkey == key(2)).collect();
    assert_eq!(said[0].judged, own.len() as u64);
    assert_eq!(said[0].accepted, own.iter().filter(|(_, accepted)| *accepted).count() as u64);
    assert!(said[0].last.is_some() && said[0].rank.is_some() && said[0].weight.is_some());

    for (miner, parts) in miners.into_iter().zip(&parts[1..]) {
        let summary = miner.await.unwrap().unwrap();
        let hotkey = parts.identity.hotkey();
        let shown = parts.board.status();
        let status = shown.miner.unwrap();
        assert_eq!(status.uploads, summary.uploads);
        assert!(shown.activities.is_empty(), "{:?}", shown.activities);
        assert!(status.losses.last().is_some() && status.steps > 0 && status.tokens > 0);
        // The last merge may not have reached it.
        let merged = judged.iter().filter(|judged| **judged == (hotkey, true)).count() as u64;
        assert!(status.merges > 0 && (merged - 1..=merged).contains(&status.merges), "{} of {merged}", status.merges);
        assert_eq!(status.leader, Some(key(1)));
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn two_miners_train_one_model_by_the_recommended_rules() {
    trains("recommended").await;
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn two_miners_train_one_model_by_the_readme() {
    trains("readme").await;
}

/// Pages that cannot be had are replaced, by miner and validator, and the log names those that were judged on.
#[tokio::test(flavor = "local", start_paused = true)]
async fn pages_that_cannot_be_had_are_replaced() {
    let (dir, world, rules, stop) = stage(2, "recommended");
    let options = validator::Options { rules: rules.clone(), seed: [1; 32], version: "test".into() };
    let (parts, token) = (world.parts(key(1), dir.path()), stop.clone());
    let v = tokio::task::spawn_local(async move { validator::run(parts, &HolesBuild, options, token).await });
    let options = miner::Options { mechanism: None, encoding: Encoding::F32, batch_rows: 4, seed: [2; 32] };
    let (parts, token) = (world.parts(key(2), dir.path()), stop.clone());
    let m = tokio::task::spawn_local(async move { miner::run(parts, &HolesBuild, options, token).await });
    blocks(30).await;
    stop.cancel();
    v.await.unwrap().unwrap();
    assert!(m.await.unwrap().unwrap().uploads > 3);
    let (records, _) = log::read(&dir.path().join("bucket-1/log")).unwrap();
    let mut judged = 0;
    for record in records {
        if let Event::Judged(verdict) = record.event {
            judged += 1;
            assert!(verdict.local_pages.iter().chain(&verdict.global_pages).all(|page| page.row % 3 != 0));
            // What could not be had is not stated, either.
            let trained = verdict.trained.iter().map(|number| schedule::page(&rules.dataset, Uid(1), *number));
            assert!(trained.into_iter().all(|page| page.row % 3 != 0));
        }
    }
    assert!(judged > 3, "only {judged} verdicts");
}

/// Miners state the pages of their unmerged work, each until it is merged, and are judged on one of them.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_delta_is_judged_on_a_page_that_it_was_trained_on() {
    let (dir, world, rules, stop) = stage(3, "recommended");
    let v = start_validator(world.parts(key(1), dir.path()), &rules, &stop);
    let miners = [2, 3].map(|n| start_miner(world.parts(key(n), dir.path()), n, &stop));
    blocks(90).await;
    stop.cancel();
    v.await.unwrap().unwrap();
    for miner in miners {
        miner.await.unwrap().unwrap();
    }
    let mut merged: BTreeMap<Hotkey, BTreeSet<u64>> = BTreeMap::new();
    let mut stated = 0;
    for record in log::read(&dir.path().join("bucket-1/log")).unwrap().0 {
        let Event::Judged(verdict) = record.event else { continue };
        let pages: Vec<PageId> =
            verdict.trained.iter().map(|number| schedule::page(&rules.dataset, verdict.uid, *number)).collect();
        assert!(verdict.local_pages.iter().all(|page| pages.contains(page)), "{verdict:#?}");
        stated += pages.len();
        let before = merged.entry(verdict.hotkey).or_default();
        assert!(verdict.trained.iter().all(|page| !before.contains(page)), "merged already: {before:?} {verdict:#?}");
        if matches!(verdict.verdict, Verdict::Accept(_)) {
            before.extend(&verdict.trained);
        }
    }
    assert!(merged.len() == 2 && merged.values().all(|pages| pages.len() > 10) && stated > 40, "{stated} {merged:?}");
}

type Spoil = fn(&mut DeltaManifest);

/// Each hostile upload ends in its named skip, the master stays bit-identical, and no weight goes to the attacker.
#[tokio::test(flavor = "local", start_paused = true)]
async fn poison_never_reaches_the_master() {
    let (dir, world, rules, stop) = stage(2, "recommended");
    let v = start_validator(world.parts(key(1), dir.path()), &rules, &stop);
    let parts = world.parts(key(2), dir.path());
    commit_bucket(&parts).await;
    blocks(3).await;
    let keep: Spoil = |_| {};
    let attacks: Vec<(Reason, Params, Spoil)> = vec![
        (Reason::NotFinite, constant(f32::NAN), keep),
        (Reason::NotFinite, constant(f32::INFINITY), keep),
        (Reason::NormTooLarge, constant(1e6), keep),
        (Reason::WrongOwner, constant(0.1), |m| m.uid = Uid(0)),
        (Reason::OtherRules, constant(0.1), |m| m.rules = Hash([3; 32])),
        (Reason::UnknownBase, constant(0.1), |m| m.base = Hash([3; 32])),
        (Reason::UnknownBase, constant(0.1), |m| m.base_seq = 40),
        (Reason::TooLarge, constant(0.1), |m| m.size = u64::MAX),
        (Reason::BadManifest, constant(0.1), |m| m.pages = (0..257).collect()),
        (Reason::BadBlock, constant(0.1), |m| m.block = Block(1_000_000)),
        (Reason::NoDelta, constant(0.1), |m| m.object = Hash([3; 32])),
        (Reason::WrongHash, constant(0.1), |m| m.size += 1),
    ];
    let mut wanted = Vec::new();
    for (i, (reason, delta, spoil)) in attacks.into_iter().enumerate() {
        wanted.push(reason);
        let mut delta = delta;
        // Distinct objects, so that each skip is news.
        std::sync::Arc::make_mut(&mut delta.tensors.get_mut("bigram").unwrap().data)[0] += i as f32 * 1e-3;
        upload(&parts, 1, &delta, world.block(), spoil).await;
        blocks(6).await;
    }
    parts
        .own
        .put(&Folder::new(NETUID, &key(2)).latest(), "{\"x\":1}".into(), bistro_core::ports::Put::Replace)
        .await
        .unwrap();
    wanted.push(Reason::BadManifest);
    blocks(6).await;
    stop.cancel();
    assert_eq!(v.await.unwrap().unwrap().seq, 0, "a hostile delta was accepted");
    let (records, torn) = log::read(&dir.path().join("bucket-1/log")).unwrap();
    let reasons: Vec<Reason> = records
        .iter()
        .filter_map(|record| match &record.event {
            Event::Skipped { skip, .. } => Some(skip.reason),
            Event::Judged(_) => panic!("a hostile delta was judged"),
            _ => None,
        })
        .filter(|reason| *reason != Reason::AlreadyJudged)
        .collect();
    assert_eq!((torn, &reasons[reasons.len() - wanted.len()..]), (0, &wanted[..]));
    assert!(world.weights(&key(1)).is_empty());
}

/// A delta that was refused for its values costs one download: only a bucket that names another one is read again.
#[tokio::test(flavor = "local", start_paused = true)]
async fn what_was_refused_for_its_values_is_not_downloaded_again() {
    for (reason, value) in [(Reason::NotFinite, f32::NAN), (Reason::NormTooLarge, 1e6)] {
        let (dir, world, rules, stop) = stage(2, "recommended");
        let v = start_validator(world.parts(key(1), dir.path()), &rules, &stop);
        let parts = world.parts(key(2), dir.path());
        commit_bucket(&parts).await;
        blocks(3).await;
        let object = upload(&parts, 1, &constant(value), world.block(), |_| {}).await;
        let key_of = Folder::new(NETUID, &key(2)).delta(world.block(), &object);
        blocks(6).await;
        // Whoever downloaded it once more would find that it is gone.
        parts.own.delete(&key_of).await.unwrap();
        blocks(6).await;
        assert_eq!(skips(dir.path(), key(2)).last(), Some(&reason), "{:?}", skips(dir.path(), key(2)));
        upload(&parts, 1, &constant(0.0), world.block(), |_| {}).await;
        blocks(6).await;
        stop.cancel();
        v.await.unwrap().unwrap();
        let judged = log::read(&dir.path().join("bucket-1/log")).unwrap().0;
        assert!(judged.iter().any(|record| matches!(record.event, Event::Judged(_))), "its next delta is looked at");
    }
}

/// Good deltas, then poison: with `on_fault = "forget"` the weight is gone.
#[tokio::test(flavor = "local", start_paused = true)]
async fn poison_after_honest_work_costs_the_score() {
    let (dir, world, rules, stop) = stage(3, "recommended");
    let v = start_validator(world.parts(key(1), dir.path()), &rules, &stop);
    let traitor = world.parts(key(2), dir.path());
    let honest = start_miner(world.parts(key(3), dir.path()), 3, &stop);
    let turns = CancellationToken::new();
    let still_honest = start_miner(traitor.clone(), 2, &turns);
    blocks(25).await;
    assert!(world.weights(&key(1)).iter().any(|(uid, _)| uid.0 == 1));
    turns.cancel();
    still_honest.await.unwrap().unwrap();
    upload(&traitor, 1, &constant(f32::NAN), world.block(), |_| {}).await;
    blocks(20).await;
    let weights = world.weights(&key(1));
    assert_eq!(weights.iter().map(|(uid, _)| uid.0).collect::<Vec<_>>(), [2]);
    stop.cancel();
    v.await.unwrap().unwrap();
    honest.await.unwrap().unwrap();
}

/// Masters are stored whole only while this is open.
struct WholeMasters(watch::Receiver<bool>);

#[async_trait]
impl Rule for WholeMasters {
    async fn write(&self, key: &str) -> Result<(), PortError> {
        if key.ends_with(".safetensors") && key.contains("/master-") {
            self.0.clone().wait_for(|open| *open).await.unwrap();
        }
        Ok(())
    }
}

/// The upload of a whole master may last for many turns: they go on, for as many steps as a manifest has room for, and what is
/// published can be rebuilt all the time.
#[tokio::test(flavor = "local", start_paused = true)]
async fn the_loop_does_not_wait_for_a_master_that_is_stored_whole() {
    let (dir, world, rules, stop) = stage(3, "recommended");
    let (gate, open) = watch::channel(true);
    let parts = gate::behind(WholeMasters(open), world.parts(key(1), dir.path()));
    let v = start_validator(parts, &rules, &stop);
    let miners = [2, 3].map(|n| start_miner(world.parts(key(n), dir.path()), n, &stop));
    blocks(3).await;
    gate.send_replace(false);
    let anybody = world.parts(key(9), dir.path());
    let newest = async || {
        let leader = leader::find(&anybody, &world.metagraph()).await.unwrap().unwrap();
        let spec = ToyBuild.learner(&rules).unwrap().spec();
        let master = leader.master(&anybody, &spec, None).await.unwrap();
        assert_eq!(master.hash, leader.manifest.hash);
        (leader.manifest.seq, leader.manifest.snapshot_seq)
    };
    blocks(120).await;
    let (seq, snapshot) = newest().await;
    assert!(snapshot == 0 && seq > 20, "master {seq}, of which {snapshot} is stored whole");
    blocks(400).await;
    let (full, snapshot) = newest().await;
    assert_eq!((full, snapshot), (48, 0), "there must be room left in the manifest");
    gate.send_replace(true);
    blocks(60).await;
    let (seq, snapshot) = newest().await;
    assert!(seq > full && snapshot >= 16, "master {seq}, of which {snapshot} is stored whole");
    stop.cancel();
    v.await.unwrap().unwrap();
    for miner in miners {
        miner.await.unwrap().unwrap();
    }
    let (seq, snapshot) = newest().await;
    assert_eq!(seq, snapshot);
    let stored = world
        .buckets
        .keys("bucket-1")
        .into_iter()
        .filter(|key| key.contains("/master-") && key.ends_with(".safetensors"));
    assert!(stored.count() <= 3, "the first, the newest, and the one before");
}

/// The same values under another hotkey, uploaded later, are refused.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_copied_delta_earns_nothing() {
    let (dir, world, rules, stop) = stage(3, "readme");
    let v = start_validator(world.parts(key(1), dir.path()), &rules, &stop);
    let (author, copier) = (world.parts(key(2), dir.path()), world.parts(key(3), dir.path()));
    commit_bucket(&author).await;
    blocks(2).await;
    // Worse than the master's own loss would be accepted as the first; keep the base for both by refusing it: a large step.
    upload(&author, 1, &constant(0.02), world.block(), |_| {}).await;
    blocks(10).await;
    commit_bucket(&copier).await;
    upload(&copier, 2, &constant(0.02), world.block(), |_| {}).await;
    blocks(10).await;
    stop.cancel();
    v.await.unwrap().unwrap();
    let (records, _) = log::read(&dir.path().join("bucket-1/log")).unwrap();
    let copied = |record: &bistro_core::events::Record| matches!(&record.event, Event::Skipped { skip, hotkey, .. } if skip.reason == Reason::Copied && *hotkey == key(3));
    assert!(records.iter().any(copied));
    assert_eq!(world.weights(&key(1)).iter().map(|(uid, _)| uid.0).collect::<Vec<_>>(), [1]);
}

/// A delta of many values, drawn by `seed`.
fn noise(seed: u64, size: f32) -> Params {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let data = (0..144).map(|_| (rng.random::<f32>() - 0.5) * size).collect();
    Params { tensors: [("bigram".to_owned(), Tensor::new(vec![12, 12], data))].into() }
}

/// What the validator `key(1)` skipped of `hotkey`, by reason.
fn skips(dir: &std::path::Path, hotkey: Hotkey) -> Vec<Reason> {
    let (records, _) = log::read(&dir.join("bucket-1/log")).unwrap();
    let skipped = |record: bistro_core::events::Record| match record.event {
        Event::Skipped { skip, hotkey: whose, .. } if whose == hotkey => Some(skip.reason),
        _ => None,
    };
    records.into_iter().filter_map(skipped).collect()
}

/// Another's delta, rescaled and with a little noise, is refused; one that only leans the same way is not.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_near_copy_earns_nothing() {
    let (dir, world, mut rules, stop) = stage(4, "readme");
    rules.mechanism.deltas.max_cosine = 0.95;
    let v = start_validator(world.parts(key(1), dir.path()), &rules, &stop);
    let [author, copier, honest] = [2, 3, 4].map(|n| world.parts(key(n), dir.path()));
    commit_bucket(&author).await;
    blocks(2).await;
    let original = noise(1, 0.02);
    upload(&author, 1, &original, world.block(), |_| {}).await;
    blocks(10).await;
    for parts in [&copier, &honest] {
        commit_bucket(parts).await;
    }
    let copy = constant(0.0).plus_scaled(&original, 0.5).plus_scaled(&noise(2, 0.02), 0.05);
    upload(&copier, 2, &copy, world.block(), |_| {}).await;
    upload(&honest, 3, &original.plus_scaled(&noise(3, 0.02), 1.0), world.block(), |_| {}).await;
    blocks(20).await;
    stop.cancel();
    v.await.unwrap().unwrap();
    assert!(skips(dir.path(), key(3)).contains(&Reason::NearCopy), "{:?}", skips(dir.path(), key(3)));
    assert!(!skips(dir.path(), key(4)).contains(&Reason::NearCopy), "{:?}", skips(dir.path(), key(4)));
    assert_eq!(world.weights(&key(1)).iter().map(|(uid, _)| uid.0).collect::<Vec<_>>(), [1, 3]);
}

/// A miner states its block itself. One that claims an early block for what it copied late is believed only as far back as
/// the validator's last look at its bucket.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_copier_cannot_claim_to_have_been_first() {
    let (dir, world, rules, stop) = stage(3, "readme");
    let v = start_validator(world.parts(key(1), dir.path()), &rules, &stop);
    let [author, copier] = [2, 3].map(|n| world.parts(key(n), dir.path()));
    commit_bucket(&author).await;
    commit_bucket(&copier).await;
    blocks(10).await;
    let early = world.block();
    blocks(10).await;
    upload(&author, 1, &constant(0.02), world.block(), |_| {}).await;
    blocks(10).await;
    upload(&copier, 2, &constant(0.02), early, |_| {}).await;
    blocks(10).await;
    stop.cancel();
    v.await.unwrap().unwrap();
    assert!(skips(dir.path(), key(3)).contains(&Reason::Copied), "{:?}", skips(dir.path(), key(3)));
}

/// Stopped and started again, both go on: the lineage grows from where it was, scores and saved work are there.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_restart_goes_on_from_the_state_files() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(&[key(1), key(2)]);
    let rules = rules("recommended");
    let mut seq = 0;
    for round in 0..3 {
        let stop = CancellationToken::new();
        let v = start_validator(world.parts(key(1), dir.path()), &rules, &stop);
        let m = start_miner(world.parts(key(2), dir.path()), 2, &stop);
        blocks(30).await;
        stop.cancel();
        let summary = v.await.unwrap().unwrap();
        m.await.unwrap().unwrap();
        assert!(summary.seq > seq, "round {round} accepted nothing");
        seq = summary.seq;
    }
    let (records, _) = log::read(&dir.path().join("bucket-1/log")).unwrap();
    let starts: Vec<u64> = records
        .iter()
        .filter_map(|r| if let Event::Started { master_seq, .. } = r.event { Some(master_seq) } else { None })
        .collect();
    assert_eq!(starts.len(), 3);
    assert!(starts[0] == 0 && starts[1] > 0 && starts[2] > starts[1], "{starts:?}");
}

/// An upgrade or a roll-back over a change of form: neither program begins anew over what the other one can still read.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_state_of_another_version_is_refused_and_left_as_it_is() {
    let (dir, world, rules, stop) = stage(2, "recommended");
    let v = start_validator(world.parts(key(1), dir.path()), &rules, &stop);
    let m = start_miner(world.parts(key(2), dir.path()), 2, &stop);
    blocks(30).await;
    stop.cancel();
    v.await.unwrap().unwrap();
    m.await.unwrap().unwrap();
    for (who, name) in [(key(1), "validator-state.json"), (key(2), "miner-state.json")] {
        let path = world.parts(who, dir.path()).data_dir.join(name);
        let own: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for (version, more) in [(1, false), (9, false), (9, true)] {
            let mut state = own.clone();
            state["version"] = version.into();
            if more {
                state["more"] = true.into();
            }
            let other = serde_json::to_vec(&state).unwrap();
            std::fs::write(&path, &other).unwrap();
            let (parts, stop) = (world.parts(who, dir.path()), CancellationToken::new());
            let run = async {
                if who == key(1) {
                    start_validator(parts, &rules, &stop).await.unwrap().map(drop)
                } else {
                    start_miner(parts, 2, &stop).await.unwrap().map(drop)
                }
            };
            let error = tokio::time::timeout(Duration::from_mins(1), run).await.expect(name).unwrap_err();
            let text = error.to_string();
            assert!(!error.is_temporary() && text.contains(&format!("it has version {version}")), "{text}");
            assert_eq!(std::fs::read(&path).unwrap(), other);
        }
    }
}

/// Killed without warning (the task is dropped at whatever await it stands at), the validator loses at most the step.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_validator_killed_at_any_moment_comes_back_to_a_sound_lineage() {
    let (dir, world, rules, stop) = stage(2, "recommended");
    let m = start_miner(world.parts(key(2), dir.path()), 2, &stop);
    let mut seq = 0;
    for kill in 0..25_u64 {
        let v = start_validator(world.parts(key(1), dir.path()), &rules, &CancellationToken::new());
        tokio::time::sleep(Duration::from_millis(1_500 + kill * 77)).await;
        v.abort();
        assert!(v.await.unwrap_err().is_cancelled());
        let parts = world.parts(key(9), dir.path());
        let leader = leader::find(&parts, &world.metagraph()).await.unwrap().unwrap();
        assert!(leader.manifest.seq >= seq, "kill {kill} lost a master");
        seq = leader.manifest.seq;
        let spec = bistro_core::params::ModelSpec { tensors: [("bigram".to_owned(), vec![12, 12])].into() };
        assert!(audit::lineage(&parts, &leader, &spec).await.unwrap().holds());
    }
    assert!(seq > 3, "only {seq} masters in 25 lives");
    stop.cancel();
    m.await.unwrap().unwrap();
}

/// An operator's own rules that differ from the run's are refused, and the difference is named.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_miner_with_other_rules_is_refused_with_the_difference() {
    let (dir, world, run, stop) = stage(2, "recommended");
    let v = start_validator(world.parts(key(1), dir.path()), &run, &stop);
    blocks(2).await;
    let mut own = run.mechanism.clone();
    own.window.pages = 50;
    let options = miner::Options { mechanism: Some(own), encoding: Encoding::F32, batch_rows: 4, seed: [0; 32] };
    let refused = miner::run(world.parts(key(2), dir.path()), &ToyBuild, options, stop.clone()).await;
    assert!(refused.unwrap_err().to_string().contains("mechanism.window.pages: 50 → 100"));
    stop.cancel();
    v.await.unwrap().unwrap();
}

/// A uid that changes hands mid-run: the former owner's weight does not go to the new one.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_recycled_uid_gets_no_weight_of_its_former_owner() {
    let (dir, world, rules, stop) = stage(3, "recommended");
    let v = start_validator(world.parts(key(1), dir.path()), &rules, &stop);
    let stays = start_miner(world.parts(key(3), dir.path()), 3, &stop);
    let leaves = start_miner(world.parts(key(2), dir.path()), 2, &CancellationToken::new());
    blocks(40).await;
    assert!(world.weights(&key(1)).iter().any(|(uid, _)| uid.0 == 1));
    world.recycle(&key(2), key(77));
    blocks(40).await;
    let gone = leaves.await.unwrap().unwrap_err();
    assert!(gone.to_string().contains("not registered"), "{gone}");
    assert_eq!(world.weights(&key(1)).iter().map(|(uid, _)| uid.0).collect::<Vec<_>>(), [2]);
    stop.cancel();
    v.await.unwrap().unwrap();
    stays.await.unwrap().unwrap();
}

/// Two processes of one hotkey on one folder: the second is refused.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_second_process_on_the_data_folder_is_refused() {
    let (dir, world, rules, stop) = stage(1, "readme");
    let v = start_validator(world.parts(key(1), dir.path()), &rules, &stop);
    blocks(2).await;
    let second = start_validator(world.parts(key(1), dir.path()), &rules, &stop).await.unwrap();
    assert!(second.unwrap_err().to_string().contains("another process"));
    stop.cancel();
    v.await.unwrap().unwrap();
}

/// The validator with less stake follows the other's master, bit for bit, and sets weights of its own.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_second_validator_follows_and_sets_its_own_weights() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::with_stakes(&[(key(1), 1_000), (key(2), 0), (key(4), 500)]);
    let (rules, stop) = (rules("recommended"), CancellationToken::new());
    let first = start_validator(world.parts(key(1), dir.path()), &rules, &stop);
    let second = start_validator(world.parts(key(4), dir.path()), &rules, &stop);
    let m = start_miner(world.parts(key(2), dir.path()), 2, &stop);
    // Until both can tell who trained.
    blocks(120).await;
    stop.cancel();
    let (first, second) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    m.await.unwrap().unwrap();
    assert!(first.seq > 3 && second.seq > 1 && second.seq <= first.seq, "{} {}", first.seq, second.seq);
    for validator in [key(1), key(4)] {
        assert!(world.weights(&validator).iter().any(|(uid, _)| uid.0 == 1), "{validator}");
    }
    let (records, _) = log::read(&dir.path().join("bucket-4/log")).unwrap();
    assert!(records.iter().any(|r| matches!(r.event, Event::Followed { .. })));
    assert!(!records.iter().any(|r| matches!(r.event, Event::Published { .. })), "a follower published");
}

/// A loop that stands still (its chain never answers again) is told from one that waits: by its pulse, with what it does.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_loop_that_stands_still_has_no_pulse() {
    let (dir, world, rules, stop) = stage(2, "recommended");
    let parts = [1, 2].map(|n| world.parts(key(n), dir.path()));
    let pulses = parts.each_ref().map(|parts| parts.pulse.clone());
    let [v, m] = parts;
    let (v, m) = (start_validator(v, &rules, &stop), start_miner(m, 2, &stop));
    let patience = Duration::from_secs(10);
    for _ in 0..60 {
        blocks(1).await;
        assert_eq!(pulses.each_ref().map(|pulse| pulse.stalled(patience)), [None, None]);
    }
    let beats = pulses.each_ref().map(|pulse| pulse.last().number);
    assert!(beats.iter().all(|beats| *beats > 100), "{beats:?}");
    world.hang();
    blocks(20).await;
    let doing = pulses.each_ref().map(|pulse| pulse.stalled(patience).map(|(doing, _)| doing));
    assert_eq!(doing, [Some("waiting for a block"), Some("asking for the newest block")]);
    v.abort();
    m.abort();
}

/// A validator with much stake that runs nothing does not keep a run from beginning.
#[tokio::test(flavor = "local", start_paused = true)]
async fn an_idle_whale_does_not_stop_a_run_from_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::with_stakes(&[(key(9), 1_000_000), (key(1), 1_000), (key(2), 0)]);
    let (rules, stop) = (rules("recommended"), CancellationToken::new());
    let v = start_validator(world.parts(key(1), dir.path()), &rules, &stop);
    let m = start_miner(world.parts(key(2), dir.path()), 2, &stop);
    blocks(50).await;
    let parts = world.parts(key(5), dir.path());
    assert!(leader::find(&parts, &world.metagraph()).await.unwrap().is_none(), "it began before its turn");
    blocks(50).await;
    stop.cancel();
    assert!(v.await.unwrap().unwrap().seq > 1);
    m.await.unwrap().unwrap();
}

/// Where the chain did not say its newest block, the log said that weights were set in block 0.
#[tokio::test(flavor = "local", start_paused = true)]
async fn weights_are_not_logged_of_block_0() {
    let (dir, world, rules, stop) = stage(2, "readme");
    let mut parts = world.parts(key(1), dir.path());
    parts.chain = Arc::new(Faulty { inner: parts.chain, faults: Faults::new(1, 0.3) });
    let v = start_validator(parts, &rules, &stop);
    let m = start_miner(world.parts(key(2), dir.path()), 2, &stop);
    blocks(240).await;
    stop.cancel();
    v.await.unwrap().unwrap();
    m.await.unwrap().unwrap();
    let (records, _) = log::read(&dir.path().join("bucket-1/log")).unwrap();
    let set: Vec<_> = records.iter().filter(|record| matches!(record.event, Event::WeightsSet { .. })).collect();
    assert!(set.len() > 3, "{}", set.len());
    assert!(set.iter().all(|record| record.block > Block(0)), "{set:#?}");
}

/// Somebody waits at a terminal for it, or a machine shuts down.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_program_whose_bucket_is_gone_still_ends_soon_after_it_is_told_to() {
    let (dir, world, rules, stop) = stage(2, "recommended");
    let validator = start_validator(world.parts(key(1), dir.path()), &rules, &stop);
    let miner = start_miner(world.parts(key(2), dir.path()), 2, &stop);
    blocks(20).await;
    let gone = PortError { name: "Down".into(), message: "no route".into(), retry: Retry::Soon };
    for bucket in ["bucket-1", "bucket-2"] {
        world.buckets.break_bucket(bucket, Some(gone.clone()));
    }
    // Both are in the middle of their patience by now.
    blocks(70).await;
    let told = tokio::time::Instant::now();
    stop.cancel();
    let (validator, miner) = (validator.await.unwrap(), miner.await.unwrap());
    assert!(told.elapsed() < Duration::from_secs(30), "{:?}", told.elapsed());
    assert!(validator.is_err_and(|error| error.to_string().contains("no route")), "the last master was not published");
    drop(miner);
}
