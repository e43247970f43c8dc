//! The dataset's configs and row counts. Never taken live: a row count that moved would move every page.

use serde::{Deserialize, Serialize};

use crate::ids::Hash;

/// Most rows of a page.
pub const MAX_ROWS_PER_PAGE: u64 = 1 << 16;

/// One config of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name, such as `CC-MAIN-2013-20`.
    pub name: String,
    /// Split, such as `train`.
    pub split: String,
    /// Rows (documents).
    pub rows: u64,
}

/// All configs in the order in which the schedule numbers them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetIndex {
    /// Name of the dataset, such as `HuggingFaceFW/fineweb-edu-score-2`.
    pub dataset: String,
    /// Rows of a page.
    pub rows_per_page: u64,
    /// Most bytes of a row where rows are cut out of text files; absent where the dataset has rows of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_bytes: Option<u64>,
    /// Digest of the rows themselves where they are at hand (a folder); absent for a remote dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Hash>,
    /// The configs.
    pub configs: Vec<Config>,
}

/// Why an index cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// There is nothing to draw from.
    #[error("the dataset index of `{0}` lists no config")]
    Empty(String),
    /// No page, or one that no machine could hold.
    #[error("pages of {0} rows: they must have 1 to {MAX_ROWS_PER_PAGE}")]
    RowsPerPage(u64),
    /// A config has too few rows for one page.
    #[error("config `{config}` of `{dataset}` has {rows} rows: a page of {rows_per_page} needs at least {}", rows_per_page + 2)]
    TooFewRows {
        /// The dataset.
        dataset: String,
        /// Its config.
        config: String,
        /// Rows found.
        rows: u64,
        /// Rows of a page.
        rows_per_page: u64,
    },
    /// The schedule draws 32-bit numbers, as the original does.
    #[error("config `{0}` has more than 2³² rows, which the page schedule cannot number")]
    TooManyRows(String),
}

impl DatasetIndex {
    /// Checks that a page can be drawn from every config.
    pub fn check(&self) -> Result<(), IndexError> {
        if self.configs.is_empty() {
            return Err(IndexError::Empty(self.dataset.clone()));
        }
        if !(1..=MAX_ROWS_PER_PAGE).contains(&self.rows_per_page) {
            return Err(IndexError::RowsPerPage(self.rows_per_page));
        }
        for config in &self.configs {
            if config.rows < self.rows_per_page + 2 {
                return Err(IndexError::TooFewRows {
                    dataset: self.dataset.clone(),
                    config: config.name.clone(),
                    rows: config.rows,
                    rows_per_page: self.rows_per_page,
                });
            }
            if u32::try_from(config.rows).is_err() {
                return Err(IndexError::TooManyRows(config.name.clone()));
            }
        }
        Ok(())
    }

    /// What everybody's index must agree in: BLAKE3 of its JSON.
    pub fn digest(&self) -> Hash {
        Hash::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}
