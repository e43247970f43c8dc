//! Packed pages in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bistro_core::pages::PageId;
use bistro_core::tokens::TokenBatch;
use lru::LruCache;

/// Pages in the order of their last use, bounded by their tokens' bytes.
pub struct Memory {
    inner: Mutex<Inner>,
    max_bytes: usize,
}

struct Inner {
    pages: LruCache<PageId, TokenBatch>,
    bytes: usize,
}

impl Memory {
    /// Keeps at most `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self { inner: Mutex::new(Inner { pages: LruCache::unbounded(), bytes: 0 }), max_bytes }
    }

    /// How many pages there are.
    pub fn len(&self) -> usize {
        self.inner().pages.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The page, if it is still there.
    pub fn get(&self, page: &PageId) -> Option<TokenBatch> {
        self.inner().pages.get(page).cloned()
    }

    /// Keeps the page, and forgets others that were not used for longer.
    pub fn put(&self, page: PageId, batch: TokenBatch) {
        let mut inner = self.inner();
        inner.bytes += size(&batch);
        // Two tasks may have made the same page.
        if let Some(old) = inner.pages.put(page, batch) {
            inner.bytes -= size(&old);
        }
        while inner.bytes > self.max_bytes
            && let Some((_, oldest)) = inner.pages.pop_lru()
        {
            inner.bytes -= size(&oldest);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // The cache is whole after every statement, so a panic elsewhere has not broken it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(batch: &TokenBatch) -> usize {
    batch.ids.len() * size_of::<u32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(row: u64) -> PageId {
        PageId { config: "c".into(), split: "s".into(), row }
    }

    fn batch(tokens: usize) -> TokenBatch {
        TokenBatch { seq: 2, ids: vec![0; tokens] }
    }

    #[test]
    fn memory_keeps_its_bound_and_the_pages_last_used() {
        let memory = Memory::new(40);
        let state = || {
            let inner = memory.inner();
            (inner.bytes, inner.pages.len())
        };
        memory.put(page(1), batch(4));
        memory.put(page(2), batch(4));
        memory.put(page(2), batch(4));
        assert_eq!(state(), (32, 2));
        assert!(memory.get(&page(1)).is_some());
        memory.put(page(3), batch(4));
        assert_eq!(state(), (32, 2));
        assert!(memory.get(&page(1)).is_some() && memory.get(&page(2)).is_none() && memory.get(&page(3)).is_some());
        memory.put(page(4), batch(100));
        assert_eq!(state(), (0, 0));
        assert!(memory.is_empty());
    }
}
