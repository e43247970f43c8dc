//! The node: ledger and pool behind one lock, sealed on a clock.

use super::{
    config::LocalChainConfig,
    error::ChainError,
    faults::{Fate, Whims},
    ledger::{Building, Ledger, Sealed},
    pool::{Included, Pool, SubmitError, TxStatus},
    runtime::{AccountId, BlockNumber, Hash, Nonce, System},
    state::HISTORY,
};
use parking::{Mutex, RwLock};
use serde_json::value::RawValue;
use sp_runtime::traits::Header as _;
use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{Notify, broadcast, mpsc::UnboundedReceiver},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

/// Heads that a slow subscriber may lag behind.
const HEADS: usize = 256;

/// What a clock can count to; longer block times are cut to it.
const LONGEST_BLOCK_TIME: Duration = Duration::from_hours(24 * 365);

/// Answers that are remembered.
const ANSWERS: usize = 16;

/// On what a runtime call's answer depends.
#[derive(Debug, PartialEq, Eq)]
enum Scope {
    /// A block's state.
    Block(Hash),
    /// The runtime alone: its description of itself.
    Runtime(u32),
}

/// Scope, method and arguments.
type Call = (Scope, String, Vec<u8>);

/// A runtime call's answer, and its way of writing, which costs as much for a large one and is the same for every client.
#[derive(Debug)]
pub(crate) struct RuntimeAnswer {
    /// As the runtime gave it.
    pub(crate) bytes: Vec<u8>,
    hex: OnceLock<Box<RawValue>>,
}

impl RuntimeAnswer {
    fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { bytes, hex: OnceLock::new() })
    }

    /// The bytes as JSON: text of `0x…`.
    pub(crate) fn hex(&self) -> &RawValue {
        self.hex.get_or_init(|| hex_json(&self.bytes))
    }
}

/// `"0x…"`
pub(crate) fn hex_json(bytes: &[u8]) -> Box<RawValue> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = Vec::with_capacity(bytes.len() * 2 + 4);
    text.extend_from_slice(b"\"0x");
    text.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
    text.push(b'"');
    let json = String::from_utf8(text).ok().and_then(|text| RawValue::from_string(text).ok());
    json.unwrap_or_else(|| RawValue::NULL.to_owned()) // digits within quotes are JSON
}

/// Locks whose holder cannot panic with them half-written: runtime panics are caught before the lock is reached.
mod parking {
    use std::sync::{self, MutexGuard, PoisonError, RwLockReadGuard, RwLockWriteGuard};

    #[derive(Debug)]
    pub(super) struct RwLock<T>(sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(super) fn new(value: T) -> Self {
            Self(sync::RwLock::new(value))
        }
        pub(super) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }
        pub(super) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }
    }

    #[derive(Debug)]
    pub(super) struct Mutex<T>(sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(super) fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }
        pub(super) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    pool: Pool,
    /// Number of the newest block that nothing takes back.
    finalized: BlockNumber,
    /// Blocks after it, oldest first: hash and transactions.
    unsettled: VecDeque<(Hash, Included)>,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    state: RwLock<State>,
    heads: broadcast::Sender<Arc<Sealed>>,
    finalized: broadcast::Sender<Arc<Sealed>>,
    /// Blocks that finality is behind.
    lag: BlockNumber,
    whims: Whims,
    wake: Notify,
    seal_on_transaction: bool,
    /// The newest answers of runtime calls: large, slow to compute, and the same for every client.
    answers: Mutex<VecDeque<(Call, Arc<RuntimeAnswer>)>>,
}

impl Node {
    /// A node at its genesis.
    pub(crate) fn new(config: &LocalChainConfig) -> Result<Self, ChainError> {
        let ledger = Ledger::new(|| config.build_genesis())?;
        Ok(Self {
            state: RwLock::new(State { ledger, pool: Pool::default(), finalized: 0, unsettled: VecDeque::new() }),
            heads: broadcast::channel(HEADS).0,
            finalized: broadcast::channel(HEADS).0,
            // States older than that are not kept.
            lag: config.finality_lag.min(HISTORY / 2),
            whims: Whims::default(),
            wake: Notify::new(),
            seal_on_transaction: config.seal_on_transaction,
            answers: Mutex::new(VecDeque::new()),
        })
    }

