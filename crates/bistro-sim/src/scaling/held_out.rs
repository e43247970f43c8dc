//! A dataset whose last pages nobody trains on or is judged by: losses of long and short runs are compared on them.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use bistro_core::pages::{DatasetIndex, PageId};
use bistro_core::ports::{Pages, PortError};
use bistro_core::tokens::TokenBatch;

use crate::subject::batch;

/// All but the last pages of each config.
pub struct HeldOut {
    inner: Arc<dyn Pages>,
    index: DatasetIndex,
    count: u64,
}

impl HeldOut {
    /// Holds out the last `count` pages of each config.
    ///
    /// # Errors
    /// A config has too few rows for that.
    pub fn new(inner: Arc<dyn Pages>, count: u64) -> Result<Self> {
        let mut index = inner.index().clone();
        for config in &mut index.configs {
            let (name, rows) = (&config.name, config.rows);
            let left = rows.checked_sub(count * index.rows_per_page);
            config.rows =
                left.with_context(|| format!("config `{name}` has {rows} rows, too few for {count} pages"))?;
        }
        index.check()?;
        ensure!(count > 0, "no page is held out");
        Ok(Self { inner, index, count })
    }

    /// The pages that are held out, of the last config.
    pub async fn yardstick(&self) -> Result<TokenBatch, PortError> {
        let Some(config) = self.index.configs.last() else { return Ok(TokenBatch::default()) };
        let rows = (0..self.count).map(|page| config.rows + page * self.index.rows_per_page);
        batch(self.inner.as_ref(), config, rows).await
    }
}

#[async_trait]
impl Pages for HeldOut {
    fn index(&self) -> &DatasetIndex {
        &self.index
    }

    async fn page(&self, page: &PageId) -> Result<TokenBatch, PortError> {
        self.inner.page(page).await
    }
}
