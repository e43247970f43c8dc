//! Sending weights: plainly, or encrypted until their reveal where the subnet wants that.

use std::time::{SystemTime, UNIX_EPOCH};

use bistro_core::ids::{Hotkey, Uid};
use bistro_core::ports::Retry;

use super::effect::Effect;
use super::link::AtBlock;
use super::{SubtensorChain, answers, calls, read, reveal};
use crate::error::ChainError;
use crate::timelock;

impl SubtensorChain {
    /// Sends plain weights whatever the subnet wants, to hear the chain's own answer. [`bistro_core::ports::Chain::set_weights`]
    /// is what sets weights.
    pub async fn send_plain_weights(&self, weights: &[(Uid, u16)]) -> Result<(), ChainError> {
        let call = "set_weights";
        let key = self.key.as_ref().ok_or(ChainError::NoKey { call })?;
        self.send(key, call, &calls::set_weights(self.netuid, weights, 0)).await.map(drop)
    }

    /// Commits encrypted weights whatever the subnet wants, to hear the chain's own answer.
    pub async fn send_committed_weights(&self, weights: &[(Uid, u16)]) -> Result<(), ChainError> {
        let key = self.key.as_ref().ok_or(ChainError::NoKey { call: "commit_timelocked_weights" })?;
        let at = self.link.best().await?;
        let (call, payload) = self.commitment_of_weights(&at, &key.public(), weights, 0).await?;
        self.send(key, call, &payload).await.map(drop)
    }

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
        let call = rules.call.name();
        // A public network reveals by quicknet. What a node says of the beacon counts elsewhere only: with a key of its own
        // choice it would read the weights at once.
        let beacon = if self.link.is_public() { timelock::QUICKNET } else { rules.beacon };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let round = timelock::reveal::round(&beacon, &rules.epochs, now, self.block_time)
            .ok_or(ChainError::NoReveal(self.netuid))?;
        let unsendable = |why: String| ChainError::Unsendable { call, why };
        let text = if rules.call == calls::CommitCall::Crv3 {
            timelock::legacy_weights_payload(weights, version_key)
        } else {
            timelock::weights_payload(own, weights, version_key)
        };
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
        Ok((call, rules.call.call(self.netuid, &arguments)))
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
