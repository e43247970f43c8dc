//! The file that pins a dataset: configs, splits and row counts, and for parquet the files and the rows of their row groups.
//!
//! ```json
//! {"version":1,"dataset":"OWNER/NAME","column":"text","digest":"…","configs":[
//! {"name":"…","split":"train","rows":51,"files":[["data/…/train-00000.parquet",81920,[[10,5],[1,1]]]]}
//! ]}
//! ```
//! A file is its path, its bytes, and the rows of its row groups in runs: five of ten rows, one of one. What everybody must
//! agree on is the [`DatasetIndex`]: names and row counts. Where the rows lie is each operator's own business, so one may
//! read them from the hub while another has a mirror.

use std::path::Path;

use bistro_core::ids::Hash;
use bistro_core::pages::{Config, DatasetIndex};
use serde::{Deserialize, Serialize};

use crate::blobs::{MAX_FILES, is_plain};
use crate::error::PagesError;

/// Largest file that is read, bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Indexes that ship with the programs: dataset, text.
pub const SHIPPED: [(&str, &str); 1] = [(
    "HuggingFaceFW/fineweb-edu-score-2",
    include_str!("../../../config/datasets/HuggingFaceFW--fineweb-edu-score-2.json"),
)];

/// A pinned dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexFile {
    /// Version of this file's form: 1.
    pub version: u32,
    /// Name of the dataset, such as `HuggingFaceFW/fineweb-edu-score-2`.
    pub dataset: String,
    /// The column that holds the text.
    pub column: String,
    /// BLAKE3 over all of the rest; see [`IndexFile::computed_digest`].
    pub digest: Hash,
    /// The configs, in the order in which the schedule numbers them.
    pub configs: Vec<IndexedConfig>,
}

/// One config and split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexedConfig {
    /// Name.
    pub name: String,
    /// Split.
    pub split: String,
    /// Rows.
    pub rows: u64,
    /// Its parquet files in the order of their rows; empty where only the counts are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<IndexedFile>,
}

/// One parquet file: path below the dataset's place, bytes, and runs of (rows of a row group, how many such groups).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedFile(pub String, pub u64, pub Vec<(u64, u64)>);

impl IndexedFile {
    /// Its path.
    pub fn path(&self) -> &str {
        &self.0
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.1
    }

    /// Rows of each of its row groups.
    pub fn groups(&self) -> impl Iterator<Item = u64> + '_ {
        self.2.iter().flat_map(|(rows, times)| std::iter::repeat_n(*rows, *times as usize))
    }

    /// Its rows; `None` beyond what can be counted.
    pub fn rows(&self) -> Option<u64> {
        self.2.iter().try_fold(0_u64, |sum, (rows, times)| sum.checked_add(rows.checked_mul(*times)?))
    }
}

impl IndexFile {
    /// Pins `configs`.
    pub fn new(dataset: &str, column: &str, configs: Vec<IndexedConfig>) -> Self {
        let mut this =
            Self { version: 1, dataset: dataset.into(), column: column.into(), digest: Hash([0; 32]), configs };
        this.digest = this.computed_digest();
        this
    }

