//! A Llama and text for it, as the examples train it: pages of a few sequences, so that many networks can be run.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bistro_core::ids::NetUid;
use bistro_core::pages::{DatasetIndex, PageId};
use bistro_core::ports::{Learner, Pages, PortError, Retry};
use bistro_core::rules::{Mechanism, Rules};
use bistro_core::tokens::{Packing, TokenBatch};
use bistro_model::{LlamaConfig, LlamaLearner, TrainOptions, device};
use bistro_pages::{CorpusOptions, PageOptions, Recipe, SourceOptions, TokenPages, Tokenizer};

/// Tokens of a sequence, and one more.
pub(crate) const SEQ: usize = 65;

/// Bytes of a row of text; a page is one.
const ROW_BYTES: usize = 2048;

/// Pages of GPT-2 tokens of all `.txt` files of a folder.
pub(crate) fn open(folder: &Path) -> Result<Arc<dyn Pages>> {
    let recipe = Recipe { tokenizer: Tokenizer::find("gpt2")?, packing: Packing::Join, seq: SEQ };
    let corpus = CorpusOptions { rows_per_page: 1, row_bytes: ROW_BYTES, ..CorpusOptions::default() };
    let source = SourceOptions { corpus, ..SourceOptions::default() };
    let options = PageOptions { source, ..PageOptions::new(recipe) };
    let name = format!("dir:{}", folder.display());
    Ok(Arc::new(Still(bistro_pages::open(&name, &options).context("the text")?)))
}

/// Pages for which everything else waits: they are cut on other threads, and which of two miners has its page first would be
/// those threads' chance, where one seed has to decide everything.
struct Still(Arc<TokenPages>);

#[async_trait]
impl Pages for Still {
    fn index(&self) -> &DatasetIndex {
        self.0.index()
    }

    async fn page(&self, page: &PageId) -> Result<TokenBatch, PortError> {
        futures::executor::block_on(self.0.page(page))
    }
}

/// The rules of a run of `model` on such pages.
pub(crate) fn rules(netuid: NetUid, model: &LlamaConfig, pages: &dyn Pages, mechanism: Mechanism) -> Result<Rules> {
    Ok(Rules {
        version: 1,
        netuid,
        model: serde_json::from_str(&model.to_json())?,
        tokenizer: "gpt2".into(),
        sequence_length: SEQ,
        packing: Packing::Join,
        dataset: pages.index().clone(),
        mechanism,
    })
}

/// The model of the rules on the CPU, with the same first weights for everybody.
pub(crate) fn learner(rules: &Rules, options: TrainOptions) -> Result<Box<dyn Learner>, PortError> {
    let build = || -> Result<LlamaLearner> {
        let config = LlamaConfig::from_json(&rules.model.to_string())?;
        Ok(LlamaLearner::init(config, 1, device::parse("cpu")?, options)?)
    };
    let bad = |e| PortError { name: "BadModel".into(), message: format!("{e:#}"), retry: Retry::Never };
    Ok(Box::new(build().map_err(bad)?))
}
