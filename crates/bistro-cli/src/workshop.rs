//! What the run's rules decide: the dataset and the model.

use std::path::PathBuf;
use std::sync::Arc;

use bistro_core::ports::{Learner, Pages, PortError, Retry};
use bistro_core::rules::Rules;
use bistro_model::{LlamaConfig, LlamaLearner, TrainOptions, hf, memory};
use bistro_node::Build;

use crate::data::DataArgs;

/// Builds the real dataset and the real model.
#[derive(Clone, Debug)]
pub struct Workshop {
    /// The operator's own dataset; it must have the digest of the rules.
    pub dataset: DataArgs,
    /// The operator's device.
    pub device: String,
    /// How the model trains.
    pub training: TrainOptions,
    /// Seed of a first master's weights.
    pub init_seed: u64,
    /// Folder whose weights are those of a first master instead.
    pub checkpoint: Option<PathBuf>,
}

#[allow(clippy::needless_pass_by_value, reason = "errors end here")]
fn never(name: &str, message: impl std::fmt::Display) -> PortError {
    PortError { name: name.into(), message: message.to_string(), retry: Retry::Never }
}

impl Build for Workshop {
    fn pages(&self, rules: &Rules) -> Result<Arc<dyn Pages>, PortError> {
        self.dataset.open_for(rules)
    }

    fn learner(&self, rules: &Rules) -> Result<Box<dyn Learner>, PortError> {
        let bad = |e| never("BadModel", e);
        let config = LlamaConfig::from_json(&rules.model.to_string()).map_err(bad)?;
        let device = bistro_model::device::parse(&self.device).map_err(bad)?;
        let mut options = self.training.clone();
        let plan = memory::plan(&config, &options, device, rules.sequence_length).map_err(bad)?;
        tracing::info!(micro_batch = plan.micro_batch, "memory: {plan}");
        options.micro_batch = plan.micro_batch;
        let learner = match &self.checkpoint {
            None => LlamaLearner::init(config, self.init_seed, device, options),
            Some(folder) => {
                let (_, params) = hf::import(folder).map_err(bad)?;
                LlamaLearner::from_params(config, &params, device, options)
            }
        };
        Ok(Box::new(learner.map_err(bad)?))
    }
}
