//! How much faster a network trains than one trainer alone: the loss of the master against virtual time, for any model.
//!
//! - this file: a race of a network.
//! - `trainers`: those who race it: one plain trainer, or several who trust each other, without a validator.
//! - [`paced`]: computing that takes virtual time.
//! - [`held_out`]: pages that losses are compared on.
//! - [`toy`]: the toy model's part in it.

pub mod held_out;
pub mod paced;
pub mod toy;
mod trainers;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use anyhow::Result;
use bistro_core::events::Event;
use bistro_core::ids::Hotkey;
use bistro_core::protocol::Encoding;
use bistro_core::rules::Rules;
use bistro_core::tokens::TokenBatch;
use bistro_node::{Build, NodeError, Parts, leader, log, miner, validator};
use bistro_storage::fake::FakeBuckets;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::chain::{FakeIdentity, NETUID, Pace, SimChain, VirtualClock};
use paced::{Machine, PacedBuild, STEP_COST};

/// Virtual time in which every machine trains on one page of average length: a quarter of a block, so that a miner uses up
/// the original's window as fast as it slides.
const PAGE_TIME: Duration = Duration::from_secs(3);

/// What is raced over, the same for all who take part.
#[derive(Clone, Debug)]
pub struct Race {
    /// Model, dataset, mechanism.
    pub rules: Rules,
    /// Predicted tokens of an average page.
    pub page_tokens: u32,
    /// Pages that one trainer trains on from start to end.
    pub pages: u32,
    /// How often the loss is taken.
    pub samples: u32,
    /// Sequences of one optimizer step.
    pub batch_rows: usize,
    /// How deltas travel.
    pub encoding: Encoding,
    /// What the loss is taken on; nobody trains on it.
    pub yardstick: TokenBatch,
    /// How many times faster than everybody else's the validator's machine is.
    pub validator_speed: u32,
    /// Of all draws.
    pub seed: u64,
}

/// A loss on the way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Virtual time, in pages that one trainer would have trained on by then.
    pub pages: f64,
    /// Nats a token on the yardstick.
    pub loss: f64,
}

/// The way of one contestant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// From the beginning on, in equal steps of time.
    pub points: Vec<Point>,
    /// Accepted deltas in the end; 0 for a trainer alone.
    pub accepted: u64,
    /// Deltas that were passed over, by reason.
    pub skips: BTreeMap<String, u64>,
}

impl Curve {
    /// The loss at the end: the mean of the last tenth, which a lucky sample moves less than one point.
    pub fn end(&self) -> f64 {
        let tail = &self.points[self.points.len() - (self.points.len() / 10).max(1)..];
        tail.iter().map(|point| point.loss).sum::<f64>() / tail.len() as f64
    }

    /// When the loss was first at `loss` or below, in pages, between two samples on the line through them; `None` if never.
    pub fn reaches(&self, loss: f64) -> Option<f64> {
        let at = self.points.iter().position(|point| point.loss <= loss)?;
        let now = self.points[at];
        let Some(before) = at.checked_sub(1).map(|i| self.points[i]) else { return Some(now.pages) };
        let share = (before.loss - loss) / (before.loss - now.loss);
        Some(before.pages + share * (now.pages - before.pages))
    }
}

impl Race {
    fn forward(&self) -> Duration {
        PAGE_TIME / (STEP_COST * self.page_tokens)
    }

    fn interval(&self) -> Duration {
        PAGE_TIME * self.pages / self.samples
    }

    fn point(&self, sample: u32, loss: f64) -> Point {
        Point { pages: f64::from(self.pages) * f64::from(sample) / f64::from(self.samples), loss }
    }

    /// The same for a `share` of the time, with as many samples in it.
    #[must_use]
    pub fn shortened(self, share: f64) -> Self {
        let part = |whole: u32| ((f64::from(whole) * share).round() as u32).max(1);
        Self { pages: part(self.pages), samples: part(self.samples), ..self }
    }

    /// One validator and so many `miners`, each on a machine as fast as the lone trainer's.
    pub fn network(&self, build: &dyn Build, miners: usize) -> Result<Curve> {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build()?;
        runtime.block_on(Network::new(self, build, dir.path(), miners).run())
    }
}

struct Network<'a> {
    race: &'a Race,
    build: &'a dyn Build,
    dir: &'a Path,
    miners: usize,
    chain: SimChain,
    buckets: FakeBuckets,
    stop: CancellationToken,
}

fn hotkey(uid: usize) -> Hotkey {
    let mut bytes = [1; 32];
    bytes[..8].copy_from_slice(&(uid as u64 + 1).to_le_bytes());
    Hotkey(bytes)
}

