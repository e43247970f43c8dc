//! Sending weights: plainly, or encrypted until their reveal where the subnet wants that.

use std::time::{SystemTime, UNIX_EPOCH};

use bistro_core::ids::{Hotkey, Uid};
use bistro_core::ports::Retry;

use super::link::AtBlock;
use super::{Effect, SubtensorChain, answers, calls, read, reveal};
use crate::error::ChainError;
use crate::timelock;

impl SubtensorChain {
    /// Sends weights in the way that the subnet wants at the best block, once.
    pub(super) async fn send_weights(&self, weights: &[(Uid, u16)]) -> Result<(), ChainError> {
        let call = "set_weights";
        let key = self.key.as_ref().ok_or(ChainError::NoKey { call })?;
        if weights.is_empty() || weights.len() > answers::MAX_NEURONS {
            let why = format!("it wants 1 to {} weights, not {}", answers::MAX_NEURONS, weights.len());
            return Err(ChainError::Unsendable { call, why });
        }
        let own = key.public();
        let at = self.link.best().await?;
        let rules = self.link.within("reading the rules of weights", read::weight_rules(&at, self.netuid)).await?;
        let (call, payload) = if rules.commit_reveal {
            self.commitment_of_weights(&at, &own, weights, rules.version_key).await?
        } else {
            (call, calls::set_weights(self.netuid, weights, rules.version_key))
        };
        match self.send(key, call, &payload).await {
            Ok(_) => Ok(()),
            Err(error @ ChainError::Unacknowledged { .. }) => {
                // The chain notes the block of the newest weights, committed ones too: later than the block known before
                // sending, they are these.
                self.unless_it_shows(error, &Effect::Weights { own, after: at.block_number() }).await
            }
            Err(error) => Err(self.with_due_block(error, &own, rules.rate_limit).await),
        }
    }

    /// The call that commits `weights`, encrypted until the epoch that reveals them.
    async fn commitment_of_weights(
        &self,
        at: &AtBlock,
        own: &Hotkey,
        weights: &[(Uid, u16)],
        version_key: u64,
    ) -> Result<(&'static str, calls::Call), ChainError> {
        let rules = self.link.within("reading the rules of reveals", reveal::rules(at, self.netuid)).await?;
        let call = if rules.mechanisms { "commit_timelocked_mechanism_weights" } else { "commit_timelocked_weights" };
        // A public network reveals by quicknet. What a node says of the beacon counts elsewhere only: with a key of its own
        // choice it would read the weights at once.
        let beacon = if self.link.is_public() { timelock::QUICKNET } else { rules.beacon };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let round = timelock::reveal::round(&beacon, &rules.epochs, now, self.block_time)
            .ok_or(ChainError::NoReveal(self.netuid))?;
        let unsendable = |why: String| ChainError::Unsendable { call, why };
        let text = timelock::weights_payload(own, weights, version_key);
        let ciphertext = timelock::encrypt(&beacon, round, &text, &mut rand::rng());
        let ciphertext = ciphertext.map_err(|e| unsendable(e.to_string()))?;
        if ciphertext.len() > timelock::MAX_CIPHERTEXT_BYTES {
            let most = timelock::MAX_CIPHERTEXT_BYTES;
            return Err(unsendable(format!(
                "{} weights are {} bytes encrypted, and the chain takes {most}: weigh fewer neurons",
                weights.len(),
                ciphertext.len()
            )));
        }
        tracing::debug!(round, bytes = ciphertext.len(), "weights are committed until their reveal");
        let arguments = calls::Commitment { ciphertext, round, version: rules.version };
        let payload = if rules.mechanisms {
            calls::commit_timelocked_mechanism_weights(self.netuid, &arguments)
        } else {
            calls::commit_timelocked_weights(self.netuid, &arguments)
        };
        Ok((call, payload))
    }

    /// Replaces the guess in a rate limit's refusal by the blocks that are left.
    async fn with_due_block(&self, mut error: ChainError, own: &Hotkey, rate_limit: u64) -> ChainError {
        if let ChainError::Refused { refusal, .. } = &mut error
            && refusal.is_rate_limit()
            && let Ok((Some(last), now)) = self.last_update(own).await
        {
            refusal.retry = Retry::After(last.saturating_add(rate_limit).saturating_sub(now).max(1));
        }
        error
    }
}
