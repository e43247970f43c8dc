//! A network in one process: the simulator's chain at a quicker pace, fake buckets, and a model so small that two honest
//! miners find the same.

pub mod gate;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bistro_core::ids::{Block, Hotkey, Uid};
use bistro_core::pages::{DatasetIndex, PageId};
use bistro_core::params::{ModelSpec, Params, Tensor};
use bistro_core::ports::{Learner, Metagraph, Pages, PortError, Retry, StepReport};
use bistro_core::rules::{Mechanism, Rules, SHIPPED};
use bistro_core::tokens::TokenBatch;
use bistro_node::status::Board;
use bistro_node::{Build, Parts, Pulse};
pub use bistro_sim::chain::NETUID;
use bistro_sim::chain::{FakeIdentity, Pace, SimChain, VirtualClock};
use bistro_storage::fake::FakeBuckets;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;

/// Virtual time of a block.
const BLOCK_TIME: Duration = Duration::from_secs(1);
/// Letters of the toy language.
const LETTERS: usize = 12;

/// What all programs of a network share.
#[derive(Clone)]
pub struct World {
    chain: SimChain,
    pub buckets: FakeBuckets,
}

impl World {
    /// A subnet of these hotkeys; the first has all the stake.
    pub fn new(hotkeys: &[Hotkey]) -> Self {
        Self::with_stakes(
            &hotkeys.iter().enumerate().map(|(i, h)| (*h, if i == 0 { 1_000 } else { 0 })).collect::<Vec<_>>(),
        )
    }

    /// A subnet of these hotkeys with their stakes; whoever has any is permitted.
    pub fn with_stakes(neurons: &[(Hotkey, u64)]) -> Self {
        let pace =
            Pace { block_time: BLOCK_TIME, travel: Duration::from_millis(200), rate_limit: 5, finality: 0, reveal: 0 };
        Self { chain: SimChain::new(neurons.to_vec(), pace), buckets: FakeBuckets::new() }
    }

    /// The weights that `hotkey` has set.
    pub fn weights(&self, hotkey: &Hotkey) -> Vec<(Uid, u16)> {
        let newest = self.chain.submissions().into_iter().rev().find(|s| s.validator == *hotkey);
        newest.map(|s| s.weights.iter().map(|(uid, _, weight)| (*uid, *weight)).collect()).unwrap_or_default()
    }

    /// The outside world as `hotkey` meets it.
    pub fn parts(&self, hotkey: Hotkey, dir: &Path) -> Parts {
        let bucket = format!("bucket-{}", hotkey.0[0]);
        Parts {
            netuid: NETUID,
            chain: self.chain.of(hotkey),
            identity: Arc::new(FakeIdentity(hotkey)),
            own: Arc::new(self.buckets.own(&bucket)),
            public: Arc::new(self.buckets.clone()),
            clock: Arc::new(VirtualClock),
            data_dir: dir.join(&bucket),
            board: Board::default(),
            pulse: Pulse::new(Arc::new(VirtualClock)),
            stop: CancellationToken::new(),
        }
    }

    pub fn block(&self) -> Block {
        self.chain.block()
    }

    pub fn metagraph(&self) -> Metagraph {
        self.chain.metagraph()
    }

    /// From now on the chain tells nobody its newest block, nor that it does not.
    pub fn hang(&self) {
        self.chain.hang();
    }

    /// Moves stake: `hotkey` has `stake` from now on.
    pub fn set_stake(&self, hotkey: &Hotkey, stake: u64) {
        self.chain.set_stake(hotkey, stake);
    }

    /// Gives `hotkey`'s uid to `to`.
    pub fn recycle(&self, hotkey: &Hotkey, to: Hotkey) {
        self.chain.recycle(hotkey, to);
    }
}

/// A toy language: each letter is followed by one of three, drawn by the page's seed.
pub struct ToyPages {
    index: DatasetIndex,
    /// Rows that cannot be had.
    broken: fn(u64) -> bool,
}

#[async_trait]
impl Pages for ToyPages {
    fn index(&self) -> &DatasetIndex {
        &self.index
    }

    async fn page(&self, page: &PageId) -> Result<TokenBatch, PortError> {
        if (self.broken)(page.row) {
            return Err(PortError {
                name: "RowTooLong".into(),
                message: format!("row {}", page.row),
                retry: Retry::Never,
            });
        }
        let mut rng = ChaCha8Rng::seed_from_u64(page.row);
        let mut ids = vec![(page.row as usize % LETTERS) as u32];
        while ids.len() < 16 * 32 {
            let last = ids[ids.len() - 1] as usize;
            ids.push(((last * 5 + [1, 3, 4][rng.random_range(0..3)]) % LETTERS) as u32);
        }
        Ok(TokenBatch { seq: 32, ids })
    }
}

