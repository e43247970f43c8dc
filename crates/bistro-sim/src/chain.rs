//! The simulated chain: neurons with stakes, commitments, weights under a rate limit, and what the weights earn.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bistro_core::ids::{Block, Hash, Hotkey, NetUid, Uid};
use bistro_core::ports::{Chain, Clock, Identity, Metagraph, Neuron, PortError, Retry};

/// Subnet of all simulations.
pub const NETUID: NetUid = NetUid(7);

/// Virtual time of a block, unless the chain has a pace of its own.
pub const BLOCK_TIME: Duration = Duration::from_secs(12);

/// How fast a chain is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Virtual time of a block.
    pub block_time: Duration,
    /// What a call takes. Without it, loops that never wait would leave the virtual clock standing.
    pub travel: Duration,
    /// Blocks between two submissions of weights.
    pub rate_limit: u64,
    /// Blocks after which a write is final, and returns.
    pub finality: u32,
    /// Blocks after which weights are seen, and count; more than 0 is commit-reveal.
    pub reveal: u64,
}

impl Default for Pace {
    /// Bittensor's blocks, weights every two minutes.
    fn default() -> Self {
        Self { block_time: BLOCK_TIME, travel: Duration::from_millis(50), rate_limit: 10, finality: 2, reveal: 0 }
    }
}

/// Blocks of an epoch, at whose end weights earn.
const TEMPO: u64 = 10;

/// Weights as they were set.
#[derive(Clone, Debug)]
pub struct Submission {
    /// When.
    pub block: Block,
    /// By whom.
    pub validator: Hotkey,
    /// For which uid, who held it at that block, and how much of 65535.
    pub weights: Vec<(Uid, Hotkey, u16)>,
}

impl Submission {
    /// Share of each hotkey; they sum to 1.
    pub fn shares(&self) -> Vec<(Hotkey, f64)> {
        let sum: u64 = self.weights.iter().map(|(.., weight)| u64::from(*weight)).sum();
        self.weights.iter().map(|(_, hotkey, weight)| (*hotkey, f64::from(*weight) / sum.max(1) as f64)).collect()
    }
}

#[derive(Default)]
struct State {
    neurons: Vec<(Hotkey, u64)>,
    /// What is committed, and since which block.
    commitments: BTreeMap<Hotkey, (Block, String)>,
    submissions: Vec<Submission>,
    earned: BTreeMap<Hotkey, f64>,
    dividends: BTreeMap<Hotkey, f64>,
    paid_until: u64,
    /// Blocks after which weights that were set are seen and count.
    reveal: u64,
    /// Whether calls for blocks are never answered.
    hangs: bool,
}

/// The chain that all programs of a simulation share. Blocks follow from virtual time.
#[derive(Clone)]
pub struct SimChain {
    state: Arc<Mutex<State>>,
    pace: Pace,
    begin: tokio::time::Instant,
}