    /// Seals a block every `block_time`, the first that long from now, and when a transaction asks for one, until `stop`.
    pub(crate) async fn run(self: Arc<Self>, block_time: Option<Duration>, stop: CancellationToken) {
        let clock_runs = block_time.is_some();
        let block_time = block_time.unwrap_or(LONGEST_BLOCK_TIME).clamp(Duration::from_millis(1), LONGEST_BLOCK_TIME);
        let mut clock = tokio::time::interval_at(Instant::now() + block_time, block_time);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = clock.tick(), if clock_runs => {}
                () = self.wake.notified() => {}
            }
            let node = self.clone();
            match tokio::task::spawn_blocking(move || node.seal()).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::error!(%error, "no block was made"),
                Err(error) => tracing::error!(%error, "no block was made"),
            }
        }
    }

    /// Makes a block of what waits in the pool.
    pub(crate) fn seal(&self) -> Result<Arc<Sealed>, ChainError> {
        self.seal_with(|_| ()).map(|(sealed, ())| sealed)
    }

    /// Makes a block: first what `root` does on the chain's own authority, then what waits in the pool.
    pub(crate) fn seal_with<R>(
        &self,
        root: impl FnOnce(&mut Building<'_>) -> R,
    ) -> Result<(Arc<Sealed>, R), ChainError> {
        self.seal_onto(&mut self.state.write(), |block, pool, number| (root(block), pool.fill(block, number)))
    }

    /// Makes a block of what `fill` puts in, and tells whom it concerns.
    fn seal_onto<R>(
        &self,
        state: &mut State,
        fill: impl FnOnce(&mut Building<'_>, &mut Pool, BlockNumber) -> (R, Included),
    ) -> Result<(Arc<Sealed>, R), ChainError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let number = state.ledger.head().header.number() + 1;
        let (ledger, pool) = (&mut state.ledger, &mut state.pool);
        let mut outcome = None;
        let sealed = ledger.seal(now, |block| outcome = Some(fill(block, pool, number)))?;
        let (result, included) = outcome.ok_or(ChainError::Stopped)?;
        // Watchers and heads hear of the block while no one can yet read a later one.
        included.tell(&TxStatus::InBlock(sealed.hash));
        state.unsettled.push_back((sealed.hash, included));
        let _ = self.heads.send(sealed.clone());
        self.finalize(state);
        tracing::trace!(number, hash = ?sealed.hash, transactions = sealed.body.len() - 1, "sealed");
        Ok((sealed, result))
    }

    /// Makes final what is far enough behind the newest block.
    fn finalize(&self, state: &mut State) {
        while state.unsettled.len() > self.lag as usize {
            let Some((hash, included)) = state.unsettled.pop_front() else { return };
            included.tell(&TxStatus::Finalized(hash));
            state.finalized += 1;
            if let Some(block) = state.ledger.block(hash) {
                let _ = self.finalized.send(block.clone());
            }
        }
    }

    /// Replaces the newest `depth` blocks by as many others and one more, which makes theirs the longer branch. Their transactions
    /// meet `fate`; what was done on the chain's own authority in them is undone.
    pub(crate) fn reorganise(&self, depth: BlockNumber, fate: Fate) -> Result<Arc<Sealed>, ChainError> {
        let mut guard = self.state.write();
        let state = &mut *guard;
        let most = state.unsettled.len();
        if depth == 0 || depth as usize > most {
            return Err(ChainError::Depth { depth, most });
        }
        state.ledger.rollback(*state.ledger.head().header.number() - depth);
        // The newest first, so that what is given back stands in its old order.
        for (hash, included) in state.unsettled.split_off(most - depth as usize).into_iter().rev() {
            included.tell(&TxStatus::Retracted(hash));
            match fate {
                Fate::Reincluded => state.pool.give_back(included),
                Fate::Lost => state.pool.forget(&included),
            }
        }
        for _ in 0..depth {
            self.seal_onto(state, |_, _, _| ((), Included::default()))?;
        }
        let (head, ()) = self.seal_onto(state, |block, pool, number| ((), pool.fill(block, number)))?;
        tracing::info!(depth, ?fate, number = head.header.number(), "reorganised");
        Ok(head)
    }

    /// New blocks from now on.
    pub(crate) fn heads(&self) -> broadcast::Receiver<Arc<Sealed>> {
        self.heads.subscribe()
    }

    /// Blocks that become final from now on.
    pub(crate) fn finalized_heads(&self) -> broadcast::Receiver<Arc<Sealed>> {
        self.finalized.subscribe()
    }

    /// The newest block that nothing takes back.
    pub(crate) fn finalized(&self) -> Arc<Sealed> {
        let state = self.state.read();
        state.ledger.numbered(state.finalized).unwrap_or(state.ledger.head()).clone()
    }

    /// Faults to come.
    pub(crate) fn whims(&self) -> &Whims {
        &self.whims
    }

    /// The newest block.
    pub(crate) fn head(&self) -> Arc<Sealed> {
        self.state.read().ledger.head().clone()
    }

    /// The block with this hash, or the newest.
    pub(crate) fn block(&self, at: Option<Hash>) -> Option<Arc<Sealed>> {
        let state = self.state.read();
        at.map_or_else(|| Some(state.ledger.head().clone()), |hash| state.ledger.block(hash).cloned())
    }

    /// Hash of the block with this number.
    pub(crate) fn hash_of(&self, number: BlockNumber) -> Option<Hash> {
        self.state.read().ledger.hash_of(number)
    }

    /// Hash of block 0.
    pub(crate) fn genesis_hash(&self) -> Hash {
        self.state.read().ledger.genesis_hash()
    }

    /// Runs `f` in the runtime on the state after `block`; what it writes is dropped.
    pub(crate) fn query<R>(&self, block: &Sealed, f: impl FnOnce() -> R) -> Result<R, ChainError> {
        self.state.read().ledger.query(block, f)
    }

    /// The runtime API `method` with SCALE arguments, as of `block`; `None` where there is no such method.
    pub(crate) fn call(
        &self,
        block: &Sealed,
        method: &str,
        arguments: &[u8],
    ) -> Result<Option<Arc<RuntimeAnswer>>, ChainError> {
        let of_runtime = method.starts_with("Metadata_");
        let scope = if of_runtime { Scope::Runtime(block.spec_version) } else { Scope::Block(block.hash) };
        let call = (scope, method.to_owned(), arguments.to_vec());
        if let Some((_, answer)) = self.answers.lock().iter().find(|(known, _)| *known == call) {
            return Ok(Some(answer.clone()));
        }
        let answer = self.query(block, || super::runtime::apis::api::dispatch(method, arguments))?;
        let answer = answer.map(RuntimeAnswer::new);
        if let Some(answer) = &answer {
            let mut known = self.answers.lock();
            if known.len() == ANSWERS {
                known.pop_front();
            }
            known.push_back((call, answer.clone()));
        }
        Ok(answer)
    }

    /// The value of a storage key as of `block`.
    pub(crate) fn storage(&self, block: &Sealed, key: &[u8]) -> Option<Vec<u8>> {
        let state = self.state.read();
        let view = state.ledger.view(block);
        view.store.get(key, view.number).map(<[u8]>::to_vec)
    }

    /// Up to `count` storage keys, with their values, from after `start` on, as of `block`.
    pub(crate) fn pairs(
        &self,
        block: &Sealed,
        prefix: &[u8],
        start: Option<&[u8]>,
        count: usize,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let state = self.state.read();
        let view = state.ledger.view(block);
        let start = start.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        view.store.pairs(prefix, start, view.number).take(count).map(|(k, v)| (k.to_vec(), v.to_vec())).collect()
    }

    /// Takes a transaction into the pool.
    pub(crate) fn submit(&self, bytes: &[u8]) -> Result<(Hash, UnboundedReceiver<TxStatus>), SubmitError> {
        let mut guard = self.state.write();
        let State { ledger, pool, .. } = &mut *guard;
        let taken = pool.submit(ledger, bytes)?;
        if self.seal_on_transaction && pool.has_ready() {
            self.wake.notify_one();
        }
        Ok(taken)
    }

    /// Encoded transactions that wait.
    pub(crate) fn pending(&self) -> Vec<Vec<u8>> {
        self.state.read().pool.pending()
    }

    /// The nonce for the account's next transaction, those that wait included.
    pub(crate) fn next_nonce(&self, account: &AccountId) -> Result<Nonce, ChainError> {
        let state = self.state.read();
        let nonce = state.ledger.query(state.ledger.head(), || System::account_nonce(account))?;
        Ok(state.pool.next_nonce(account, nonce))
    }
}
