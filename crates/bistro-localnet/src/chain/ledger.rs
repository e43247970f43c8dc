//! The sealed blocks and their states, and how the next one is made.

use super::{
    error::ChainError,
    runtime::{BlockNumber, Executive, Hash, Header, RuntimeCall, UncheckedExtrinsic, Version},
    state::{HISTORY, Store, View},
};
use codec::Encode;
use frame_support::traits::Get;
use sp_core::storage::StateVersion;
use sp_externalities::{Extensions, set_and_run_with_externalities};
use sp_runtime::{
    ApplyExtrinsicResult,
    generic::Digest,
    traits::{BlakeTwo256, Header as _},
};
use sp_state_machine::{Ext, OverlayedChanges, StorageCollection};
use std::{
    any::Any,
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// A block.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) hash: Hash,
    pub(crate) header: Header,
    /// Encoded extrinsics, the timestamp first.
    pub(crate) body: Vec<Vec<u8>>,
    /// Of the state after this block.
    pub(crate) spec_version: u32,
}

/// The chain.
#[derive(Debug)]
pub(crate) struct Ledger {
    store: Store,
    /// The last blocks, whose state is still there; the newest last. Never empty.
    recent: VecDeque<Arc<Sealed>>,
    /// Numbers of the recent blocks, by hash.
    numbers: HashMap<Hash, BlockNumber>,
    /// Hashes of all blocks, by number.
    hashes: Vec<Hash>,
    /// Milliseconds since 1970, as in the newest block.
    last_timestamp: u64,
}

impl Ledger {
    /// A chain whose first state is what `genesis` writes.
    pub(crate) fn new(genesis: impl FnOnce()) -> Result<Self, ChainError> {
        let mut store = Store::default();
        let view = View { store: &store, number: 0, root: Hash::zero() };
        let mut overlay = OverlayedChanges::default();
        let spec_version = run(&view, &mut overlay, || {
            genesis();
            Version::get().spec_version
        })?;
        let (changes, root) = drain(&view, &mut overlay);
        store.commit(0, changes);
        let header = Header::new(0, empty_root(), root, Hash::zero(), Digest::default());
        let sealed = Arc::new(Sealed { hash: header.hash(), header, body: Vec::new(), spec_version });
        Ok(Self {
            store,
            numbers: HashMap::from([(sealed.hash, 0)]),
            hashes: vec![sealed.hash],
            recent: VecDeque::from([sealed]),
            last_timestamp: 0,
        })
    }

    /// The newest block.
    pub(crate) fn head(&self) -> &Arc<Sealed> {
        self.recent.back().expect("a ledger starts with its genesis; qed")
    }

    /// Hash of block 0.
    pub(crate) fn genesis_hash(&self) -> Hash {
        self.hashes[0]
    }

    /// Hash of the block with this number.
    pub(crate) fn hash_of(&self, number: BlockNumber) -> Option<Hash> {
        self.hashes.get(number as usize).copied()
    }

    /// The block with this hash, while its state is kept.
    pub(crate) fn block(&self, hash: Hash) -> Option<&Arc<Sealed>> {
        self.numbered(*self.numbers.get(&hash)?)
    }

