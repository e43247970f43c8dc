//! State: one ordered map of keys, each with its values over the last blocks.
//!
//! A real node keeps a Merkle trie. Nobody asks this one for proofs, so it keeps versions instead: a read at any block of the window is
//! one look-up, which is what a metagraph of thousands of neurons needs, and a snapshot costs what changed. The state root is a hash
//! over the parent's root and the block's changes: equal histories have equal roots, and nothing can be proven from it.

use super::runtime::{BlockNumber, Hash};
use codec::Encode;
use sp_core::storage::{ChildInfo, StateVersion};
use sp_runtime::traits::{BlakeTwo256, Hash as _};
use sp_state_machine::{
    Backend, BackendTransaction, IterArgs, StateMachineStats, StorageCollection, StorageIterator, UsageInfo,
};
use sp_trie::MerkleValue;
use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    marker::PhantomData,
    ops::Bound,
};

/// Blocks whose state can be read.
pub(crate) const HISTORY: BlockNumber = 512;

type Key = Vec<u8>;

/// A value from a block on; `None` where the key was removed.
#[derive(Debug)]
struct Version {
    from: BlockNumber,
    value: Option<Vec<u8>>,
}

/// All state of the window.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// Oldest version first.
    entries: BTreeMap<Key, Vec<Version>>,
    /// Keys that each block of the window changed, oldest first.
    changed: VecDeque<(BlockNumber, Vec<Key>)>,
}

impl Store {
    /// The value of `key` after block `at`.
    pub(crate) fn get(&self, key: &[u8], at: BlockNumber) -> Option<&[u8]> {
        self.entries.get(key).and_then(|versions| value_at(versions, at))
    }

    /// Keys that start with `prefix`, with their values, in order from `start`, as of block `at`.
    pub(crate) fn pairs<'a>(
        &'a self,
        prefix: &'a [u8],
        start: Bound<&[u8]>,
        at: BlockNumber,
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let start = match start {
            Bound::Included(key) | Bound::Excluded(key) if key >= prefix => start,
            _ => Bound::Included(prefix),
        };
        self.entries
            .range::<[u8], _>((start, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .filter_map(move |(key, versions)| Some((key.as_slice(), value_at(versions, at)?)))
    }

    /// Writes the changes of block `number`, and forgets versions that no block of the window sees any more.
    pub(crate) fn commit(&mut self, number: BlockNumber, changes: StorageCollection) {
        let mut keys = Vec::with_capacity(changes.len());
        for (key, value) in changes {
            let versions = self.entries.entry(key.clone()).or_default();
            if versions.last().is_none_or(|last| last.value != value) {
                versions.push(Version { from: number, value });
                keys.push(key);
            }
        }
        self.changed.push_back((number, keys));
        let oldest = number.saturating_sub(HISTORY - 1);
        while self.changed.front().is_some_and(|(block, _)| *block <= oldest) {
            for key in self.changed.pop_front().into_iter().flat_map(|(_, keys)| keys) {
                self.forget(&key, oldest);
            }
        }
    }

    /// Takes back the blocks after `to`, as if they had never been.
    pub(crate) fn rollback(&mut self, to: BlockNumber) {
        while self.changed.back().is_some_and(|(block, _)| *block > to) {
            for key in self.changed.pop_back().into_iter().flat_map(|(_, keys)| keys) {
                let Some(versions) = self.entries.get_mut(&key) else { continue };
                versions.retain(|v| v.from <= to);
                if versions.is_empty() {
                    self.entries.remove(&key);
                }
            }
        }
    }

    /// Drops the versions of `key` that were replaced at `oldest` or before.
    fn forget(&mut self, key: &[u8], oldest: BlockNumber) {
        let Some(versions) = self.entries.get_mut(key) else { return };
        let seen = versions.iter().rposition(|v| v.from <= oldest).unwrap_or_default();
        versions.drain(..seen);
        if let [Version { from, value: None }] = versions.as_slice()
            && *from <= oldest
        {
            self.entries.remove(key);
        }
    }
}

fn value_at(versions: &[Version], at: BlockNumber) -> Option<&[u8]> {
    versions.iter().rev().find(|v| v.from <= at)?.value.as_deref()
}

/// State after one block, as FRAME's state machine reads it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) store: &'a Store,
    pub(crate) number: BlockNumber,
    /// That block's state root.
    pub(crate) root: Hash,
}

