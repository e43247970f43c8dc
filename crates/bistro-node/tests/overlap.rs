//! What a validator does while it waits for a delta.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code, clippy::cast_lossless)]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bistro_core::events::{Event, Judged, Record};
use bistro_core::ids::Hotkey;
use bistro_core::params::{ModelSpec, Params};
use bistro_core::ports::{Learner, Pages, PortError, StepReport};
use bistro_core::protocol::Encoding;
use bistro_core::rules::Rules;
use bistro_core::tokens::TokenBatch;
use bistro_node::{Build, Parts, leader, log, miner, validator};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use world::gate::{self, Rule};
use world::{ToyBuild, World, rules};

const VALIDATOR: Hotkey = Hotkey([1; 32]);

/// The toy, and how often a loss was asked of it.
struct FakeCounted {
    toy: Box<dyn Learner>,
    losses: Arc<AtomicUsize>,
}

impl Learner for FakeCounted {
    fn spec(&self) -> ModelSpec {
        self.toy.spec()
    }

    fn load(&mut self, params: &Params) -> Result<(), PortError> {
        self.toy.load(params)
    }

    fn params(&self) -> Result<Params, PortError> {
        self.toy.params()
    }

    fn loss(&mut self, batch: &TokenBatch) -> Result<f64, PortError> {
        self.losses.fetch_add(1, Ordering::Relaxed);
        self.toy.loss(batch)
    }

    fn train_step(&mut self, batch: &TokenBatch) -> Result<StepReport, PortError> {
        self.toy.train_step(batch)
    }

    fn reset_optimizer(&mut self) {
        self.toy.reset_optimizer();
    }
}

struct CountedBuild(Arc<AtomicUsize>);

impl Build for CountedBuild {
    fn pages(&self, rules: &Rules) -> Result<Arc<dyn Pages>, PortError> {
        ToyBuild.pages(rules)
    }

    fn learner(&self, rules: &Rules) -> Result<Box<dyn Learner>, PortError> {
        Ok(Box::new(FakeCounted { toy: ToyBuild.learner(rules)?, losses: self.0.clone() }))
    }
}

/// Deltas are on their way until this is open.
struct Deltas(watch::Receiver<bool>);

#[async_trait]
impl Rule for Deltas {
    async fn read(&self, key: &str) -> Result<(), PortError> {
        if key.contains("/delta-") {
            self.0.clone().wait_for(|open| *open).await.unwrap();
        }
        Ok(())
    }
}

async fn blocks(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}

fn mine(parts: Parts, seed: u8, stop: &CancellationToken) {
    let options = miner::Options { mechanism: None, encoding: Encoding::F32, batch_rows: 4, seed: [seed; 32] };
    let stop = stop.clone();
    tokio::task::spawn_local(async move { miner::run(parts, &ToyBuild, options, stop).await });
}

/// Losses that a record rests on.
fn losses(record: &Record) -> usize {
    match &record.event {
        Event::Measured { .. } => 1,
        // The master, each factor, and the local pages; with a proof each of those again, on the proof's pages before and after.
        Event::Judged(judged) => 2 + judged.candidates.len() + if judged.proof.is_some() { 3 } else { 0 },
        _ => 0,
    }
}

fn judged(records: &[Record]) -> Vec<&Judged> {
    let mut all = Vec::new();
    for record in records {
        if let Event::Judged(judged) = &record.event {
            all.push(judged.as_ref());
        }
    }
    all
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_master_is_measured_while_a_delta_is_on_its_way_and_never_in_vain() {
    let (dir, rules, stop) = (tempfile::tempdir().unwrap(), rules("recommended"), CancellationToken::new());
    let world = World::new(&[1, 2, 3].map(|n| Hotkey([n; 32])));
    let (gate, open) = watch::channel(false);
    let asked = Arc::new(AtomicUsize::new(0));
    let parts = gate::behind(Deltas(open), world.parts(VALIDATOR, dir.path()));
    let v = tokio::task::spawn_local({
        let (build, stop) = (CountedBuild(asked.clone()), stop.clone());
        let options = validator::Options { rules: rules.clone(), seed: [1; 32], version: "test".into() };
        async move { validator::run(parts, &build, options, stop).await }
    });
    let read = || log::read(&dir.path().join("bucket-1").join(log::FOLDER)).unwrap().0;
    for n in [2, 3] {
        mine(world.parts(Hotkey([n; 32]), dir.path()), n, &stop);
    }
    blocks(20).await;
    let records = read();
    assert!(judged(&records).is_empty(), "a delta was judged that is not there");
    let told: usize = records.iter().map(losses).sum();
    assert_eq!(asked.load(Ordering::Relaxed), told + 1, "the master is measured once, and nothing else");
    gate.send_replace(true);
    blocks(60).await;
    stop.cancel();
    v.await.unwrap().unwrap();

    let records = read();
    let skipped = records.iter().filter(|record| matches!(record.event, Event::Skipped { .. })).count();
    assert!(
        skipped > 5 && judged(&records).len() > 20,
        "{skipped} turns without a delta, {} with",
        judged(&records).len()
    );
    let told: usize = records.iter().map(losses).sum();
    let asked = asked.load(Ordering::Relaxed);
    assert!((told..=told + 1).contains(&asked), "{asked} losses were computed for {told} that are told");

    // What was measured is the master that the delta was tried on, on the pages that the log names.
    let anybody = world.parts(Hotkey([9; 32]), dir.path());
    let leader = leader::find(&anybody, &world.metagraph()).await.unwrap().unwrap();
    let mut learner = ToyBuild.learner(&rules).unwrap();
    let first = judged(&records)[0];
    assert!(first.master_seq == 0 && leader.manifest.seq > 5);
    let page = ToyBuild.pages(&rules).unwrap().page(&first.global_pages[0]).await.unwrap();
    assert_eq!(first.master_loss, Some(learner.loss(&page).unwrap()));
}