    /// State after `block`.
    pub(crate) fn view(&self, block: &Sealed) -> View<'_> {
        View { store: &self.store, number: *block.header.number(), root: *block.header.state_root() }
    }

    /// The recent block with this number.
    pub(crate) fn numbered(&self, number: BlockNumber) -> Option<&Arc<Sealed>> {
        let first = *self.recent.front()?.header.number();
        self.recent.get(number.checked_sub(first)? as usize)
    }

    /// Takes back the newest blocks down to `to`, which becomes the newest.
    pub(crate) fn rollback(&mut self, to: BlockNumber) {
        while *self.head().header.number() > to && self.recent.len() > 1 {
            if let Some(block) = self.recent.pop_back() {
                self.numbers.remove(&block.hash);
                self.hashes.pop();
            }
        }
        self.store.rollback(*self.head().header.number());
    }

    /// Runs `f` in the runtime on the state after `block`; what it writes is dropped.
    pub(crate) fn query<R>(&self, block: &Sealed, f: impl FnOnce() -> R) -> Result<R, ChainError> {
        run(&self.view(block), &mut OverlayedChanges::default(), f)
    }

    /// Makes the next block at `now`, milliseconds since 1970: the timestamp, then what `fill` puts in.
    pub(crate) fn seal(&mut self, now: u64, fill: impl FnOnce(&mut Building<'_>)) -> Result<Arc<Sealed>, ChainError> {
        let parent = self.head();
        let number = parent.header.number() + 1;
        let header = Header::new(number, Hash::zero(), Hash::zero(), parent.hash, Digest::default());
        // Timestamps only have to grow; an extra block may follow the last at once.
        let now = now.max(self.last_timestamp + 1);
        let mut building = Building { view: self.view(parent), overlay: OverlayedChanges::default(), body: Vec::new() };
        building.run(|| Executive::initialize_block(&header))?;
        let timestamp = RuntimeCall::Timestamp(pallet_timestamp::Call::set { now });
        let timestamp = UncheckedExtrinsic::new_bare(timestamp);
        let applied = building.apply(&timestamp)?;
        debug_assert!(matches!(applied, Ok(Ok(()))), "the timestamp was refused: {applied:?}");
        fill(&mut building);

        let header = building.run(Executive::finalize_block)?;
        let spec_version = building.run(|| Version::get().spec_version)?;
        let Building { view, mut overlay, body } = building;
        let (changes, _) = drain(&view, &mut overlay);
        self.store.commit(number, changes);
        let sealed = Arc::new(Sealed { hash: header.hash(), header, body, spec_version });
        self.numbers.insert(sealed.hash, number);
        self.hashes.push(sealed.hash);
        self.recent.push_back(sealed.clone());
        if self.recent.len() > HISTORY as usize
            && let Some(old) = self.recent.pop_front()
        {
            self.numbers.remove(&old.hash);
        }
        self.last_timestamp = now;
        Ok(sealed)
    }
}

/// A block being made.
pub(crate) struct Building<'a> {
    view: View<'a>,
    overlay: OverlayedChanges<BlakeTwo256>,
    body: Vec<Vec<u8>>,
}

impl Building<'_> {
    /// Applies a transaction; one that is refused leaves no trace.
    pub(crate) fn apply(&mut self, transaction: &UncheckedExtrinsic) -> Result<ApplyExtrinsicResult, ChainError> {
        let applied = self.attempt(|| Executive::apply_extrinsic(transaction.clone()))?;
        if applied.is_ok() {
            self.body.push(transaction.encode());
        }
        Ok(applied)
    }

    /// Runs `f` on the state so far, and undoes what it wrote when it fails.
    pub(crate) fn attempt<R, E>(&mut self, f: impl FnOnce() -> Result<R, E>) -> Result<Result<R, E>, ChainError> {
        self.overlay.start_transaction();
        let result = self.run(f);
        let ended = match result {
            Ok(Ok(_)) => self.overlay.commit_transaction(),
            _ => self.overlay.rollback_transaction(),
        };
        debug_assert!(ended.is_ok(), "the runtime closed a storage transaction that it had not opened");
        result
    }

    fn run<R>(&mut self, f: impl FnOnce() -> R) -> Result<R, ChainError> {
        run(&self.view, &mut self.overlay, f)
    }
}

/// Runs `f` with `view` under it and its writes going to `overlay`.
fn run<R>(
    view: &View<'_>,
    overlay: &mut OverlayedChanges<BlakeTwo256>,
    f: impl FnOnce() -> R,
) -> Result<R, ChainError> {
    let mut extensions = Extensions::new();
    let depth = overlay.transaction_depth();
    let result = {
        let mut ext = Ext::new(overlay, view, Some(&mut extensions));
        // The arguments of a runtime call come from a client and the runtime panics on nonsense; that must not end the node.
        set_and_run_with_externalities(&mut ext, || catch_unwind(AssertUnwindSafe(f)))
    };
    result.map_err(|panic| {
        while overlay.transaction_depth() > depth && overlay.rollback_transaction().is_ok() {}
        ChainError::Panicked(message(&*panic))
    })
}

/// All changes of a finished block, and its state root.
fn drain(view: &View<'_>, overlay: &mut OverlayedChanges<BlakeTwo256>) -> (StorageCollection, Hash) {
    match overlay.drain_storage_changes(view, StateVersion::V1) {
        Ok(changes) => (changes.main_storage_changes, changes.transaction_storage_root),
        Err(never) => unreachable!("no transaction is open and the view has no IO: {never}"),
    }
}

/// Root of no extrinsics.
fn empty_root() -> Hash {
    <BlakeTwo256 as sp_runtime::traits::Hash>::ordered_trie_root(Vec::new(), StateVersion::V1)
}

fn message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "no message".to_owned())
}