/// A bigram model with exact gradients, trained by plain gradient descent.
pub struct ToyLearner {
    logits: Vec<f32>,
}

impl ToyLearner {
    pub fn new() -> Self {
        Self { logits: vec![0.0; LETTERS * LETTERS] }
    }

    /// Loss in nats, and the gradient of each logit.
    fn gradient(&self, batch: &TokenBatch) -> (f64, Vec<f32>) {
        let (mut loss, mut gradient) = (0.0, vec![0.0; LETTERS * LETTERS]);
        let share = 1.0 / batch.targets() as f32;
        for row in batch.ids.chunks(batch.seq) {
            for pair in row.windows(2) {
                let (from, to) = (pair[0] as usize * LETTERS, pair[1] as usize);
                let logits = &self.logits[from..from + LETTERS];
                let exp: Vec<f32> = logits.iter().map(|l| l.exp()).collect();
                let sum: f32 = exp.iter().sum();
                loss -= f64::from((exp[to] / sum).ln() * share);
                for (g, e) in gradient[from..from + LETTERS].iter_mut().zip(&exp) {
                    *g += e / sum * share;
                }
                gradient[from + to] -= share;
            }
        }
        (loss, gradient)
    }
}

impl Learner for ToyLearner {
    fn spec(&self) -> ModelSpec {
        ModelSpec { tensors: [("bigram".to_owned(), vec![LETTERS, LETTERS])].into() }
    }

    fn load(&mut self, params: &Params) -> Result<(), PortError> {
        self.logits.copy_from_slice(&params.tensors["bigram"].data);
        Ok(())
    }

    fn params(&self) -> Result<Params, PortError> {
        let tensor = Tensor::new(vec![LETTERS, LETTERS], self.logits.clone());
        Ok(Params { tensors: [("bigram".to_owned(), tensor)].into() })
    }

    fn loss(&mut self, batch: &TokenBatch) -> Result<f64, PortError> {
        Ok(self.gradient(batch).0)
    }

    fn train_step(&mut self, batch: &TokenBatch) -> Result<StepReport, PortError> {
        let (loss, gradient) = self.gradient(batch);
        for (l, g) in self.logits.iter_mut().zip(&gradient) {
            *l -= 2.0 * g;
        }
        Ok(StepReport { loss, tokens: batch.targets() })
    }

    fn reset_optimizer(&mut self) {}
}

pub struct ToyBuild;

impl Build for ToyBuild {
    fn pages(&self, rules: &Rules) -> Result<Arc<dyn Pages>, PortError> {
        Ok(Arc::new(ToyPages { index: rules.dataset.clone(), broken: |_| false }))
    }

    fn learner(&self, _: &Rules) -> Result<Box<dyn Learner>, PortError> {
        let mut learner = ToyLearner::new();
        // A first master that is not all zeros: the norm bound is a share of its norm.
        learner.logits.iter_mut().enumerate().for_each(|(i, l)| *l = (i as f32).sin());
        Ok(Box::new(learner))
    }
}

/// As [`ToyBuild`], with a dataset of which every third row cannot be had.
pub struct HolesBuild;

impl Build for HolesBuild {
    fn pages(&self, rules: &Rules) -> Result<Arc<dyn Pages>, PortError> {
        Ok(Arc::new(ToyPages { index: rules.dataset.clone(), broken: |row| row % 3 == 0 }))
    }

    fn learner(&self, rules: &Rules) -> Result<Box<dyn Learner>, PortError> {
        ToyBuild.learner(rules)
    }
}

/// The shipped rules `name` on the toy language.
pub fn rules(name: &str) -> Rules {
    let (_, text) = SHIPPED.iter().find(|(n, _)| *n == name).unwrap();
    let mut mechanism = Mechanism::from_toml(text).unwrap();
    // Two honest miners of a model of 144 numbers find nearly the same ones.
    mechanism.deltas.max_cosine = 1.0;
    Rules { sequence_length: 32, ..bistro_sim::toy::rules(NETUID, mechanism) }
}

/// The mean loss of a master on many pages.
pub async fn loss_of(params: &Params, rules: &Rules) -> f64 {
    let pages = ToyPages { index: rules.dataset.clone(), broken: |_| false };
    let mut learner = ToyLearner::new();
    learner.load(params).unwrap();
    let mut sum = 0.0;
    for row in 0..20 {
        let page = PageId { config: "a".into(), split: "train".into(), row: row * 37 };
        sum += learner.loss(&pages.page(&page).await.unwrap()).unwrap();
    }
    sum / 20.0
}

/// Commits a bucket for a hotkey that runs no program.
pub async fn commit_bucket(parts: &Parts) {
    parts.chain.commit(&parts.own.address().to_string()).await.unwrap();
}
