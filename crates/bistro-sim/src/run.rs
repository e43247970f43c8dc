//! A scenario and a seed, from the first block to what came of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bistro_core::ids::{Hash, Hotkey};
use bistro_core::rules::Rules;
use bistro_node::{NodeError, Parts, leader, validator};
use bistro_storage::fake::FakeBuckets;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::chain::{BLOCK_TIME, FakeIdentity, NETUID, SimChain, VirtualClock};
use crate::faults::{Faults, Faulty};
use crate::kinds::{self, Kind};
use crate::scenario::Scenario;
use crate::toy::{self, ToyBuild};
use crate::{promises, toy::yardstick};

/// Seconds after which a program that ended is started again, as a service manager does.
const RESTART: Duration = Duration::from_secs(5);

/// Virtual time for all programs to end in order.
const FAREWELL: Duration = Duration::from_mins(30);

/// What came of a simulation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Loss of the first master, nats a letter.
    pub loss_start: f64,
    /// Loss of the last one.
    pub loss_end: f64,
    /// Accepted deltas.
    pub masters: u64,
    /// Every neuron, in uid order.
    pub neurons: Vec<Earner>,
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
    /// `validator`, or the miner's kind.
    pub kind: String,
    /// Epochs' units that it earned.
    pub earned: f64,
    /// Deltas that were accepted.
    pub accepted: u64,
}

/// All that the programs of one simulation share.
pub(crate) struct World {
    pub(crate) chain: SimChain,
    pub(crate) buckets: FakeBuckets,
    pub(crate) rules: Rules,
    pub(crate) validators: Vec<Hotkey>,
    pub(crate) miners: Vec<(Hotkey, Kind)>,
    pub(crate) dir: PathBuf,
    faults: Faults,
    page_time: Duration,
}

/// Runs `scenario` from `seed`. An error is a mistake in the scenario; what the programs do wrong is in the outcome.
pub fn run(scenario: &Scenario, seed: u64) -> Result<Outcome> {
    // State files are flushed to the disk after every turn; in memory that costs nothing.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(simulate(scenario, seed, dir.path()))
}

async fn simulate(scenario: &Scenario, seed: u64, dir: &Path) -> Result<Outcome> {
    let mechanism = scenario.mechanism()?;
    let key = |n: usize| {
        let mut bytes = [1; 32];
        bytes[..8].copy_from_slice(&(n as u64 + 1).to_le_bytes());
        Hotkey(bytes)
    };
    let validators: Vec<Hotkey> = (0..scenario.validators.len()).map(key).collect();
    let miners: Vec<(Hotkey, Kind)> =
        scenario.miners.iter().enumerate().map(|(i, kind)| (key(validators.len() + i), *kind)).collect();
    let stakes = validators.iter().copied().zip(scenario.validators.iter().copied());
    let world = Arc::new(World {
        chain: SimChain::new(stakes.chain(miners.iter().map(|(hotkey, _)| (*hotkey, 0))).collect()),
        buckets: FakeBuckets::new(),
        rules: toy::rules(NETUID, mechanism),
        validators,
        miners,
        dir: dir.to_owned(),
        faults: Faults::new(seed, scenario.faults),
        page_time: Duration::from_secs_f64(scenario.page_seconds),
    });
    let stop = CancellationToken::new();
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    let duration = BLOCK_TIME * u32::try_from(scenario.blocks)?;
    let mut lives = Vec::new();
    for uid in 0..world.validators.len() + world.miners.len() {
        let mut kills: Vec<Duration> =
            (0..scenario.kills).map(|_| duration.mul_f64(rng.random_range(0.05..0.9))).collect();
        kills.sort();
        let life = Life { world: world.clone(), uid, seed: rng.random(), stop: stop.clone() };
        lives.push(tokio::task::spawn_local(life.live(kills)));
    }
    let mut watch = promises::Watch::default();
    for _ in 0..scenario.blocks {
        tokio::time::sleep(BLOCK_TIME).await;
        watch.look(&world).await;
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
    outcome(&world, seed, restarts, watch).await
}

async fn outcome(world: &World, seed: u64, restarts: u64, mut watch: promises::Watch) -> Result<Outcome> {
    let lineage = watch.settle(world).await;
    let earned = world.chain.earned();
    let mut accepted: BTreeMap<Hotkey, u64> = BTreeMap::new();
    for step in lineage.iter().flat_map(|lineage| &lineage.steps) {
        *accepted.entry(step.hotkey).or_default() += 1;
    }
    let kinds = world.validators.iter().map(|hotkey| (*hotkey, "validator".to_owned()));
    let kinds = kinds.chain(world.miners.iter().map(|(hotkey, kind)| (*hotkey, kind.name())));
    let neurons = kinds.map(|(hotkey, kind)| Earner {
        kind,
        earned: earned.get(&hotkey).copied().unwrap_or_default(),
        accepted: accepted.get(&hotkey).copied().unwrap_or_default(),
    });
    let first = bistro_node::Build::learner(&ToyBuild { page_time: Duration::ZERO }, &world.rules)?.params()?;
    let last = lineage.as_ref().map_or(&first, |lineage| &lineage.master.params);
    Ok(Outcome {
        seed,
        loss_start: yardstick(&first, &world.rules).await,
        loss_end: yardstick(last, &world.rules).await,
        masters: lineage.as_ref().map_or(0, |lineage| lineage.master.seq),
        neurons: neurons.collect(),
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
            clock: Arc::new(VirtualClock),
            data_dir: self.dir.join(bucket),
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
        let (world, page_time) = (&self.world, self.world.page_time);
        let seed = self.seed.wrapping_add(life);
        if let Some(hotkey) = world.validators.get(self.uid) {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            let options = validator::Options { rules: world.rules.clone(), seed: bytes, version: "simulation".into() };
            return validator::run(world.parts(*hotkey, true), &ToyBuild { page_time }, options, stop)
                .await
                .map(|_| ());
        }
        let (hotkey, kind) = world.miners[self.uid - world.validators.len()];
        kinds::run(kind, world.parts(hotkey, true), page_time, seed, stop).await
    }
}