impl SimChain {
    /// A subnet of these hotkeys with their stakes, in uid order; whoever has any may set weights. Weights are seen, and count,
    /// `pace.reveal` blocks after they were set.
    pub fn new(neurons: Vec<(Hotkey, u64)>, pace: Pace) -> Self {
        let state = State { neurons, reveal: pace.reveal, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), pace, begin: tokio::time::Instant::now() }
    }

    /// Gives `hotkey`'s uid to `to`, as when a newcomer takes the slot of somebody who earns nothing.
    pub fn recycle(&self, hotkey: &Hotkey, to: Hotkey) {
        self.lock().neurons.iter_mut().filter(|(held, _)| held == hotkey).for_each(|slot| slot.0 = to);
    }

    /// From now on nobody is told the newest block, nor that it does not come.
    pub fn hang(&self) {
        self.lock().hangs = true;
    }

    /// Moves stake: `hotkey` has `stake` from now on.
    pub fn set_stake(&self, hotkey: &Hotkey, stake: u64) {
        self.lock().neurons.iter_mut().filter(|(held, _)| held == hotkey).for_each(|slot| slot.1 = stake);
    }

    /// The newest block.
    pub fn block(&self) -> Block {
        Block(1 + (self.begin.elapsed().as_millis() / self.pace.block_time.as_millis()) as u64)
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
            weights_rate_limit: self.pace.rate_limit,
            min_allowed_weights: 1,
            max_weight: u16::MAX,
            stake_threshold: 1,
            block_time: self.pace.block_time,
            tempo: TEMPO as u16,
            commit_reveal: false,
        }
    }

    /// All weights that were set, oldest first.
    pub fn submissions(&self) -> Vec<Submission> {
        self.lock().submissions.clone()
    }

    /// What each hotkey earned so far as a miner: at the end of each epoch one unit is shared by the newest weights of all
    /// validators, each counting by its stake.
    pub fn earned(&self) -> BTreeMap<Hotkey, f64> {
        self.paid().earned.clone()
    }

    /// What each hotkey earned so far as a validator: at the end of each epoch one unit is shared by stake times agreement,
    /// which is the part of the own weights that does not lie above the stake-weighted median, as in Yuma consensus. Bonds,
    /// by which that pays whoever was first to be right, are left out: this is what copying earns at most.
    pub fn dividends(&self) -> BTreeMap<Hotkey, f64> {
        self.paid().dividends.clone()
    }

    /// Another branch wins: what was written in the last blocks and is not final is gone, as if it had never been.
    pub fn reorganise(&self) {
        let (block, finality) = (self.block(), u64::from(self.pace.finality));
        let mut state = self.lock();
        state.submissions.retain(|s| block.since(s.block) >= finality);
        state.commitments.retain(|_, (since, _)| block.since(*since) >= finality);
    }

    /// The newest weights of each validator that are seen at `block`, with its stake.
    pub fn votes(&self, block: Block) -> Vec<(u64, Submission)> {
        self.lock().votes(block)
    }

    fn paid(&self) -> MutexGuard<'_, State> {
        let block = self.block().0;
        let mut state = self.lock();
        while state.paid_until + TEMPO <= block {
            state.paid_until += TEMPO;
            let until = Block(state.paid_until);
            state.pay(until);
        }
        state
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

    fn votes(&self, until: Block) -> Vec<(u64, Submission)> {
        let seen = |s: &&Submission| s.block.0 + self.reveal <= until.0;
        let newest = |validator: &Hotkey| {
            self.submissions.iter().rev().filter(seen).find(|s| s.validator == *validator).cloned()
        };
        self.neurons.iter().filter_map(|(hotkey, stake)| Some((*stake, newest(hotkey)?))).collect()
    }

    fn pay(&mut self, until: Block) {
        let votes = self.votes(until);
        let stake: u64 = votes.iter().map(|(stake, _)| stake).sum();
        let mut shares: BTreeMap<Hotkey, Vec<(u64, f64)>> = BTreeMap::new();
        for (own, vote) in &votes {
            for (hotkey, share) in vote.shares() {
                *self.earned.entry(hotkey).or_default() += *own as f64 / stake as f64 * share;
                shares.entry(hotkey).or_default().push((*own, share));
            }
        }
        let medians: BTreeMap<Hotkey, f64> =
            shares.into_iter().map(|(hotkey, shares)| (hotkey, median(shares, stake))).collect();
        let agreement = |vote: &Submission| -> f64 {
            vote.shares().iter().map(|(hotkey, share)| share.min(medians.get(hotkey).copied().unwrap_or(0.0))).sum()
        };
        let agreed: Vec<(Hotkey, f64)> =
            votes.iter().map(|(own, vote)| (vote.validator, *own as f64 * agreement(vote))).collect();
        let sum: f64 = agreed.iter().map(|(_, part)| part).sum();
        for (validator, part) in agreed.into_iter().filter(|_| sum > 0.0) {
            *self.dividends.entry(validator).or_default() += part / sum;
        }
    }
}

/// The largest share on which validators with at least half of all stake agree; those that gave none gave 0.
fn median(mut shares: Vec<(u64, f64)>, stake: u64) -> f64 {
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut sum = 0;
    for (own, share) in shares {
        sum += own;
        if 2 * sum >= stake {
            return share;
        }
    }
    0.0
}

struct OneChain {
    chain: SimChain,
    me: Hotkey,
}

impl OneChain {
    async fn unless_hung(&self) {
        if self.chain.lock().hangs {
            std::future::pending::<()>().await;
        }
    }

    async fn travel(&self) {
        tokio::time::sleep(self.chain.pace.travel).await;
    }
}

#[async_trait]
impl Chain for OneChain {
    async fn head(&self) -> Result<Block, PortError> {
        self.travel().await;
        self.unless_hung().await;
        Ok(self.chain.block())
    }

    async fn next_block(&self, after: Block) -> Result<Block, PortError> {
        while self.chain.block() <= after {
            let block_time = self.chain.pace.block_time;
            let into = self.chain.begin.elapsed().as_millis() % block_time.as_millis();
            tokio::time::sleep(block_time.saturating_sub(Duration::from_millis(into as u64))).await;
        }
        self.unless_hung().await;
        Ok(self.chain.block())
    }

    async fn metagraph(&self) -> Result<Metagraph, PortError> {
        self.travel().await;
        Ok(self.chain.metagraph())
    }

    async fn commitment(&self, hotkey: &Hotkey) -> Result<Option<String>, PortError> {
        self.travel().await;
        Ok(self.chain.lock().commitments.get(hotkey).map(|(_, text)| text.clone()))
    }

    async fn commit(&self, text: &str) -> Result<(), PortError> {
        self.travel().await;
        let written = (self.chain.block(), text.to_owned());
        let there = |state: &State| state.commitments.get(&self.me).is_some_and(|(_, now)| *now == written.1);
        if there(&self.chain.lock()) {
            return Ok(());
        }
        self.chain.lock().commitments.insert(self.me, written.clone());
        self.final_if(|state| there(state)).await
    }

