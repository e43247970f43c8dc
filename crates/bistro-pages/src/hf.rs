//! Rows from Hugging Face's datasets-server.

use async_trait::async_trait;
use bistro_core::pages::{Config, DatasetIndex, PageId};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use crate::error::PagesError;
use crate::fault::Fault;
use crate::source::{MAX_PAGE_BYTES, Source};
use crate::web::Web;

/// The server.
pub const SERVER: &str = "https://datasets-server.huggingface.co";

/// Most rows of one answer.
const MAX_LENGTH: u64 = 100;

/// Times that a page is asked for whose answer is whole but wrong.
const ATTEMPTS: u32 = 3;

/// A dataset behind `/rows`.
pub struct HfRows {
    web: Web,
    server: Url,
    index: DatasetIndex,
    column: String,
}

/// What `/rows` answers.
#[derive(Deserialize)]
struct Answer {
    rows: Vec<Row>,
    num_rows_total: Option<u64>,
    #[serde(default)]
    partial: bool,
}

#[derive(Deserialize)]
struct Row {
    #[serde(rename = "row_idx")]
    number: u64,
    #[serde(rename = "row")]
    cells: serde_json::Map<String, Value>,
    #[serde(default)]
    truncated_cells: Vec<String>,
}

#[derive(Deserialize)]
struct Size {
    size: Sizes,
    #[serde(default)]
    partial: bool,
}

#[derive(Deserialize)]
struct Sizes {
    splits: Vec<SplitSize>,
}

#[derive(Deserialize)]
struct SplitSize {
    config: String,
    split: String,
    num_rows: u64,
}

impl HfRows {
    /// The dataset that `index` names, its texts in `column`.
    pub fn new(web: Web, server: &str, index: DatasetIndex, column: &str) -> Result<Self, PagesError> {
        Ok(Self { web, server: parse(server)?, index, column: column.into() })
    }

    /// At most [`MAX_LENGTH`] rows from `row` on, of a split of `total` rows.
    async fn ask(&self, page: &PageId, row: u64, length: u64, total: u64) -> Result<Vec<String>, PagesError> {
        let mut url = endpoint(&self.server, "rows");
        url.query_pairs_mut()
            .append_pair("dataset", &self.index.dataset)
            .append_pair("config", &page.config)
            .append_pair("split", &page.split)
            .append_pair("offset", &row.to_string())
            .append_pair("length", &length.to_string());
        let mut attempt = 1;
        loop {
            let answer = self.web.get(&url, None, MAX_PAGE_BYTES).await?;
            let outcome = self.texts(&answer.bytes, row, length, total);
            match outcome {
                Err(error) if attempt < ATTEMPTS && error.fault().is_some_and(Fault::worth_asking_again) => {
                    tracing::debug!(attempt, "{error}");
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// The texts of an answer that has exactly the rows that were asked for.
    fn texts(&self, bytes: &[u8], row: u64, length: u64, total: u64) -> Result<Vec<String>, PagesError> {
        let fault = |fault, why: String| PagesError::page(fault, self.server.host_str().unwrap_or_default(), why);
        let answer: Answer = serde_json::from_slice(bytes).map_err(|e| fault(Fault::BadAnswer, e.to_string()))?;
        match answer.num_rows_total {
            Some(found) if found != total && !answer.partial => {
                return Err(fault(
                    Fault::DatasetChanged,
                    format!("the split has {found} rows, its index says {total}"),
                ));
            }
            Some(found) if answer.partial && found < row + length => {
                let why =
                    format!("the server has only the first {found} rows of the split; its parquet files have all");
                return Err(fault(Fault::MissingRows, why));
            }
            _ => {}
        }
        if (answer.rows.len() as u64) < length {
            return Err(fault(Fault::ShortPage, format!("{length} rows were asked for, {} came", answer.rows.len())));
        }
        let mut texts = Vec::new();
        for (number, found) in (row..row + length).zip(answer.rows) {
            if found.number != number {
                return Err(fault(Fault::MissingRows, format!("row {} stands in the place of {number}", found.number)));
            }
            if found.truncated_cells.contains(&self.column) {
                return Err(fault(Fault::RowCut, format!("row {number} came cut short")));
            }
            texts.push(match found.cells.into_iter().find(|(name, _)| *name == self.column) {
                Some((_, Value::String(text))) => text,
                Some((_, Value::Null)) => String::new(),
                _ => return Err(fault(Fault::BadAnswer, format!("row {number} has no text in `{}`", self.column))),
            });
        }
        Ok(texts)
    }
}

#[async_trait]
impl Source for HfRows {
    fn index(&self) -> &DatasetIndex {
        &self.index
    }

    async fn rows(&self, page: &PageId) -> Result<Vec<String>, PagesError> {
        let total =
            self.index.configs.iter().find(|c| c.name == page.config && c.split == page.split).map_or(0, |c| c.rows);
        let (mut row, end) = (page.row, page.row + self.index.rows_per_page);
        let mut texts = Vec::new();
        while row < end {
            let length = MAX_LENGTH.min(end - row);
            texts.extend(self.ask(page, row, length, total).await?);
            row += length;
        }
        Ok(texts)
    }
}

/// All configs and splits of a dataset with their row counts, as the server has them now.
pub async fn sizes(web: &Web, server: &str, dataset: &str) -> Result<Vec<Config>, PagesError> {
    let mut url = endpoint(&parse(server)?, "size");
    url.query_pairs_mut().append_pair("dataset", dataset);
    let answer = web.get(&url, None, MAX_PAGE_BYTES).await?;
    let size: Size = serde_json::from_slice(&answer.bytes)
        .map_err(|e| PagesError::page(Fault::BadAnswer, url.path(), e.to_string()))?;
    if size.partial {
        tracing::warn!("the server has only a part of {dataset}; an index of its parquet files would be whole");
    }
    let config = |s: SplitSize| Config { name: s.config, split: s.split, rows: s.num_rows };
    Ok(size.size.splits.into_iter().map(config).collect())
}

fn parse(server: &str) -> Result<Url, PagesError> {
    Url::parse(server).map_err(|e| PagesError::page(Fault::NotFound, server, e.to_string()))
}

fn endpoint(server: &Url, name: &str) -> Url {
    let mut url = server.clone();
    url.set_path(&format!("{}/{name}", server.path().trim_end_matches('/')));
    url
}
