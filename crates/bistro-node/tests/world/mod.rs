//! A network in one process: fake chain, buckets and signatures, a toy model with real gradients, virtual time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bistro_core::ids::{Block, Hash, Hotkey, NetUid, Uid};
use bistro_core::pages::{Config, DatasetIndex, PageId};
use bistro_core::params::{ModelSpec, Params, Tensor};
use bistro_core::ports::{Chain, Clock, Identity, Learner, Metagraph, Neuron, Pages, PortError, Retry, StepReport};
use bistro_core::rules::{Mechanism, Rules, SHIPPED};
use bistro_core::tokens::{Packing, TokenBatch};
use bistro_node::{Build, Parts};
use bistro_storage::fake::FakeBuckets;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Subnet of the tests.
pub const NETUID: NetUid = NetUid(7);
/// Virtual time of a block.
const BLOCK_TIME: Duration = Duration::from_secs(1);
/// Letters of the toy language.
const LETTERS: usize = 12;

#[derive(Default)]
struct ChainState {
    commitments: BTreeMap<Hotkey, String>,
    weights: BTreeMap<Hotkey, Vec<(Uid, u16)>>,
    last_update: BTreeMap<Hotkey, Block>,
    neurons: Vec<(Hotkey, u64)>,
}

/// What all fake chains of a network share.
#[derive(Clone)]
pub struct World {
    chain: Arc<Mutex<ChainState>>,
    pub buckets: FakeBuckets,
    begin: tokio::time::Instant,
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
        let neurons = neurons.to_vec();
        Self {
            chain: Arc::new(Mutex::new(ChainState { neurons, ..ChainState::default() })),
            buckets: FakeBuckets::new(),
            begin: tokio::time::Instant::now(),
        }
    }

    /// The weights that `hotkey` has set.
    pub fn weights(&self, hotkey: &Hotkey) -> Vec<(Uid, u16)> {
        self.chain.lock().unwrap().weights.get(hotkey).cloned().unwrap_or_default()
    }

    /// The outside world as `hotkey` meets it.
    pub fn parts(&self, hotkey: Hotkey, dir: &Path) -> Parts {
        let bucket = format!("bucket-{}", hotkey.0[0]);
        Parts {
            netuid: NETUID,
            chain: Arc::new(FakeChain { world: self.clone(), me: hotkey }),
            identity: Arc::new(FakeIdentity(hotkey)),
            own: Arc::new(self.buckets.own(&bucket)),
            public: Arc::new(self.buckets.clone()),
            clock: Arc::new(VirtualClock),
            data_dir: dir.join(&bucket),
        }
    }

    pub fn block(&self) -> Block {
        Block(1 + (self.begin.elapsed().as_millis() / BLOCK_TIME.as_millis()) as u64)
    }

    pub fn metagraph(&self) -> Metagraph {
        let state = self.chain.lock().unwrap();
        let neuron = |(uid, (hotkey, stake)): (usize, &(Hotkey, u64))| Neuron {
            uid: Uid(uid as u16),
            hotkey: *hotkey,
            stake: *stake,
            validator_permit: *stake > 0,
            last_update: state.last_update.get(hotkey).copied().unwrap_or_default(),
        };
        Metagraph {
            netuid: NETUID,
            block: self.block(),
            neurons: state.neurons.iter().enumerate().map(neuron).collect(),
            weights_rate_limit: 5,
            min_allowed_weights: 1,
            max_weight: u16::MAX,
            stake_threshold: 1,
            block_time: BLOCK_TIME,
            tempo: 10,
            commit_reveal: false,
        }
    }

    /// Gives `hotkey`'s uid to `to`.
    pub fn recycle(&self, hotkey: &Hotkey, to: Hotkey) {
        let mut state = self.chain.lock().unwrap();
        let slot = state.neurons.iter_mut().find(|(h, _)| h == hotkey).unwrap();
        slot.0 = to;
    }
}

struct FakeChain {
    world: World,
    me: Hotkey,
}

#[async_trait]
impl Chain for FakeChain {
    async fn head(&self) -> Result<Block, PortError> {
        // A call takes time: without it, loops that never wait would leave the virtual clock standing.
        tokio::time::sleep(Duration::from_millis(400)).await;
        Ok(self.world.block())
    }

    async fn next_block(&self, after: Block) -> Result<Block, PortError> {
        while self.world.block() <= after {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(self.world.block())
    }

    async fn metagraph(&self) -> Result<Metagraph, PortError> {
        Ok(self.world.metagraph())
    }

    async fn commitment(&self, hotkey: &Hotkey) -> Result<Option<String>, PortError> {
        Ok(self.world.chain.lock().unwrap().commitments.get(hotkey).cloned())
    }

    async fn commit(&self, text: &str) -> Result<(), PortError> {
        self.world.chain.lock().unwrap().commitments.insert(self.me, text.to_owned());
        Ok(())
    }

    async fn set_weights(&self, weights: &[(Uid, u16)]) -> Result<(), PortError> {
        let block = self.world.block();
        let mut state = self.world.chain.lock().unwrap();
        if state.last_update.get(&self.me).is_some_and(|last| block.since(*last) < 5) {
            let name = "SettingWeightsTooFast".to_owned();
            return Err(PortError { message: name.clone(), name, retry: Retry::After(5) });
        }
        state.last_update.insert(self.me, block);
        state.weights.insert(self.me, weights.to_vec());
        Ok(())
    }
}

/// Signs with a keyed hash: enough to tell whose statement it is.
pub struct FakeIdentity(pub Hotkey);

fn fake_signature(hotkey: &Hotkey, message: &[u8]) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&Hash::of(&[&hotkey.0, message].concat()).0);
    signature
}

impl Identity for FakeIdentity {
    fn hotkey(&self) -> Hotkey {
        self.0
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        fake_signature(&self.0, message)
    }

    fn verify(&self, hotkey: &Hotkey, message: &[u8], signature: &[u8; 64]) -> bool {
        fake_signature(hotkey, message) == *signature
    }
}

struct VirtualClock;

#[async_trait]
impl Clock for VirtualClock {
    fn unix_millis(&self) -> u64 {
        0
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
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
    let config = |n: &str, rows| Config { name: n.into(), split: "train".into(), rows };
    Rules {
        version: 1,
        netuid: NETUID,
        model: serde_json::json!({"toy": true}),
        tokenizer: "letters".into(),
        sequence_length: 32,
        packing: Packing::Join,
        dataset: DatasetIndex {
            dataset: "toy".into(),
            rows_per_page: 4,
            row_bytes: None,
            content: None,
            configs: vec![config("a", 5_000), config("b", 9_000)],
        },
        mechanism,
    }
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
