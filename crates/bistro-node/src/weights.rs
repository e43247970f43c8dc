//! Sets the newest weights when the chain allows it. A task of its own: the validator's loop offers weights and goes on; a
//! rate limit, a refusal or a dead chain never holds it up.

use bistro_core::events::Event;
use bistro_core::ids::{Block, Uid};
use bistro_core::ports::{PortError, Retry};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Parts;
use crate::log::EventLog;

/// Blocks after which a refusal without a date is tried again: about five minutes on Bittensor's networks.
const RETRY_BLOCKS: u64 = 25;

/// Weights that are due.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// 16-bit weights by uid; not empty.
    pub weights: Vec<(Uid, u16)>,
}

/// Keeps only the newest offer.
pub type Offers = watch::Sender<Option<Offer>>;

/// Sets what is offered until `stop`: the newest offer, whenever the chain's rate limit has passed.
pub async fn submit(parts: Parts, mut offers: watch::Receiver<Option<Offer>>, log: EventLog, stop: CancellationToken) {
    let work = async {
        while offers.changed().await.is_ok() {
            let mut block = parts.chain.head().await.unwrap_or_default();
            while let Some(wait) = attempt(&parts, &mut offers, &log, block).await {
                let until = Block(block.0 + wait);
                while block < until {
                    block = match parts.chain.next_block(block).await {
                        Ok(next) => next,
                        Err(error) => pause(&parts, &error, block).await,
                    };
                }
            }
        }
    };
    tokio::select! { () = stop.cancelled() => {} () = work => {} }
}

/// Without a chain there is no clock but the wall's.
async fn pause(parts: &Parts, error: &PortError, block: Block) -> Block {
    tracing::warn!(%error, "the chain gives no blocks; weights wait");
    parts.clock.sleep(std::time::Duration::from_secs(12)).await;
    block
}

/// One attempt; the blocks to wait before the next, or `None` when the newest offer is set.
async fn attempt(
    parts: &Parts,
    offers: &mut watch::Receiver<Option<Offer>>,
    log: &EventLog,
    block: Block,
) -> Option<u64> {
    match due_in(parts).await {
        Ok(0) => {}
        Ok(blocks) => {
            tracing::debug!(blocks, "weights are due");
            return Some(blocks);
        }
        Err(error) => return Some(refused(log, block, &error)),
    }
    let offer = offers.borrow_and_update().clone()?;
    match parts.chain.set_weights(&offer.weights).await {
        Ok(()) => {
            tracing::info!(%block, weights = ?offer.weights.iter().map(|(u, w)| (u.0, *w)).collect::<Vec<_>>(), "weights set");
            record(log, block, Event::WeightsSet { weights: offer.weights });
            None
        }
        Err(error) => Some(refused(log, block, &error)),
    }
}

/// Blocks until the chain takes weights from this hotkey: 0 is now.
async fn due_in(parts: &Parts) -> Result<u64, PortError> {
    let metagraph = parts.chain.metagraph().await?;
    let me = parts.identity.hotkey();
    let refusal =
        |name: &str, message: String| PortError { name: name.into(), message, retry: Retry::After(RETRY_BLOCKS) };
    let neuron = metagraph.neuron(&me).ok_or_else(|| {
        refusal("HotKeyNotRegisteredInSubNet", format!("{me} holds no uid on netuid {}", parts.netuid))
    })?;
    if !neuron.validator_permit {
        let message =
            format!("uid {} has no validator permit: its stake ({} rao) is too low", neuron.uid, neuron.stake);
        return Err(refusal("NeuronNoValidatorPermit", message));
    }
    if neuron.last_update == Block(0) {
        return Ok(0);
    }
    Ok(metagraph.weights_rate_limit.saturating_sub(metagraph.block.since(neuron.last_update)))
}

fn refused(log: &EventLog, block: Block, error: &PortError) -> u64 {
    let wait = match error.retry {
        Retry::Soon => 1,
        Retry::After(blocks) => blocks.max(1),
        Retry::Never => RETRY_BLOCKS,
    };
    tracing::warn!(%block, name = error.name, %error, again_in_blocks = wait, "weights were not set");
    record(log, block, Event::WeightsRefused { name: error.name.clone(), message: error.message.clone() });
    wait
}

fn record(log: &EventLog, block: Block, event: Event) {
    if let Err(error) = log.append(block, event) {
        tracing::error!(%error, "the event log cannot be written");
    }
}
