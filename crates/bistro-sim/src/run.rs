//! A scenario and a seed, from the first block to what came of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bistro_core::ids::{Hash, Hotkey};
use bistro_core::params::ModelSpec;
use bistro_core::ports::Clock;
use bistro_core::rules::Rules;
use bistro_node::status::Board;
use bistro_node::{NodeError, Parts, Pulse, leader, validator};
use bistro_storage::fake::FakeBuckets;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::chain::{BLOCK_TIME, FakeIdentity, JumpingClock, NETUID, Pace, SimChain, VirtualClock};
use crate::course::Course;
use crate::faults::{Faults, Faulty};
use crate::kinds::{self, Kind, Mining};
use crate::promises;
use crate::scenario::Scenario;
use crate::subject::{self, Furnished, Subject};
use crate::toy::Toy;

/// Seconds after which a program that ended is started again, as a service manager does.
const RESTART: Duration = Duration::from_secs(5);

/// Virtual time for all programs to end in order.
const FAREWELL: Duration = Duration::from_mins(30);

/// What came of a simulation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Loss of the first master, nats a token (of the toy: a letter).
    pub loss_start: f64,
    /// Loss of the last one.
    pub loss_end: f64,
    /// Accepted deltas.
    pub masters: u64,
    /// Every neuron, in uid order.
    pub neurons: Vec<Earner>,
    /// How it went, block by block.
    pub course: Course,
    /// Programs that ended and were started again, killed ones not counted.
    pub restarts: u64,
    /// Digest of all event logs: equal for equal runs.
    pub digest: Hash,
    /// Promises that were broken, in words. Empty is good.
    pub broken: Vec<String>,
}

/// One neuron.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Earner {
    /// `validator`, `weight_copier`, or the miner's kind.
    pub kind: String,
    /// Epochs' units that it earned as a miner.
    pub earned: f64,
    /// Epochs' units that it earned as a validator.
    pub dividends: f64,
    /// Deltas that were accepted.
    pub accepted: u64,
    /// What validators made of its deltas: `accepted`, `rejected`, or the reason of a skip, and how often.
    pub verdicts: BTreeMap<String, u64>,
}

/// All that the programs of one simulation share.
pub(crate) struct World {
    pub(crate) chain: SimChain,
    pub(crate) buckets: FakeBuckets,
    pub(crate) rules: Rules,
    pub(crate) spec: ModelSpec,
    pub(crate) validators: Vec<Hotkey>,
    pub(crate) weight_copiers: Vec<Hotkey>,
    pub(crate) miners: Vec<(Hotkey, Kind)>,
    pub(crate) dir: PathBuf,
    subject: Arc<dyn Subject>,
    faults: Faults,
    clock: Arc<dyn Clock>,
    seed: u64,
    page_time: Duration,
}

/// Runs `scenario` from `seed` with the toy. An error is a mistake in the scenario; what the programs do wrong is in the outcome.
pub fn run(scenario: &Scenario, seed: u64) -> Result<Outcome> {
    let toy: Arc<dyn Subject> = Arc::new(Toy);
    with(&toy, scenario, seed)
}

/// Runs `scenario` from `seed` with any subject.
pub fn with(subject: &Arc<dyn Subject>, scenario: &Scenario, seed: u64) -> Result<Outcome> {
    // State files are flushed to the disk after every turn; in memory that costs nothing.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(simulate(subject.clone(), scenario, seed, dir.path()))
}

