//! A dataset by its name.

use std::path::Path;
use std::sync::Arc;

use bistro_core::ports::Pages;

use crate::corpus::{Corpus, CorpusOptions};
use crate::error::PagesError;
use crate::source::CorpusPages;
use crate::tokenizer::Tokenizer;

/// How a dataset becomes tokens.
#[derive(Clone, Copy, Debug)]
pub struct PageOptions {
    /// The run's tokenizer.
    pub tokenizer: Tokenizer,
    /// Tokens of a sequence.
    pub seq: usize,
    /// Rows and pages of a folder.
    pub corpus: CorpusOptions,
    /// Bytes of packed pages that stay in memory.
    pub cache_bytes: usize,
}

impl PageOptions {
    /// The usual options: 64 MiB of cache hold more pages than a window has.
    pub fn new(tokenizer: Tokenizer, seq: usize) -> Self {
        Self { tokenizer, seq, corpus: CorpusOptions::default(), cache_bytes: 64 << 20 }
    }
}

/// Opens the dataset `dir:PATH`. Reads all of it, and blocks meanwhile.
pub fn open(dataset: &str, options: &PageOptions) -> Result<Arc<dyn Pages>, PagesError> {
    let Some((scheme, rest)) = dataset.split_once(':') else {
        return Err(PagesError::NoScheme(dataset.into()));
    };
    match scheme {
        "dir" => {
            let corpus = Corpus::open(Path::new(rest), options.corpus)?;
            Ok(Arc::new(CorpusPages::new(corpus, options.tokenizer, options.seq, options.cache_bytes)?))
        }
        "hf" | "parquet" => Err(PagesError::Scheme { scheme: scheme.into(), dataset: dataset.into() }),
        _ => Err(PagesError::NoScheme(dataset.into())),
    }
}
