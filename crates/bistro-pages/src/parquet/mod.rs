//! Rows from parquet files, of which only what a page needs is read: once the footer, then the text column's part of the row
//! groups that the page lies in.
//!
//! - this file: the files as a source.
//! - [`footer`]: a file's table of contents.
//! - [`read`]: rows of one file.
//!   - `text`: those of an ordinary file, with little unpacked and nothing copied twice; `page`, `hybrid`, `unpack`: a column's
//!     pages, the numbers in them, and their beginning without the rest, in memory that a thread keeps (`scratch`).
//! - [`scan`]: an index of files, from their footers.

pub mod footer;
mod hybrid;
mod page;
pub mod read;
pub mod scan;
mod scratch;
mod text;
mod unpack;

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bistro_core::pages::{DatasetIndex, PageId};
use lru::LruCache;
use tokio::runtime::Handle;

use crate::blobs::Blobs;
use crate::error::{PagesError, spell};
use crate::fault::Fault;
use crate::index_file::{IndexFile, IndexedFile};
use crate::source::Source;
use footer::Footer;

/// Footers that stay in memory. One of FineWeb-Edu's has some hundred kilobytes.
const FOOTERS: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Parquet files as a source.
pub struct ParquetRows {
    blobs: Arc<dyn Blobs>,
    index: DatasetIndex,
    file: IndexFile,
    footers: Mutex<LruCache<String, Arc<Footer>>>,
}

impl ParquetRows {
    /// The files that `file` lists, below the place of `blobs`.
    pub fn new(blobs: Arc<dyn Blobs>, file: IndexFile, rows_per_page: u64) -> Result<Self, PagesError> {
        if file.configs.iter().any(|config| config.files.is_empty()) {
            return Err(PagesError::NoFiles { dataset: file.dataset, place: format!("parquet:{}", blobs.place("")) });
        }
        let index = file.index(rows_per_page);
        Ok(Self::with_index(blobs, file, index))
    }

    /// The same under another index over the same rows.
    pub(crate) fn with_index(blobs: Arc<dyn Blobs>, file: IndexFile, index: DatasetIndex) -> Self {
        Self { blobs, index, file, footers: Mutex::new(LruCache::new(FOOTERS)) }
    }

    async fn footer(&self, file: &IndexedFile) -> Result<Arc<Footer>, PagesError> {
        let known = || self.footers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(footer) = known().get(file.path()) {
            return Ok(Arc::clone(footer));
        }
        let footer = Arc::new(Footer::read(self.blobs.as_ref(), file.path(), file.bytes(), &self.file.column).await?);
        if !footer.groups().eq(file.groups()) {
            let why = "its row groups are not those of the index";
            return Err(PagesError::page(Fault::DatasetChanged, self.blobs.place(file.path()), why));
        }
        known().put(file.path().into(), Arc::clone(&footer));
        Ok(footer)
    }
}

#[async_trait]
impl Source for ParquetRows {
    fn index(&self) -> &DatasetIndex {
        &self.index
    }

    async fn rows(&self, page: &PageId) -> Result<Vec<String>, PagesError> {
        let config = self.file.configs.iter().find(|c| c.name == page.config && c.split == page.split);
        let (mut skip, mut missing) = (page.row, self.index.rows_per_page);
        let mut rows = Vec::new();
        for file in config.into_iter().flat_map(|config| &config.files) {
            let in_file = file.rows().unwrap_or(0);
            if skip >= in_file {
                skip -= in_file;
                continue;
            }
            let take = missing.min(in_file - skip);
            let footer = self.footer(file).await?;
            let (blobs, path) = (Arc::clone(&self.blobs), file.path().to_owned());
            // Decoding computes, so it has a thread for it; what it reads still comes through the runtime.
            let runtime = Handle::current();
            let decode = move || runtime.block_on(read::rows(blobs, path, footer, skip..skip + take));
            let broken = |e| PagesError::page(Fault::BadParquet, self.blobs.place(file.path()), format!("{e}"));
            rows.extend(tokio::task::spawn_blocking(decode).await.map_err(broken)??);
            (skip, missing) = (0, missing - take);
            if missing == 0 {
                return Ok(rows);
            }
        }
        Err(PagesError::page(Fault::NoSuchPage, spell(page), format!("{missing} of its rows are in no file")))
    }
}
