//! Why a dataset cannot be used.

use std::path::PathBuf;

use bistro_core::pages::{IndexError, PageId};
use bistro_core::ports::PortError;

use crate::fault::Fault;

/// Why a dataset cannot be used, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// The name says no source.
    #[error(
        "`{0}` is not a dataset: write `dir:PATH` for a folder, `hf:OWNER/NAME`, or `parquet:` and `https://…`, `s3://BUCKET/PREFIX` or a path"
    )]
    NoScheme(String),
    /// Nothing says how many rows the dataset has.
    #[error(
        "`{0}` needs an index that pins its rows: make one with `bistro-validator dataset index --dataset {0} --out FILE`, and give it as `--dataset.index FILE`"
    )]
    NoIndex(String),
    /// The index says how many rows there are but not where.
    #[error(
        "the index of `{dataset}` lists no parquet files: make one that does with `bistro-validator dataset index --dataset {place} --out FILE`, and give it as `--dataset.index FILE`"
    )]
    NoFiles {
        /// The index's dataset.
        dataset: String,
        /// Where the files are said to be.
        place: String,
    },
    /// An index that cannot be used.
    #[error("the dataset index {file} {why}")]
    IndexFile {
        /// Where it comes from.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// One page, or one file of the dataset.
    #[error("{at}: {why} ({name}); {hint}", name = fault.name(), hint = fault.hint())]
    Page {
        /// What kind of fault.
        fault: Fault,
        /// Which page or file.
        at: String,
        /// What was found.
        why: String,
    },
    /// The ids of another tokenizer would be noise to the run's model.
    #[error("the tokenizer `{0}` is unknown: `gpt2` is built in, or give the path of a tokenizer.json")]
    Tokenizer(String),
    /// A tokenizer's file that cannot be used.
    #[error("`{file}` is no usable tokenizer.json: {why}")]
    TokenizerFile {
        /// Which file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The tokenizer of a file failed on a text.
    #[error("the tokenizer failed: {0}")]
    Encode(String),
    /// Nobody signs for the servers.
    #[error("no certificates are found on this machine: install `ca-certificates`")]
    NoCertificates,
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be made: {0}")]
    Client(String),
    /// A number that makes no pages.
    #[error("{name} is {value}: it must lie between {min} and {max}")]
    Option {
        /// Which number.
        name: &'static str,
        /// Its value.
        value: u64,
        /// Smallest allowed.
        min: u64,
        /// Largest allowed.
        max: u64,
    },
    /// The folder is missing, or something else stands in its place.
    #[error("there is no folder `{0}`: give an existing folder of .txt, .jsonl or .parquet files")]
    NoFolder(PathBuf),
    /// The folder holds no text.
    #[error("no .txt, .jsonl or .parquet file with text lies in `{0}` or below it")]
    NoText(PathBuf),
    /// Files of several kinds, whose order would be anybody's guess.
    #[error("`{0}` holds .{1} and .{2} files: keep one kind in a folder")]
    Mixed(PathBuf, &'static str, &'static str),
    /// A line that is no row.
    #[error("`{file}` line {line} is no JSON object with a text in `{column}`: {why}")]
    JsonLine {
        /// Which file.
        file: PathBuf,
        /// Which line, from 1 on.
        line: usize,
        /// Where the text should be.
        column: String,
        /// What was found.
        why: String,
    },
    /// A file's name is no Unicode, so two machines might sort it differently.
    #[error("the name of `{0}` is not UTF-8: rename the file")]
    Name(PathBuf),
    /// A file is no text.
    #[error("`{file}` is not UTF-8 at byte {offset}: convert it (`iconv -t utf-8`) or take it out of the folder")]
    NotUtf8 {
        /// Which file.
        file: PathBuf,
        /// First byte that is not.
        offset: usize,
    },
    /// More than is kept in memory.
    #[error("the text files of `{folder}` have {bytes} bytes together, at most {max} are read: take some out")]
    TooLarge {
        /// The folder.
        folder: PathBuf,
        /// Bytes found.
        bytes: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// Fewer rows than pages need.
    #[error("`{folder}` is too small ({source}): add text, or make pages of fewer rows")]
    TooSmall {
        /// The folder.
        folder: PathBuf,
        /// Rows found and wanted.
        source: IndexError,
    },
    /// The disk or the permissions.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl PagesError {
    /// A fault of the page or file `at`.
    pub(crate) fn page(fault: Fault, at: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Page { fault, at: at.into(), why: why.into() }
    }

    /// The fault, if it is one of a page.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Page { fault, .. } => Some(*fault),
            _ => None,
        }
    }

    /// As the loops see it.
    pub fn to_port(&self, page: &PageId) -> PortError {
        let fault = self.fault().unwrap_or(Fault::Broken);
        let message = format!("page {}: {self}", spell(page));
        PortError { name: fault.name(), message, retry: fault.retry() }
    }
}

/// A page in words.
pub(crate) fn spell(page: &PageId) -> String {
    format!("{}/{}/{}", page.config, page.split, page.row)
}
