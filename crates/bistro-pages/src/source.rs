//! The corpus as the loops see it, with a bounded cache.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bistro_core::pages::{DatasetIndex, PageId};
use bistro_core::ports::{Pages, PortError, Retry};
use bistro_core::tokens::TokenBatch;
use lru::LruCache;

use crate::corpus::{self, Corpus};
use crate::error::PagesError;
use crate::packing::pack;
use crate::tokenizer::Tokenizer;

/// Pages of a [`Corpus`], tokenised off the async threads. The newest ones stay in memory: a miner's window moves by a few
/// pages a block.
pub struct CorpusPages {
    corpus: Arc<Corpus>,
    tokenizer: Tokenizer,
    seq: usize,
    cache: Mutex<Cache>,
}

impl CorpusPages {
    /// Pages in sequences of `seq` tokens, of which at most `cache_bytes` bytes are kept.
    pub fn new(corpus: Corpus, tokenizer: Tokenizer, seq: usize, cache_bytes: usize) -> Result<Self, PagesError> {
        // A sequence of one token has nothing to predict.
        corpus::check("sequence length", seq as u64, 2, 1 << 20)?;
        let cache = Mutex::new(Cache::new(cache_bytes));
        Ok(Self { corpus: Arc::new(corpus), tokenizer, seq, cache })
    }

    /// How many pages are in memory.
    pub fn cached(&self) -> usize {
        self.cache().pages.len()
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        // The cache is whole after every statement, so a panic elsewhere has not broken it.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Pages for CorpusPages {
    fn index(&self) -> &DatasetIndex {
        self.corpus.index()
    }

    async fn page(&self, page: &PageId) -> Result<TokenBatch, PortError> {
        if let Some(batch) = self.cache().pages.get(page) {
            return Ok(batch.clone());
        }
        let (corpus, tokenizer, seq, id) = (Arc::clone(&self.corpus), self.tokenizer, self.seq, page.clone());
        let batch = tokio::task::spawn_blocking(move || tokenise(&corpus, tokenizer, seq, &id))
            .await
            .map_err(|e| error("TokenizerFailed", format!("tokenising page {page:?} failed: {e}"), Retry::Soon))??;
        self.cache().put(page.clone(), batch.clone());
        Ok(batch)
    }
}

fn error(name: &str, message: String, retry: Retry) -> PortError {
    PortError { name: name.into(), message, retry }
}

fn tokenise(corpus: &Corpus, tokenizer: Tokenizer, seq: usize, id: &PageId) -> Result<TokenBatch, PortError> {
    let PageId { config, split, row } = id;
    let Some(rows) = corpus.page(id) else {
        let (dataset, rows) = (&corpus.index().dataset, corpus.rows());
        let message = format!(
            "{dataset} has no page {config}/{split}/{row}: it has {rows} rows of {}/{}",
            corpus::CONFIG,
            corpus::SPLIT
        );
        return Err(error("NoSuchPage", message, Retry::Never));
    };
    let batch = pack(rows.map(|row| tokenizer.encode(row)), tokenizer.end_of_text(), seq);
    if batch.is_empty() {
        let message = format!(
            "page {config}/{split}/{row} has fewer than {seq} tokens: make pages of more rows, or sequences shorter"
        );
        return Err(error("PageTooShort", message, Retry::Never));
    }
    Ok(batch)
}

/// Pages in the order of their last use, bounded by their tokens' bytes.
struct Cache {
    pages: LruCache<PageId, TokenBatch>,
    bytes: usize,
    max_bytes: usize,
}

impl Cache {
    fn new(max_bytes: usize) -> Self {
        Self { pages: LruCache::unbounded(), bytes: 0, max_bytes }
    }

    fn put(&mut self, page: PageId, batch: TokenBatch) {
        self.bytes += size(&batch);
        // Two tasks may have made the same page.
        if let Some(old) = self.pages.put(page, batch) {
            self.bytes -= size(&old);
        }
        while self.bytes > self.max_bytes
            && let Some((_, oldest)) = self.pages.pop_lru()
        {
            self.bytes -= size(&oldest);
        }
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
    fn the_cache_keeps_its_bound_and_the_pages_last_used() {
        let mut cache = Cache::new(40);
        cache.put(page(1), batch(4));
        cache.put(page(2), batch(4));
        cache.put(page(2), batch(4));
        assert_eq!((cache.bytes, cache.pages.len()), (32, 2));
        cache.pages.get(&page(1));
        cache.put(page(3), batch(4));
        assert_eq!((cache.bytes, cache.pages.len()), (32, 2));
        assert!(cache.pages.contains(&page(1)) && cache.pages.contains(&page(3)));
        cache.put(page(4), batch(100));
        assert_eq!((cache.bytes, cache.pages.len()), (0, 0));
    }
}
