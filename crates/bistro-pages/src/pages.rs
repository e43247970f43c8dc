//! A source's pages as the loops see them: tokenised, packed, and kept in memory and on disk.

use std::sync::Arc;

use async_trait::async_trait;
use bistro_core::ids::Hash;
use bistro_core::pages::{DatasetIndex, PageId};
use bistro_core::ports::{Pages, PortError};
use bistro_core::tokens::{Packing, TokenBatch};

use crate::corpus::check;
use crate::disk::DiskCache;
use crate::error::{PagesError, spell};
use crate::fault::Fault;
use crate::memory::Memory;
use crate::packing::pack;
use crate::source::{MAX_ROW_BYTES, Source, has_page, shorten};
use crate::tokenizer::Tokenizer;

/// Pages of a [`Source`].
pub struct TokenPages {
    source: Arc<dyn Source>,
    recipe: Recipe,
    memory: Memory,
    disk: Option<Arc<DiskCache>>,
    /// Digest of all that a page's tokens follow from, besides its id.
    identity: Hash,
}

/// How rows become tokens.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The run's tokenizer.
    pub tokenizer: Tokenizer,
    /// How documents become sequences.
    pub packing: Packing,
    /// Tokens of a sequence.
    pub seq: usize,
}

impl TokenPages {
    /// Keeps at most `memory_bytes` bytes of pages in memory, and more in `disk` where there is one.
    pub fn new(
        source: Arc<dyn Source>,
        recipe: Recipe,
        memory_bytes: usize,
        disk: Option<DiskCache>,
    ) -> Result<Self, PagesError> {
        // A sequence of one token has nothing to predict.
        check("sequence length", recipe.seq as u64, 2, 1 << 20)?;
        let (index, tokenizer) = (source.index().digest(), recipe.tokenizer.digest());
        let identity = Hash::of(format!("{index} {tokenizer} {:?} {}", recipe.packing, recipe.seq).as_bytes());
        Ok(Self { source, recipe, memory: Memory::new(memory_bytes), disk: disk.map(Arc::new), identity })
    }

    /// How many pages are in memory.
    pub fn cached(&self) -> usize {
        self.memory.len()
    }

    fn key(&self, page: &PageId) -> Hash {
        let PageId { config, split, row } = page;
        Hash::of(format!("{}\0{config}\0{split}\0{row}", self.identity).as_bytes())
    }

    /// The page from the disk.
    async fn on_disk(&self, key: Hash) -> Option<TokenBatch> {
        let disk = Arc::clone(self.disk.as_ref()?);
        tokio::task::spawn_blocking(move || disk.get(key)).await.ok().flatten()
    }

    async fn fetch(&self, page: &PageId) -> Result<TokenBatch, PagesError> {
        let index = self.source.index();
        if !has_page(index, page) {
            let why = format!("{} has no such page", index.dataset);
            return Err(PagesError::page(Fault::NoSuchPage, spell(page), why));
        }
        let key = self.key(page);
        if let Some(batch) = self.on_disk(key).await {
            return Ok(batch);
        }
        let rows = self.source.rows(page).await?;
        let (recipe, disk, at) = (self.recipe.clone(), self.disk.clone(), spell(page));
        let work = move || {
            let batch = recipe.tokens(&rows, &at)?;
            if let Some(disk) = disk {
                disk.put(key, &batch);
            }
            Ok(batch)
        };
        let broken = |e| PagesError::page(Fault::Broken, spell(page), format!("tokenising failed: {e}"));
        tokio::task::spawn_blocking(work).await.map_err(broken)?
    }
}

impl Recipe {
    /// Tokens of a page's rows. `at` names it.
    pub fn tokens(&self, rows: &[String], at: &str) -> Result<TokenBatch, PagesError> {
        if rows.iter().all(|row| row.trim().is_empty()) {
            return Err(PagesError::page(Fault::EmptyText, at, format!("none of its {} rows has text", rows.len())));
        }
        let mut documents = Vec::with_capacity(rows.len());
        for row in rows {
            if row.len() > MAX_ROW_BYTES {
                tracing::warn!(
                    page = at,
                    bytes = row.len(),
                    "only the first {MAX_ROW_BYTES} bytes of a row are used (RowShortened)"
                );
            }
            documents.push(self.tokenizer.encode(shorten(row))?);
        }
        let batch = pack(self.packing, documents, self.tokenizer.end_of_text(), self.seq);
        if batch.is_empty() {
            return Err(PagesError::page(Fault::PageTooShort, at, format!("it has fewer than {} tokens", self.seq)));
        }
        Ok(batch)
    }
}

#[async_trait]
impl Pages for TokenPages {
    fn index(&self) -> &DatasetIndex {
        self.source.index()
    }

    async fn page(&self, page: &PageId) -> Result<TokenBatch, PortError> {
        if let Some(batch) = self.memory.get(page) {
            return Ok(batch);
        }
        let batch = self.fetch(page).await.map_err(|error| error.to_port(page))?;
        self.memory.put(page.clone(), batch.clone());
        Ok(batch)
    }
}