impl<'a> Backend<BlakeTwo256> for View<'a> {
    type Error = Infallible;
    type TrieBackendStorage = BackendTransaction<BlakeTwo256>;
    type RawIter = Keys<'a>;

    fn storage(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.store.get(key, self.number).map(<[u8]>::to_vec))
    }

    fn storage_hash(&self, key: &[u8]) -> Result<Option<Hash>, Infallible> {
        Ok(self.store.get(key, self.number).map(BlakeTwo256::hash))
    }

    fn exists_storage(&self, key: &[u8]) -> Result<bool, Infallible> {
        Ok(self.store.get(key, self.number).is_some())
    }

    fn next_storage_key(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.store.pairs(&[], Bound::Excluded(key), self.number).next().map(|(key, _)| key.to_vec()))
    }

    fn storage_root<'b>(
        &self,
        delta: impl Iterator<Item = (&'b [u8], Option<&'b [u8]>)>,
        _: StateVersion,
    ) -> (Hash, BackendTransaction<BlakeTwo256>) {
        let changes: Vec<_> = delta.collect();
        (BlakeTwo256::hash_of(&(self.root, changes.encode())), BackendTransaction::default())
    }

    fn raw_iter(&self, args: IterArgs) -> Result<Keys<'a>, Infallible> {
        let start = match args.start_at {
            Some(key) if args.start_at_exclusive => Bound::Excluded(key.to_vec()),
            Some(key) => Bound::Included(key.to_vec()),
            None => Bound::Unbounded,
        };
        let prefix = args.prefix.map(<[u8]>::to_vec).unwrap_or_default();
        Ok(Keys { prefix, start, done: args.child_info.is_some(), backend: PhantomData })
    }

    // This chain has no child tries and proves nothing.

    fn closest_merkle_value(&self, _: &[u8]) -> Result<Option<MerkleValue<Hash>>, Infallible> {
        Ok(None)
    }

    fn child_closest_merkle_value(&self, _: &ChildInfo, _: &[u8]) -> Result<Option<MerkleValue<Hash>>, Infallible> {
        Ok(None)
    }

    fn child_storage(&self, _: &ChildInfo, _: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(None)
    }

    fn child_storage_hash(&self, _: &ChildInfo, _: &[u8]) -> Result<Option<Hash>, Infallible> {
        Ok(None)
    }

    fn next_child_storage_key(&self, _: &ChildInfo, _: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(None)
    }

    fn child_storage_root<'b>(
        &self,
        _: &ChildInfo,
        _: impl Iterator<Item = (&'b [u8], Option<&'b [u8]>)>,
        _: StateVersion,
    ) -> (Hash, bool, BackendTransaction<BlakeTwo256>) {
        (Hash::zero(), true, BackendTransaction::default())
    }

    fn register_overlay_stats(&self, _: &StateMachineStats) {}

    fn usage_info(&self) -> UsageInfo {
        UsageInfo::empty()
    }
}

/// An iteration over a [`View`] that does not borrow it.
#[derive(Debug)]
pub(crate) struct Keys<'a> {
    prefix: Key,
    start: Bound<Key>,
    done: bool,
    backend: PhantomData<View<'a>>,
}

impl<'a> StorageIterator<BlakeTwo256> for Keys<'a> {
    type Backend = View<'a>;
    type Error = Infallible;

    fn next_key(&mut self, backend: &View<'a>) -> Option<Result<Key, Infallible>> {
        self.next_pair(backend).map(|pair| pair.map(|(key, _)| key))
    }

