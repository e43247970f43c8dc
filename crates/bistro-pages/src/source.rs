//! The port behind which the sources stand.

use async_trait::async_trait;
use bistro_core::pages::{DatasetIndex, PageId};

use crate::error::PagesError;

/// Most bytes of a row that are tokenised; the rest of a longer one is left away, with a warning. A web page has a few KiB;
/// one row of 10 MB would otherwise be a day's work for a small machine.
pub const MAX_ROW_BYTES: usize = 1 << 20;

/// Most bytes of a page's answer, whatever form it has. Larger ones are a fault.
pub const MAX_PAGE_BYTES: u64 = 512 << 20;

/// Rows of a dataset, wherever they lie.
#[async_trait]
pub trait Source: Send + Sync {
    /// Configs and row counts, pinned for the run.
    fn index(&self) -> &DatasetIndex;

    /// The texts of the page's rows, in order: exactly `rows_per_page` of them, a missing text as an empty one. `page` is one
    /// of the index's. Cancel-safe; every request inside has a deadline, and repetitions are bounded.
    async fn rows(&self, page: &PageId) -> Result<Vec<String>, PagesError>;
}

/// Whether the index has the page.
pub fn has_page(index: &DatasetIndex, page: &PageId) -> bool {
    let config = index.configs.iter().find(|config| config.name == page.config && config.split == page.split);
    config.is_some_and(|config| page.row.checked_add(index.rows_per_page).is_some_and(|end| end <= config.rows))
}

/// At most [`MAX_ROW_BYTES`] of a row, in whole characters.
pub fn shorten(row: &str) -> &str {
    &row[..row.floor_char_boundary(MAX_ROW_BYTES)]
}