async fn simulate(subject: Arc<dyn Subject>, scenario: &Scenario, seed: u64, dir: &Path) -> Result<Outcome> {
    let rules = subject.rules(NETUID, scenario.mechanism()?)?;
    let spec = subject::spec(subject.as_ref(), &rules)?;
    let key = |n: usize| {
        let mut bytes = [1; 32];
        bytes[..8].copy_from_slice(&(n as u64 + 1).to_le_bytes());
        Hotkey(bytes)
    };
    let hotkeys: Vec<Hotkey> = (0..scenario.neurons()).map(key).collect();
    let (validators, others) = hotkeys.split_at(scenario.validators.len());
    let (copiers, miners) = others.split_at(scenario.weight_copiers.len());
    let stakes = scenario.validators.iter().chain(&scenario.weight_copiers).copied().chain(std::iter::repeat(0));
    let world = Arc::new(World {
        chain: SimChain::new(
            hotkeys.iter().copied().zip(stakes).collect(),
            Pace { reveal: scenario.commit_reveal, ..Pace::default() },
        ),
        buckets: FakeBuckets::new(),
        rules,
        spec,
        validators: validators.to_vec(),
        weight_copiers: copiers.to_vec(),
        miners: miners.iter().copied().zip(scenario.miners.iter().copied()).collect(),
        dir: dir.to_owned(),
        subject,
        faults: Faults::new(seed, scenario.faults),
        clock: if scenario.clock_jumps { Arc::new(JumpingClock) } else { Arc::new(VirtualClock) },
        seed,
        page_time: Duration::from_secs_f64(scenario.page_seconds),
    });
    let stop = CancellationToken::new();
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    let duration = BLOCK_TIME * u32::try_from(scenario.blocks)?;
    let mut lives = Vec::new();
    for uid in 0..scenario.neurons() {
        let mut kills: Vec<Duration> =
            (0..scenario.kills).map(|_| duration.mul_f64(rng.random_range(0.05..0.9))).collect();
        kills.sort();
        let life = Life { world: world.clone(), uid, seed: rng.random(), stop: stop.clone() };
        lives.push(tokio::task::spawn_local(life.live(kills)));
    }
    let mut watch = promises::Watch::default();
    let mut course = Course::default();
    let reorganised: Vec<u64> = (0..scenario.reorganisations).map(|_| rng.random_range(0..scenario.blocks)).collect();
    for block in 0..scenario.blocks {
        tokio::time::sleep(BLOCK_TIME).await;
        if reorganised.contains(&block) {
            world.chain.reorganise();
        }
        watch.look(&world).await;
        course.look(&world, scenario.blocks);
    }
    stop.cancel();
    let mut restarts = 0;
    for (uid, life) in lives.into_iter().enumerate() {
        match tokio::time::timeout(FAREWELL, life).await {
            Ok(lived) => {
                let (again, broken) = lived.context("a program panicked")?;
                restarts += again;
                watch.broken.extend(broken);
            }
            Err(_) => watch.broken.push(format!("uid {uid} did not end within {} s", FAREWELL.as_secs())),
        }
    }
    outcome(&world, seed, restarts, watch, course).await
}

async fn outcome(
    world: &World,
    seed: u64,
    restarts: u64,
    mut watch: promises::Watch,
    mut course: Course,
) -> Result<Outcome> {
    let lineage = watch.settle(world).await;
    let (earned, dividends) = (world.chain.earned(), world.chain.dividends());
    let verdicts = course.read(world);
    let mut accepted: BTreeMap<Hotkey, u64> = BTreeMap::new();
    for step in lineage.iter().flat_map(|lineage| &lineage.steps) {
        *accepted.entry(step.hotkey).or_default() += 1;
    }
    let neurons = world.neurons().map(|(hotkey, kind)| Earner {
        kind,
        earned: earned.get(&hotkey).copied().unwrap_or_default(),
        dividends: dividends.get(&hotkey).copied().unwrap_or_default(),
        accepted: accepted.get(&hotkey).copied().unwrap_or_default(),
        verdicts: verdicts.get(&hotkey).cloned().unwrap_or_default(),
    });
    let last = lineage.as_ref().map(|lineage| &lineage.master.params);
    let [loss_start, loss_end] = subject::first_and_last(world.subject.as_ref(), &world.rules, last).await?;
    Ok(Outcome {
        seed,
        loss_start,
        loss_end,
        masters: lineage.as_ref().map_or(0, |lineage| lineage.master.seq),
        neurons: neurons.collect(),
        course,
        restarts,
        digest: promises::digest(world),
        broken: watch.broken,
    })
}

impl World {
    /// The world as neuron `hotkey` meets it; without faults for those who only look.
    pub(crate) fn parts(&self, hotkey: Hotkey, faulty: bool) -> Parts {
        let bucket = format!("bucket-{}", hex_of(&hotkey));
        let plain = Parts {
            netuid: NETUID,
            chain: self.chain.of(hotkey),
            identity: Arc::new(FakeIdentity(hotkey)),
            own: Arc::new(self.buckets.own(&bucket)),
            public: Arc::new(self.buckets.clone()),
            clock: self.clock.clone(),
            data_dir: self.dir.join(bucket),
            board: Board::default(),
            pulse: Pulse::new(self.clock.clone()),
            stop: CancellationToken::new(),
        };
        if !faulty {
            return plain;
        }
        let faults = self.faults.clone();
        Parts {
            chain: Arc::new(Faulty { inner: plain.chain, faults: faults.clone() }),
            own: Arc::new(Faulty { inner: plain.own, faults: faults.clone() }),
            public: Arc::new(Faulty { inner: plain.public, faults }),
            ..plain
        }
    }

