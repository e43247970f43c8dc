//! The simulated chain: neurons with stakes, commitments, weights under a rate limit, and what the weights earn.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bistro_core::ids::{Block, Hash, Hotkey, NetUid, Uid};
use bistro_core::ports::{Chain, Clock, Identity, Metagraph, Neuron, PortError, Retry};

/// Subnet of all simulations.
pub const NETUID: NetUid = NetUid(7);

/// Virtual time of a block.
pub const BLOCK_TIME: Duration = Duration::from_secs(12);

/// Blocks between two submissions of weights.
const RATE_LIMIT: u64 = 10;

/// Blocks of an epoch, at whose end weights earn.
const TEMPO: u64 = 10;

/// Weights as they were set.
#[derive(Clone, Debug)]
pub struct Submission {
    /// When.
    pub block: Block,
    /// By whom.
    pub validator: Hotkey,
    /// For whom (by the owners of the uids at that block), and how much of 65535.
    pub weights: Vec<(Hotkey, u16)>,
}

#[derive(Default)]
struct State {
    neurons: Vec<(Hotkey, u64)>,
    commitments: BTreeMap<Hotkey, String>,
    submissions: Vec<Submission>,
    earned: BTreeMap<Hotkey, f64>,
    paid_until: u64,
}

/// The chain that all programs of a simulation share. Blocks follow from virtual time.
#[derive(Clone)]
pub struct SimChain {
    state: Arc<Mutex<State>>,
    begin: tokio::time::Instant,
}

impl SimChain {
    /// A subnet of these hotkeys with their stakes, in uid order; whoever has any may set weights.
    pub fn new(neurons: Vec<(Hotkey, u64)>) -> Self {
        let state = State { neurons, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), begin: tokio::time::Instant::now() }
    }

    /// The newest block.
    pub fn block(&self) -> Block {
        Block(1 + (self.begin.elapsed().as_millis() / BLOCK_TIME.as_millis()) as u64)
    }

    /// The chain as `hotkey` meets it.
    pub fn of(&self, hotkey: Hotkey) -> Arc<dyn Chain> {
        Arc::new(OneChain { chain: self.clone(), me: hotkey })
    }

    /// The subnet now.
    pub fn metagraph(&self) -> Metagraph {
        let block = self.block();
        let state = self.lock();
        let neuron = |(uid, (hotkey, stake)): (usize, &(Hotkey, u64))| Neuron {
            uid: Uid(uid as u16),
            hotkey: *hotkey,
            stake: *stake,
            validator_permit: *stake > 0,
            last_update: state.last_update(hotkey).unwrap_or_default(),
        };
        Metagraph {
            netuid: NETUID,
            block,
            neurons: state.neurons.iter().enumerate().map(neuron).collect(),
            weights_rate_limit: RATE_LIMIT,
            min_allowed_weights: 1,
            max_weight: u16::MAX,
            stake_threshold: 1,
            block_time: BLOCK_TIME,
            tempo: TEMPO as u16,
            commit_reveal: false,
        }
    }

    /// All weights that were set, oldest first.
    pub fn submissions(&self) -> Vec<Submission> {
        self.lock().submissions.clone()
    }

    /// What each hotkey earned so far: at the end of each epoch one unit is shared by the newest weights of all validators,
    /// each counting by its stake.
    pub fn earned(&self) -> BTreeMap<Hotkey, f64> {
        let block = self.block().0;
        let mut state = self.lock();
        while state.paid_until + TEMPO <= block {
            state.paid_until += TEMPO;
            let until = Block(state.paid_until);
            state.pay(until);
        }
        state.earned.clone()
    }

    // Whole after every statement, so a panic elsewhere has not broken it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn last_update(&self, hotkey: &Hotkey) -> Option<Block> {
        self.submissions.iter().rev().find(|s| s.validator == *hotkey).map(|s| s.block)
    }

    fn pay(&mut self, until: Block) {
        let newest = |validator: &Hotkey| {
            self.submissions.iter().rev().find(|s| s.validator == *validator && s.block <= until).cloned()
        };
        let votes: Vec<(u64, Submission)> =
            self.neurons.iter().filter_map(|(hotkey, stake)| Some((*stake, newest(hotkey)?))).collect();
        let stake: u64 = votes.iter().map(|(stake, _)| stake).sum();
        for (own, vote) in votes {
            let sum: u64 = vote.weights.iter().map(|(_, weight)| u64::from(*weight)).sum();
            for (hotkey, weight) in vote.weights {
                let share = own as f64 / stake as f64 * f64::from(weight) / sum.max(1) as f64;
                *self.earned.entry(hotkey).or_default() += share;
            }
        }
    }
}

struct OneChain {
    chain: SimChain,
    me: Hotkey,
}

/// What a call takes.
async fn travel() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[async_trait]
impl Chain for OneChain {
    async fn head(&self) -> Result<Block, PortError> {
        travel().await;
        Ok(self.chain.block())
    }

    async fn next_block(&self, after: Block) -> Result<Block, PortError> {
        while self.chain.block() <= after {
            let into = self.chain.begin.elapsed().as_millis() % BLOCK_TIME.as_millis();
            tokio::time::sleep(BLOCK_TIME.saturating_sub(Duration::from_millis(into as u64))).await;
        }
        Ok(self.chain.block())
    }

    async fn metagraph(&self) -> Result<Metagraph, PortError> {
        travel().await;
        Ok(self.chain.metagraph())
    }

    async fn commitment(&self, hotkey: &Hotkey) -> Result<Option<String>, PortError> {
        travel().await;
        Ok(self.chain.lock().commitments.get(hotkey).cloned())
    }

    async fn commit(&self, text: &str) -> Result<(), PortError> {
        travel().await;
        self.chain.lock().commitments.insert(self.me, text.to_owned());
        Ok(())
    }

    async fn set_weights(&self, weights: &[(Uid, u16)]) -> Result<(), PortError> {
        travel().await;
        let block = self.chain.block();
        let mut state = self.chain.lock();
        if state.last_update(&self.me).is_some_and(|last| block.since(last) < RATE_LIMIT) {
            let name = "SettingWeightsTooFast".to_owned();
            return Err(PortError { message: name.clone(), name, retry: Retry::After(RATE_LIMIT) });
        }
        let owner = |(uid, weight): &(Uid, u16)| Some((state.neurons.get(usize::from(uid.0))?.0, *weight));
        let weights = weights.iter().filter_map(owner).collect();
        state.submissions.push(Submission { block, validator: self.me, weights });
        Ok(())
    }
}

/// Signs with a keyed hash: enough to tell whose statement it is, and no curve is computed a thousand times.
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

/// Virtual time.
pub struct VirtualClock;

#[async_trait]
impl Clock for VirtualClock {
    fn unix_millis(&self) -> u64 {
        0
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
