//! A folder of text as a dataset, kept in memory.
//!
//! All `.txt` or all `.jsonl` files in the folder and below it, in the order of their paths, make one config of one split.
//! What the index says follows from the files' names and contents alone: two machines with the same files agree, wherever
//! they keep them.

use std::path::Path;

use async_trait::async_trait;
use bistro_core::ids::Hash;
use bistro_core::pages::index::MAX_ROWS_PER_PAGE;
use bistro_core::pages::{Config, DatasetIndex, PageId};

use crate::error::{PagesError, spell};
use crate::fault::Fault;
use crate::folder::{self, FolderKind};
use crate::rows;
use crate::source::Source;

/// Name of the only config of a folder.
pub const CONFIG: &str = "corpus";

/// Name of its only split.
pub const SPLIT: &str = "train";

/// Most text that is read, bytes: it is kept in memory.
pub const MAX_BYTES: u64 = 4 << 30;

/// Longest row that a text is cut into, bytes.
pub const MAX_ROW_BYTES: u64 = 64 << 10;

/// How a folder becomes rows and pages. Part of what everybody must agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorpusOptions {
    /// Rows of a page. The original's is 100.
    pub rows_per_page: u64,
    /// Most bytes of a row. Web pages, which the original's rows are, have about 2 KiB of text or more.
    pub row_bytes: usize,
    /// Where the text of a JSON line stands.
    pub column: String,
}

impl Default for CorpusOptions {
    fn default() -> Self {
        Self { rows_per_page: 100, row_bytes: 2048, column: "text".into() }
    }
}

/// The text of a folder, cut into rows.
pub struct Corpus {
    index: DatasetIndex,
    /// All files, one after another.
    text: String,
    /// Where each row ends in `text`; it starts where the one before ends.
    ends: Vec<usize>,
}

impl Corpus {
    /// Reads all of a folder into memory. Blocks: a few hundred megabytes a second.
    pub fn open(folder: &Path, options: &CorpusOptions) -> Result<Self, PagesError> {
        check("rows_per_page", options.rows_per_page, 1, MAX_ROWS_PER_PAGE)?;
        check("row_bytes", options.row_bytes as u64, 64, MAX_ROW_BYTES)?;
        let (kind, files) = folder::files(folder)?;
        let mut corpus = Builder::new(kind, options);
        for (name, path) in &files {
            corpus.add(folder, name, path)?;
        }
        if corpus.text.trim().is_empty() {
            return Err(PagesError::NoText(folder.into()));
        }
        corpus.finish(folder)
    }

    /// What everybody's folder must agree in.
    pub fn index(&self) -> &DatasetIndex {
        &self.index
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.ends.len()
    }

    /// Row `number`, or nothing beyond the last.
    pub fn row(&self, number: usize) -> Option<&str> {
        let start = if number == 0 { 0 } else { *self.ends.get(number - 1)? };
        Some(&self.text[start..*self.ends.get(number)?])
    }

    /// All the text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The rows of a page, or nothing if the corpus has no such page.
    pub fn page(&self, page: &PageId) -> Option<impl Iterator<Item = &str>> {
        let end = page.row.checked_add(self.index.rows_per_page)?;
        let known = page.config == CONFIG && page.split == SPLIT && end <= self.rows() as u64;
        known.then(|| (page.row as usize..end as usize).filter_map(|number| self.row(number)))
    }
}

#[async_trait]
impl Source for Corpus {
    fn index(&self) -> &DatasetIndex {
        &self.index
    }

    async fn rows(&self, page: &PageId) -> Result<Vec<String>, PagesError> {
        let missing = || PagesError::page(Fault::NoSuchPage, spell(page), "the folder has no such page");
        Ok(self.page(page).ok_or_else(missing)?.map(String::from).collect())
    }
}

/// A corpus in the making.
struct Builder<'a> {
    kind: FolderKind,
    options: &'a CorpusOptions,
    text: String,
    ends: Vec<usize>,
    hasher: blake3::Hasher,
}

impl<'a> Builder<'a> {
    fn new(kind: FolderKind, options: &'a CorpusOptions) -> Self {
        let mut hasher = blake3::Hasher::new();
        if kind == FolderKind::Text {
            hasher.update(b"bistro-corpus/1");
            hasher.update(&(options.row_bytes as u64).to_le_bytes());
        } else {
            hasher.update(b"bistro-lines/1");
            hasher.update(&(options.column.len() as u64).to_le_bytes());
            hasher.update(options.column.as_bytes());
        }
        Self { kind, options, text: String::new(), ends: Vec::new(), hasher }
    }

    /// Adds one file: its rows never run into the next one's.
    fn add(&mut self, folder: &Path, name: &str, path: &Path) -> Result<(), PagesError> {
        let bytes = self.text.len() as u64 + fs_err::metadata(path)?.len();
        if bytes > MAX_BYTES {
            return Err(PagesError::TooLarge { folder: folder.into(), bytes, max: MAX_BYTES });
        }
        let text = String::from_utf8(fs_err::read(path)?)
            .map_err(|e| PagesError::NotUtf8 { file: path.into(), offset: e.utf8_error().valid_up_to() })?;
        // Lengths precede what they measure, so that no text can be moved between a file and its neighbour unnoticed.
        for part in [name, &text] {
            self.hasher.update(&(part.len() as u64).to_le_bytes());
            self.hasher.update(part.as_bytes());
        }
        if self.kind == FolderKind::JsonLines {
            return self.add_lines(path, &text);
        }
        let start = self.text.len();
        self.ends.extend(rows::cut(&text, self.options.row_bytes).map(|row| start + row.end));
        self.text.push_str(&text);
        Ok(())
    }

    /// Adds a row for each line that is not empty.
    fn add_lines(&mut self, path: &Path, text: &str) -> Result<(), PagesError> {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let row = rows::of_json(line, &self.options.column).map_err(|why| PagesError::JsonLine {
                file: path.into(),
                line: number + 1,
                column: self.options.column.clone(),
                why,
            })?;
            self.text.push_str(&row);
            self.ends.push(self.text.len());
        }
        Ok(())
    }

    fn finish(self, folder: &Path) -> Result<Corpus, PagesError> {
        let content = Hash(*self.hasher.finalize().as_bytes());
        let config = Config { name: CONFIG.into(), split: SPLIT.into(), rows: self.ends.len() as u64 };
        let index = DatasetIndex {
            dataset: format!("dir:{}", content.hash16()),
            rows_per_page: self.options.rows_per_page,
            row_bytes: (self.kind == FolderKind::Text).then_some(self.options.row_bytes as u64),
            content: Some(content),
            configs: vec![config],
        };
        index.check().map_err(|source| PagesError::TooSmall { folder: folder.into(), source })?;
        Ok(Corpus { index, text: self.text, ends: self.ends })
    }
}

/// Checks that a number lies within its bounds.
pub(crate) fn check(name: &'static str, value: u64, min: u64, max: u64) -> Result<(), PagesError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(PagesError::Option { name, value, min, max }) }
}
