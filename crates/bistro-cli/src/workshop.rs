//! What the run's rules decide: the dataset and the model.

use std::sync::Arc;

use bistro_core::ports::{Learner, Pages, PortError, Retry};
use bistro_core::rules::Rules;
use bistro_model::{LlamaConfig, LlamaLearner, TrainOptions};
use bistro_node::Build;
use bistro_pages::{PageOptions, Tokenizer};

/// Builds the real dataset and the real model.
#[derive(Clone, Debug)]
pub struct Workshop {
    /// The operator's own dataset; it must have the digest of the rules.
    pub dataset: String,
    /// The operator's device.
    pub device: String,
    /// How the model trains.
    pub training: TrainOptions,
    /// Seed of a first master's weights.
    pub init_seed: u64,
}

#[allow(clippy::needless_pass_by_value, reason = "errors end here")]
fn never(name: &str, message: impl std::fmt::Display) -> PortError {
    PortError { name: name.into(), message: message.to_string(), retry: Retry::Never }
}

/// Opens `dataset` with pages of `rows_per_page` rows in sequences of `seq` tokens.
pub fn open_pages(dataset: &str, tokenizer: &str, seq: usize, rows_per_page: u64) -> Result<Arc<dyn Pages>, PortError> {
    let tokenizer = Tokenizer::by_name(tokenizer).map_err(|e| never("UnknownTokenizer", e))?;
    let mut options = PageOptions::new(tokenizer, seq);
    options.corpus.rows_per_page = rows_per_page;
    bistro_pages::open(dataset, &options).map_err(|e| never("BadDataset", e))
}

impl Build for Workshop {
    fn pages(&self, rules: &Rules) -> Result<Arc<dyn Pages>, PortError> {
        let pages = open_pages(&self.dataset, &rules.tokenizer, rules.sequence_length, rules.dataset.rows_per_page)?;
        if pages.index().digest() != rules.dataset.digest() {
            let message = format!(
                "--dataset {} is not the run's dataset `{}`: its digest is {}, the run's is {}. Get the same files",
                self.dataset,
                rules.dataset.dataset,
                pages.index().digest().hash16(),
                rules.dataset.digest().hash16(),
            );
            return Err(never("OtherDataset", message));
        }
        Ok(pages)
    }

    fn learner(&self, rules: &Rules) -> Result<Box<dyn Learner>, PortError> {
        let bad = |e| never("BadModel", e);
        let config = LlamaConfig::from_json(&rules.model.to_string()).map_err(bad)?;
        let device = bistro_model::device::parse(&self.device).map_err(bad)?;
        let learner = LlamaLearner::init(config, self.init_seed, device, self.training.clone()).map_err(bad)?;
        Ok(Box::new(learner))
    }
}
