//! The toy model's part in a race.

use std::sync::Arc;

use anyhow::Result;
use bistro_core::ports::{Learner, Pages, PortError, Retry};
use bistro_core::protocol::Encoding;
use bistro_core::rules::{Mechanism, Rules};
use bistro_node::Build;

use super::Race;
use super::held_out::HeldOut;
use crate::chain::NETUID;
use crate::subject::Subject as _;
use crate::toy::{self, Rate, Toy, ToyLearner};

/// Pages of the yardstick.
const YARDSTICK: u64 = 12;

/// The toy language and model, at a learning rate of one's own.
pub struct ToyContestant {
    /// How fast it learns.
    pub rate: Rate,
}

impl Build for ToyContestant {
    fn pages(&self, rules: &Rules) -> Result<Arc<dyn Pages>, PortError> {
        let whole = Toy.pages(rules, 0)?;
        let held_out = HeldOut::new(whole, YARDSTICK).map_err(|e| PortError {
            name: "BadDataset".into(),
            message: e.to_string(),
            retry: Retry::Never,
        })?;
        Ok(Arc::new(held_out))
    }

    fn learner(&self, _: &Rules) -> Result<Box<dyn Learner>, PortError> {
        Ok(Box::new(ToyLearner::new(self.rate)))
    }
}

/// A race of toys over so many `pages`. Steps are of one sequence: far below the batch from which on more tokens a step gain
/// little, as one machine's are in a run that is worth sharing.
pub fn race(mechanism: Mechanism, pages: u32, seed: u64) -> Result<Race> {
    let rules = toy::rules(NETUID, mechanism);
    let held_out = HeldOut::new(Toy.pages(&rules, 0)?, YARDSTICK)?;
    // The toy's pages come with virtual time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let yardstick = runtime.block_on(held_out.yardstick())?;
    let (page_tokens, samples, batch_rows, encoding) = (512, 50, 1, Encoding::F32);
    Ok(Race { rules, page_tokens, pages, samples, batch_rows, encoding, yardstick, validator_speed: 1, seed })
}
