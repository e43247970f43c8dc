//! Pages of a dataset as packed tokens.
//!
//! A page is some consecutive rows (documents) of a dataset. Its rows are tokenised, joined with end-of-text and cut into
//! sequences of the run's length; the same page gives the same tokens on every machine.
//!
//! # Layout
//! - [`mod@open`]: a dataset by its name, such as `dir:corpus`.
//! - [`corpus`]: a folder of text files as a dataset.
//! - [`rows`]: where a text is cut into rows.
//! - [`tokenizer`]: text to token ids.
//! - [`packing`]: documents to sequences.
//! - [`source`]: the corpus as the loops see it, with a bounded cache.
//! - [`prefetch`]: the next pages made ready while the model computes.
//! - [`error`]: why a dataset cannot be used.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod corpus;
pub mod error;
pub mod open;
pub mod packing;
pub mod prefetch;
pub mod rows;
pub mod source;
pub mod tokenizer;

pub use corpus::{Corpus, CorpusOptions};
pub use error::PagesError;
pub use open::{PageOptions, open};
pub use packing::pack;
pub use prefetch::Prefetcher;
pub use source::CorpusPages;
pub use tokenizer::Tokenizer;
