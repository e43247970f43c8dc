//! A real Llama on real text in a simulation, in place of the toy.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use bistro_core::ids::NetUid;
use bistro_core::ports::{Learner, Pages, PortError};
use bistro_core::rules::{Mechanism, Rules};
use bistro_model::{LlamaConfig, TrainOptions};
use bistro_sim::subject::Subject;

use crate::text;

/// A Llama on text, to be simulated.
pub(crate) struct Llama {
    model: LlamaConfig,
    pages: Arc<dyn Pages>,
    options: TrainOptions,
}

impl Llama {
    /// `model` on all `.txt` files of a folder.
    pub(crate) fn new(model: LlamaConfig, folder: &Path) -> Result<Self> {
        // There is a simulation for each core.
        let options = TrainOptions { threads: Some(1), ..TrainOptions::default() };
        Ok(Self { model, pages: text::open(folder)?, options })
    }
}

impl Subject for Llama {
    fn rules(&self, netuid: NetUid, mechanism: Mechanism) -> Result<Rules> {
        text::rules(netuid, &self.model, self.pages.as_ref(), mechanism)
    }

    /// One text for all seeds.
    fn pages(&self, _: &Rules, _: u64) -> Result<Arc<dyn Pages>, PortError> {
        Ok(self.pages.clone())
    }

    fn learner(&self, rules: &Rules, rate: f64) -> Result<Box<dyn Learner>, PortError> {
        text::learner(rules, TrainOptions { lr: self.options.lr * rate, ..self.options.clone() })
    }
}