    async fn set_weights(&self, weights: &[(Uid, u16)]) -> Result<(), PortError> {
        self.travel().await;
        let block = self.chain.block();
        {
            let mut state = self.chain.lock();
            if state.last_update(&self.me).is_some_and(|last| block.since(last) < self.chain.pace.rate_limit) {
                let name = "SettingWeightsTooFast".to_owned();
                return Err(PortError { message: name.clone(), name, retry: Retry::After(self.chain.pace.rate_limit) });
            }
            let owner = |(uid, weight): &(Uid, u16)| Some((*uid, state.neurons.get(usize::from(uid.0))?.0, *weight));
            let weights = weights.iter().filter_map(owner).collect();
            state.submissions.push(Submission { block, validator: self.me, weights });
        }
        self.final_if(|state| state.last_update(&self.me).is_some_and(|last| last >= block)).await
    }
}

impl OneChain {
    /// Waits until a write is final, as the real client does, and tells if another branch won meanwhile.
    async fn final_if(&self, there: impl Fn(&State) -> bool) -> Result<(), PortError> {
        tokio::time::sleep(self.chain.pace.block_time * self.chain.pace.finality).await;
        if there(&self.chain.lock()) {
            return Ok(());
        }
        let message = "the block with this call was taken back".to_owned();
        Err(PortError { name: "TakenBack".into(), message, retry: Retry::Soon })
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

/// When virtual time began.
static BEGIN: LazyLock<tokio::time::Instant> = LazyLock::new(tokio::time::Instant::now);

/// Virtual time. Its wall clock stands still, so that equal runs write equal logs.
pub struct VirtualClock;

#[async_trait]
impl Clock for VirtualClock {
    fn unix_millis(&self) -> u64 {
        0
    }

    fn elapsed(&self) -> Duration {
        tokio::time::Instant::now().saturating_duration_since(*BEGIN)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Virtual time with a wall clock that somebody sets anew every minute, up to some days back or forth.
pub struct JumpingClock;

#[async_trait]
impl Clock for JumpingClock {
    fn unix_millis(&self) -> u64 {
        const DAY: u64 = 86_400_000;
        let elapsed = VirtualClock.elapsed();
        // Its digits are as good as random, and the same in every run.
        let set = (elapsed.as_secs() / 60).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        100 * DAY + set % (6 * DAY) + elapsed.as_millis() as u64
    }

    fn elapsed(&self) -> Duration {
        VirtualClock.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        VirtualClock.sleep(duration).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(validator: u8, block: u64, weights: &[(u8, u16)]) -> Submission {
        let weights = weights.iter().map(|(n, weight)| (Uid((*n).into()), Hotkey([*n; 32]), *weight)).collect();
        Submission { block: Block(block), validator: Hotkey([validator; 32]), weights }
    }

    fn state(submissions: Vec<Submission>, reveal: u64) -> State {
        let neurons = (0..6).map(|n| (Hotkey([n; 32]), [600, 400, 0, 0, 0, 0][n as usize])).collect();
        State { neurons, submissions, reveal, ..State::default() }
    }

    #[test]
    fn an_epoch_is_shared_by_stake_and_weights() {
        let mut state = state(vec![vote(0, 1, &[(2, 10), (3, 30)]), vote(1, 1, &[(3, 5)])], 0);
        state.pay(Block(10));
        let of = |n: u8| state.earned[&Hotkey([n; 32])];
        assert!((of(2) - 0.15).abs() < 1e-12 && (of(3) - 0.85).abs() < 1e-12);
    }

    #[test]
    fn agreement_with_the_median_is_what_validators_are_paid_by() {
        // The one with 600 of 1000 decides the median: (2: ½, 3: ½); the other agrees in half of its weights.
        let mut state = state(vec![vote(0, 1, &[(2, 1), (3, 1)]), vote(1, 1, &[(3, 1), (4, 1)])], 0);
        state.pay(Block(10));
        let of = |n: u8| state.dividends[&Hotkey([n; 32])];
        assert!(
            (of(0) - 600.0 / 800.0).abs() < 1e-12 && (of(1) - 200.0 / 800.0).abs() < 1e-12,
            "{:?}",
            state.dividends
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_reorganisation_takes_back_what_is_not_final_and_the_writer_is_told() {
        let (one, two) = (Hotkey([1; 32]), Hotkey([2; 32]));
        let chain = SimChain::new(vec![(one, 9), (two, 0)], Pace::default());
        chain.of(one).commit("kept").await.unwrap();
        chain.of(one).set_weights(&[(Uid(1), 7)]).await.unwrap();
        let writer = chain.of(two);
        let write = tokio::spawn(async move { writer.commit("lost").await });
        tokio::time::sleep(BLOCK_TIME).await;
        chain.reorganise();
        assert_eq!(write.await.unwrap().unwrap_err().name, "TakenBack");
        assert_eq!(chain.of(two).commitment(&two).await.unwrap(), None);
        assert_eq!(chain.of(two).commitment(&one).await.unwrap().as_deref(), Some("kept"));
        assert_eq!(chain.submissions().len(), 1);
    }

    #[test]
    fn committed_weights_are_neither_seen_nor_counted_before_they_are_revealed() {
        let state = state(vec![vote(0, 5, &[(2, 1)])], 10);
        assert!(state.votes(Block(14)).is_empty());
        assert_eq!(state.votes(Block(15)).len(), 1);
    }
}
