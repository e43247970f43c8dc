//! The node: ledger and pool behind one lock, sealed on a clock.

use super::{
    config::LocalChainConfig,
    error::ChainError,
    ledger::{Building, Ledger, Sealed},
    pool::{Pool, SubmitError, TxStatus},
    runtime::{AccountId, BlockNumber, Hash, Nonce, System},
};
use parking::{Mutex, RwLock};
use sp_runtime::traits::Header as _;
use std::{
    collections::HashMap,
    sync::Arc,
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

/// Spec version, method and arguments.
type MetadataCall = (u32, String, Vec<u8>);

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
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    state: RwLock<State>,
    heads: broadcast::Sender<Arc<Sealed>>,
    wake: Notify,
    seal_on_transaction: bool,
    /// Answers that depend on the runtime's version only: large, and the same for every client.
    metadata: Mutex<HashMap<MetadataCall, Vec<u8>>>,
}

impl Node {
    /// A node at its genesis.
    pub(crate) fn new(config: &LocalChainConfig) -> Result<Self, ChainError> {
        let ledger = Ledger::new(|| config.build_genesis())?;
        Ok(Self {
            state: RwLock::new(State { ledger, pool: Pool::default() }),
            heads: broadcast::channel(HEADS).0,
            wake: Notify::new(),
            seal_on_transaction: config.seal_on_transaction,
            metadata: Mutex::new(HashMap::new()),
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
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let mut guard = self.state.write();
        let State { ledger, pool } = &mut *guard;
        let number = ledger.head().header.number() + 1;
        let mut outcome = None;
        let sealed = ledger.seal(now, |block| {
            let result = root(block);
            outcome = Some((result, pool.fill(block, number)));
        })?;
        let (result, included) = outcome.ok_or(ChainError::Stopped)?;
        // Watchers and heads hear of the block while no one can yet read a later one.
        included.announce(sealed.hash);
        let _ = self.heads.send(sealed.clone());
        tracing::trace!(number, hash = ?sealed.hash, transactions = sealed.body.len() - 1, "sealed");
        Ok((sealed, result))
    }

    /// New blocks from now on.
    pub(crate) fn heads(&self) -> broadcast::Receiver<Arc<Sealed>> {
        self.heads.subscribe()
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
    pub(crate) fn call(&self, block: &Sealed, method: &str, arguments: &[u8]) -> Result<Option<Vec<u8>>, ChainError> {
        let dispatch = || self.query(block, || super::runtime::apis::api::dispatch(method, arguments));
        if !method.starts_with("Metadata_") {
            return dispatch();
        }
        let key = (block.spec_version, method.to_owned(), arguments.to_vec());
        if let Some(answer) = self.metadata.lock().get(&key) {
            return Ok(Some(answer.clone()));
        }
        let answer = dispatch()?;
        let mut known = self.metadata.lock();
        if let Some(answer) = &answer
            && known.len() < 64
        {
            known.insert(key, answer.clone());
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
        let State { ledger, pool } = &mut *guard;
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