    /// The index that ships with the programs for a dataset.
    pub fn shipped(dataset: &str) -> Option<Result<Self, PagesError>> {
        let (_, text) = SHIPPED.iter().find(|(name, _)| *name == dataset)?;
        Some(Self::parse(text.as_bytes(), dataset))
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, PagesError> {
        let name = path.display().to_string();
        if fs_err::metadata(path)?.len() > MAX_FILE_BYTES {
            return Err(PagesError::IndexFile { file: name, why: format!("has more than {MAX_FILE_BYTES} bytes") });
        }
        Self::parse(&fs_err::read(path)?, &name)
    }

    /// Reads and checks the text of a file; `name` is for messages.
    pub fn parse(text: &[u8], name: &str) -> Result<Self, PagesError> {
        let bad = |why: String| PagesError::IndexFile { file: name.into(), why };
        let this: Self = serde_json::from_slice(text).map_err(|e| bad(format!("is none: {e}")))?;
        if this.version != 1 {
            return Err(bad(format!("is of version {}; this program knows version 1", this.version)));
        }
        let digest = this.computed_digest();
        if digest != this.digest {
            return Err(bad(format!("was changed: its digest is {digest}, it says {}", this.digest)));
        }
        if this.configs.iter().map(|config| config.files.len()).sum::<usize>() > MAX_FILES {
            return Err(bad(format!("lists more than {MAX_FILES} files")));
        }
        for config in &this.configs {
            config.check().map_err(|why| bad(format!("says of {}/{}: {why}", config.name, config.split)))?;
        }
        Ok(this)
    }

    /// BLAKE3 of version, dataset, column and configs as one JSON array without blanks.
    pub fn computed_digest(&self) -> Hash {
        let content = (self.version, &self.dataset, &self.column, &self.configs);
        Hash::of(&serde_json::to_vec(&content).unwrap_or_default())
    }

    /// What everybody must agree on.
    pub fn index(&self, rows_per_page: u64) -> DatasetIndex {
        let config = |c: &IndexedConfig| Config { name: c.name.clone(), split: c.split.clone(), rows: c.rows };
        let configs = self.configs.iter().map(config).collect();
        DatasetIndex { dataset: self.dataset.clone(), rows_per_page, row_bytes: None, content: None, configs }
    }

    /// The file's text, a config a line.
    pub fn to_text(&self) -> String {
        let json = |value: &dyn Fn() -> serde_json::Result<String>| value().unwrap_or_default();
        let lines: Vec<_> = self.configs.iter().map(|config| json(&|| serde_json::to_string(config))).collect();
        format!(
            "{{\"version\":{},\"dataset\":{},\"column\":{},\"digest\":\"{}\",\"configs\":[\n{}\n]}}\n",
            self.version,
            json(&|| serde_json::to_string(&self.dataset)),
            json(&|| serde_json::to_string(&self.column)),
            self.digest,
            lines.join(",\n")
        )
    }

    /// Where `self` and `other` differ, in words: at most `most` lines.
    pub fn differences(&self, other: &Self, most: usize) -> Vec<String> {
        let mut lines = Vec::new();
        if self.dataset != other.dataset {
            lines.push(format!("dataset: {} → {}", self.dataset, other.dataset));
        }
        if self.column != other.column {
            lines.push(format!("column: {} → {}", self.column, other.column));
        }
        let key = |c: &IndexedConfig| format!("{}/{}", c.name, c.split);
        for ours in &self.configs {
            match other.configs.iter().find(|theirs| key(theirs) == key(ours)) {
                None => lines.push(format!("{}: {} rows → gone", key(ours), ours.rows)),
                Some(theirs) if theirs.rows != ours.rows => {
                    lines.push(format!("{}: {} rows → {}", key(ours), ours.rows, theirs.rows));
                }
                Some(theirs) if ours.has_files() && theirs.has_files() && theirs.files != ours.files => {
                    lines.push(format!("{}: other files or row groups", key(ours)));
                }
                Some(_) => {}
            }
        }
        for theirs in &other.configs {
            if !self.configs.iter().any(|ours| key(ours) == key(theirs)) {
                lines.push(format!("{}: new, {} rows", key(theirs), theirs.rows));
            }
        }
        let order = |index: &Self| index.configs.iter().map(key).collect::<Vec<_>>();
        if lines.is_empty() && order(self) != order(other) {
            lines.push("the configs stand in another order".into());
        }
        lines.truncate(most);
        lines
    }
}

impl IndexedConfig {
    fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// That its files make up its rows, and lie where they should.
    fn check(&self) -> Result<(), String> {
        let mut sum = 0_u64;
        for file in &self.files {
            if !is_plain(file.path()) {
                return Err(format!("{:?} is no path below the dataset", file.path()));
            }
            if file.2.iter().map(|(_, times)| *times).fold(0_u64, u64::saturating_add) > 1 << 20 {
                return Err(format!("{} has too many row groups", file.path()));
            }
            sum = file.rows().and_then(|rows| sum.checked_add(rows)).ok_or("too many rows")?;
        }
        if !self.files.is_empty() && sum != self.rows {
            return Err(format!("its files have {sum} rows, not {}", self.rows));
        }
        Ok(())
    }
}