impl<'a> Network<'a> {
    fn new(race: &'a Race, build: &'a dyn Build, dir: &'a Path, miners: usize) -> Self {
        let neurons = (0..=miners).map(|uid| (hotkey(uid), if uid == 0 { 1000 } else { 0 })).collect();
        let (chain, buckets) = (SimChain::new(neurons, Pace::default()), FakeBuckets::new());
        Self { race, build, dir, miners, chain, buckets, stop: CancellationToken::new() }
    }

    async fn run(self) -> Result<Curve> {
        let curve = Mutex::new(Vec::new());
        let accepted = Mutex::new(0);
        let mut programs: Vec<_> = (0..=self.miners).map(|uid| Box::pin(self.program(uid))).collect();
        // Ready with the first that is: none should be before the end.
        let ended = std::future::poll_fn(|context| {
            let outcomes = programs.iter_mut().map(|program| program.as_mut().poll(context));
            outcomes.fold(Poll::Pending, |all, one| if one.is_ready() { one } else { all })
        });
        tokio::select! {
            biased;
            measured = self.measure(&curve, &accepted) => measured?,
            ended = ended => {
                ended?;
                anyhow::bail!("a program ended before the race");
            }
        }
        let points = curve.into_inner().unwrap_or_else(PoisonError::into_inner);
        let accepted = accepted.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Curve { points, accepted, skips: self.skips()? })
    }

    fn parts(&self, uid: usize) -> Parts {
        let (key, bucket) = (hotkey(uid), format!("bucket-{uid}"));
        Parts {
            netuid: NETUID,
            chain: self.chain.of(key),
            identity: Arc::new(FakeIdentity(key)),
            own: Arc::new(self.buckets.own(&bucket)),
            public: Arc::new(self.buckets.clone()),
            clock: Arc::new(VirtualClock),
            data_dir: self.dir.join(bucket),
            board: bistro_node::status::Board::default(),
            pulse: bistro_node::pulse::Pulse::new(Arc::new(VirtualClock)),
            stop: CancellationToken::new(),
        }
    }

    async fn program(&self, uid: usize) -> Result<(), NodeError> {
        let speed = if uid == 0 { self.race.validator_speed } else { 1 };
        let machine = Machine::new(self.race.forward() / speed);
        let (parts, build) = (machine.parts(self.parts(uid)), PacedBuild { inner: self.build, machine });
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&(self.race.seed * 1000 + uid as u64).to_le_bytes());
        if uid == 0 {
            let rules = self.race.rules.clone();
            let options = validator::Options { rules, seed, version: "simulation".into() };
            return validator::run(parts, &build, options, self.stop.clone()).await.map(|_| ());
        }
        let (encoding, batch_rows) = (self.race.encoding, self.race.batch_rows);
        let options = miner::Options { mechanism: None, encoding, batch_rows, seed };
        // Not all at once: real miners are not in step.
        tokio::time::sleep(PAGE_TIME * uid as u32 / self.miners as u32).await;
        miner::run(parts, &build, options, self.stop.clone()).await.map(|_| ())
    }

    /// What the validator passed over.
    fn skips(&self) -> Result<BTreeMap<String, u64>> {
        let (records, _) = log::read(&self.parts(0).data_dir.join(log::FOLDER))?;
        let mut skips = BTreeMap::new();
        for record in records {
            if let Event::Skipped { skip, .. } = record.event {
                *skips.entry(skip.reason.name()).or_default() += 1;
            }
        }
        Ok(skips)
    }

    /// Measures the published master at equal intervals, on a machine that takes no part.
    async fn measure(&self, curve: &Mutex<Vec<Point>>, accepted: &Mutex<u64>) -> Result<()> {
        let observer = self.parts(self.miners + 1);
        let mut learner = self.build.learner(&self.race.rules)?;
        let spec = learner.spec();
        let mut loss = learner.loss(&self.race.yardstick)?;
        let mut master = None;
        for sample in 0..=self.race.samples {
            if let Some(leader) = leader::find(&observer, &self.chain.metagraph()).await? {
                let newest = leader.master(&observer, &spec, master.as_ref()).await?;
                if master.as_ref().is_none_or(|have| have.hash != newest.hash) {
                    learner.load(&newest.params)?;
                    loss = learner.loss(&self.race.yardstick)?;
                }
                *accepted.lock().unwrap_or_else(PoisonError::into_inner) = newest.seq;
                master = Some(newest);
            }
            curve.lock().unwrap_or_else(PoisonError::into_inner).push(self.race.point(sample, loss));
            tokio::time::sleep(self.race.interval()).await;
        }
        Ok(())
    }
}
