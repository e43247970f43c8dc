//! Pages of a dataset as packed tokens.
//!
//! A page is some consecutive rows (documents) of a dataset. Its rows are fetched, tokenised, and packed into sequences of the
//! run's length; the same page gives the same tokens on every machine, wherever it reads them.
//!
//! # Layout
//! - [`mod@open`]: a dataset by its name, such as `dir:corpus` or `hf:OWNER/NAME`.
//! - [`source`]: the port behind which the sources stand.
//!   - [`corpus`]: a folder of text or JSON lines in memory; [`folder`], [`rows`]: its files and where a text is cut.
//!   - [`hf`]: Hugging Face's datasets-server.
//!   - [`parquet`]: parquet files by ranges, of the hub, a bucket or a disk ([`blobs`]).
//! - [`index_file`]: the file that pins a dataset's rows and files.
//! - [`survey`]: that file made, and checked against its source.
//! - [`web`]: bounded requests over HTTPS.
//! - [`tokenizer`]: text to token ids; [`packing`]: documents to sequences.
//! - [`pages`]: all this as the loops see it, with pages kept in [`memory`] and on [`disk`].
//! - [`prefetch`]: the next pages made ready while the model computes.
//! - [`fault`], [`error`]: what can go wrong with a page, and why a dataset cannot be used.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod blobs;
pub mod corpus;
pub mod disk;
pub mod error;
pub mod fault;
pub mod folder;
pub mod hf;
pub mod index_file;
pub mod memory;
pub mod open;
pub mod packing;
pub mod pages;
pub mod parquet;
pub mod prefetch;
pub mod rows;
pub mod source;
pub mod survey;
pub mod tokenizer;
pub mod web;

pub use corpus::{Corpus, CorpusOptions};
pub use error::PagesError;
pub use fault::Fault;
pub use index_file::IndexFile;
pub use open::{DatasetName, PageOptions, SourceOptions, open};
pub use packing::pack;
pub use pages::{Recipe, TokenPages};
pub use prefetch::Prefetcher;
pub use source::Source;
pub use tokenizer::Tokenizer;