    /// All hotkeys in uid order, with what they are.
    pub(crate) fn neurons(&self) -> impl Iterator<Item = (Hotkey, String)> + '_ {
        let validators = self.validators.iter().map(|hotkey| (*hotkey, "validator".to_owned()));
        let copiers = self.weight_copiers.iter().map(|hotkey| (*hotkey, "weight_copier".to_owned()));
        validators.chain(copiers).chain(self.miners.iter().map(|(hotkey, kind)| (*hotkey, kind.name())))
    }

    /// The hotkeys whose uploads `hotkey` makes: with sybils all of them are the first one's.
    fn group(&self, hotkey: Hotkey, kind: Kind) -> Vec<Hotkey> {
        if kind != Kind::Sybil {
            return vec![hotkey];
        }
        let all = self.miners.iter().filter(|(_, other)| *other == kind).map(|(hotkey, _)| *hotkey);
        let all: Vec<Hotkey> = all.collect();
        if all.first() == Some(&hotkey) { all } else { Vec::new() }
    }

    /// What everybody trains and measures.
    fn build(&self) -> Furnished {
        let (subject, faults) = (self.subject.clone(), self.faults.clone());
        Furnished { subject, page_time: self.page_time, faults, text: self.seed }
    }

    /// Somebody who takes no part, and meets no faults.
    pub(crate) fn observer(&self) -> Parts {
        self.parts(Hotkey([0; 32]), false)
    }

    /// Whose master everybody follows.
    pub(crate) async fn leader(&self) -> Option<leader::Leader> {
        leader::find(&self.observer(), &self.chain.metagraph()).await.ok().flatten()
    }
}

fn hex_of(hotkey: &Hotkey) -> String {
    format!("{:02x}{:02x}", hotkey.0[1], hotkey.0[0])
}

/// One neuron's program: started, killed, started again.
struct Life {
    world: Arc<World>,
    uid: usize,
    seed: u64,
    stop: CancellationToken,
}

impl Life {
    /// Lives until the end, through all `kills` (times from the beginning). Returns how often it was started again, and what
    /// it did that a program must not do.
    async fn live(self, kills: Vec<Duration>) -> (u64, Vec<String>) {
        let (begin, mut restarts, mut broken) = (tokio::time::Instant::now(), 0, Vec::new());
        let mut kills = kills.into_iter();
        let mut kill = kills.next();
        for life in 0_u64.. {
            // Its own token: a killed program's tasks must end with it.
            let own = self.stop.child_token();
            let program = self.program(life, own.clone());
            let dead = async {
                match kill {
                    Some(at) => tokio::time::sleep_until(begin + at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                ended = program => match ended {
                    Ok(()) => break,
                    Err(error) if self.stop.is_cancelled() => {
                        tracing::debug!(%error, "ended while stopping");
                        break;
                    }
                    Err(error) if error.is_temporary() => restarts += 1,
                    Err(error) => {
                        broken.push(format!("uid {} ended for good: {error}", self.uid));
                        break;
                    }
                },
                () = dead => kill = kills.next(),
            }
            own.cancel();
            tokio::time::sleep(RESTART).await;
        }
        (restarts, broken)
    }

    async fn program(&self, life: u64, stop: CancellationToken) -> Result<(), NodeError> {
        let (world, build) = (&self.world, self.world.build());
        let seed = self.seed.wrapping_add(life);
        if let Some(hotkey) = world.validators.get(self.uid) {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            let options = validator::Options { rules: world.rules.clone(), seed: bytes, version: "simulation".into() };
            return validator::run(world.parts(*hotkey, true), &build, options, stop).await.map(|_| ());
        }
        let other = self.uid - world.validators.len();
        if let Some(hotkey) = world.weight_copiers.get(other) {
            let parts = world.parts(*hotkey, true);
            let copying = kinds::copy_weights(&parts, &world.chain);
            return tokio::select! { biased; () = stop.cancelled() => Ok(()), outcome = copying => outcome };
        }
        let (hotkey, kind) = world.miners[other - world.weight_copiers.len()];
        let group = world.group(hotkey, kind).into_iter().map(|hotkey| world.parts(hotkey, true)).collect();
        let (parts, rules, spec) = (world.parts(hotkey, true), world.rules.clone(), world.spec.clone());
        Mining { kind, parts, group, build, rules, spec, seed }.run(stop).await
    }
}
