//! What the model does while a delta is on its way: it measures the master on global pages, which the paired rule asks for in
//! any case. So waiting costs a trial no time.

use bistro_core::ids::Hash;
use bistro_core::pages::{PageId, schedule};
use bistro_core::tokens::TokenBatch;

use super::Validator;
use super::turn::Turn;
use crate::NodeError;
use crate::gather::gather;

/// Global pages on which nothing was tried yet, and the master's loss on them. If the turn that they were drawn for ends in a
/// skip, they are the next one's: nobody has learned which they are.
pub(super) struct Ready {
    master: Hash,
    pages: Vec<PageId>,
    /// The pages' tokens.
    pub(super) batch: TokenBatch,
    /// Of the master, nats a token.
    pub(super) loss: f64,
}

impl Validator {
    /// Measures the master on the global pages `drawn` for the next trial, if that is asked for and not done yet.
    pub(super) async fn get_ready(&mut self, drawn: &[PageId]) -> Result<(), NodeError> {
        let measured = self.ready.as_ref().is_some_and(|ready| ready.master == self.master.hash);
        if measured || !self.rules.mechanism.acceptance.needs_base() {
            return Ok(());
        }
        let Self { parts, pages, rng, .. } = self;
        let mut drawn = drawn.to_vec();
        let batch = gather(parts, pages, &mut drawn, || Some(schedule::global_page(pages.index(), rng))).await?;
        let Self { meter, learner, master, .. } = self;
        let loss = meter.model(|| {
            learner.load(&master.params)?;
            learner.loss(&batch)
        })?;
        self.ready = Some(Ready { master: self.master.hash, pages: drawn, batch, loss });
        Ok(())
    }

    /// Gives `turn` the pages on which the master is measured already, if there are any; its own are then for a later turn.
    pub(super) fn use_ready_pages(&mut self, turn: &mut Turn) {
        self.ready = self.ready.take().filter(|ready| ready.master == self.master.hash);
        if let Some(Ready { pages, .. }) = &self.ready
            && turn.global_pages != *pages
        {
            self.spare = Some(std::mem::replace(&mut turn.global_pages, pages.clone()));
        }
    }
}
