//! Finding a call whose acknowledgement was lost by what it leaves on the chain.

use std::time::Duration;

use bistro_core::ids::Hotkey;
use tokio::time::Instant;

use super::SubtensorChain;
use crate::error::ChainError;

/// What a call leaves on the chain, to find it by.
pub(super) enum Effect<'a> {
    Commitment { own: Hotkey, text: &'a str },
    Weights { own: Hotkey, after: u64 },
}

/// Between two looks for a lost call, if no block comes.
const MAX_PAUSE: Duration = Duration::from_secs(3);

impl SubtensorChain {
    /// After a lost acknowledgement: looks for the effect on the chain for a while. The error stands if it does not show; the call
    /// is never sent again from here.
    pub(super) async fn unless_it_shows(&self, error: ChainError, effect: &Effect<'_>) -> Result<(), ChainError> {
        let usual = (self.block_time * 3).clamp(Duration::from_secs(3), Duration::from_mins(1));
        let until = Instant::now() + self.deadlines.search.unwrap_or(usual);
        loop {
            match self.shows(effect).await {
                Ok(true) => {
                    tracing::info!(%error, "the acknowledgement was lost, but the chain shows the call");
                    return Ok(());
                }
                Ok(false) => {}
                Err(why) => tracing::debug!(%why, "looking for the call on the chain"),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(error);
            }
            self.heads.later_than(self.heads.last(), left.min(MAX_PAUSE)).await;
        }
    }

    async fn shows(&self, effect: &Effect<'_>) -> Result<bool, ChainError> {
        match effect {
            Effect::Commitment { own, text } => Ok(self.read_commitment(own).await?.as_deref() == Some(*text)),
            Effect::Weights { own, after } => Ok(self.last_update(own).await?.0.is_some_and(|block| block > *after)),
        }
    }
}