    fn next_pair(&mut self, view: &View<'a>) -> Option<Result<(Key, Vec<u8>), Infallible>> {
        if self.done {
            return None;
        }
        let start = self.start.as_ref().map(Vec::as_slice);
        let next = view.store.pairs(&self.prefix, start, view.number).next().map(|(k, v)| (k.to_vec(), v.to_vec()));
        match &next {
            Some((key, _)) => self.start = Bound::Excluded(key.clone()),
            None => self.done = true,
        }
        next.map(Ok)
    }

    fn was_complete(&self) -> bool {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: Option<&str>) -> (Key, Option<Vec<u8>>) {
        (key.as_bytes().to_vec(), value.map(|v| v.as_bytes().to_vec()))
    }

    #[test]
    fn every_block_of_the_window_keeps_its_own_values() {
        let mut store = Store::default();
        store.commit(0, vec![put("a", Some("0")), put("b", Some("0"))]);
        store.commit(1, vec![put("a", Some("1"))]);
        store.commit(2, vec![put("a", None)]);
        let at = |block| (store.get(b"a", block), store.get(b"b", block));
        assert_eq!(at(0), (Some(&b"0"[..]), Some(&b"0"[..])));
        assert_eq!(at(1), (Some(&b"1"[..]), Some(&b"0"[..])));
        assert_eq!(at(2), (None, Some(&b"0"[..])));
    }

    #[test]
    fn iteration_keeps_to_the_prefix_and_to_the_block() {
        let mut store = Store::default();
        store.commit(0, vec![put("x1", Some("1")), put("x2", Some("2")), put("x3", Some("3")), put("y", Some("4"))]);
        store.commit(1, vec![put("x2", None)]);
        let keys = |start, at| store.pairs(b"x", start, at).map(|(k, _)| k.to_vec()).collect::<Vec<_>>();
        assert_eq!(keys(Bound::Unbounded, 0), [b"x1", b"x2", b"x3"]);
        assert_eq!(keys(Bound::Unbounded, 1), [b"x1", b"x3"]);
        assert_eq!(keys(Bound::Excluded(b"x1"), 0), [b"x2", b"x3"]);
        assert_eq!(keys(Bound::Included(b"a"), 1), [b"x1", b"x3"]);
    }

    #[test]
    fn blocks_that_are_taken_back_leave_no_trace() {
        let mut store = Store::default();
        store.commit(0, vec![put("a", Some("0"))]);
        store.commit(1, vec![put("a", Some("1")), put("new", Some("1"))]);
        store.commit(2, vec![put("a", None)]);
        store.rollback(0);
        assert_eq!((store.get(b"a", 2), store.get(b"new", 2)), (Some(&b"0"[..]), None));
        assert!(!store.entries.contains_key(&b"new"[..]));
        store.commit(1, vec![put("a", Some("other"))]);
        assert_eq!((store.get(b"a", 1), store.get(b"a", 0)), (Some(&b"other"[..]), Some(&b"0"[..])));
    }

    #[test]
    fn what_no_block_of_the_window_sees_is_forgotten() {
        let mut store = Store::default();
        store.commit(0, vec![put("kept", Some("0")), put("gone", Some("0"))]);
        store.commit(1, vec![put("gone", None)]);
        for block in 2..HISTORY + 10 {
            store.commit(block, vec![put("counter", Some(&block.to_string()))]);
        }
        let head = HISTORY + 9;
        assert_eq!(store.get(b"kept", head), Some(&b"0"[..]));
        assert!(!store.entries.contains_key(&b"gone"[..]), "a removed key leaves nothing behind");
        assert_eq!(store.entries[&b"counter"[..]].len(), HISTORY as usize);
        assert_eq!(store.get(b"counter", head - HISTORY + 1), Some((head - HISTORY + 1).to_string().as_bytes()));
    }
}
