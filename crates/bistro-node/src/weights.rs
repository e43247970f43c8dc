//! Sets the newest weights when the chain allows it. A task of its own: the validator's loop offers weights and goes on; a
//! rate limit, a refusal or a dead chain never holds it up.

use bistro_core::events::Event;
use bistro_core::ids::{Block, Hotkey, Uid};
use bistro_core::ports::{Metagraph, PortError, Retry};
use tokio::sync::watch;

use crate::Parts;
use crate::log::EventLog;

/// Blocks after which a refusal without a date is tried again: about five minutes on Bittensor's networks.
const RETRY_BLOCKS: u64 = 25;

/// Weights that are due.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// The record (a verdict or a fault) after which the scores gave them.
    pub after: u64,
    /// 16-bit weights by uid; not empty.
    pub weights: Vec<(Uid, u16)>,
}

/// Keeps only the newest offer.
pub type Offers = watch::Sender<Option<Offer>>;

/// Sets what is offered until the program is to end: the newest offer, whenever the chain's rate limit has passed.
pub async fn submit(parts: Parts, mut offers: watch::Receiver<Option<Offer>>, log: EventLog) {
    let work = async {
        while offers.changed().await.is_ok() {
            let mut block = head(&parts).await;
            while let Some(wait) = attempt(&parts, &mut offers, &log, block).await {
                let until = Block(block.0 + wait);
                while block < until {
                    match parts.chain.next_block(block).await {
                        Ok(next) => block = next,
                        Err(error) => pause(&parts, &error).await,
                    }
                }
            }
        }
    };
    tokio::select! { () = parts.stop.cancelled() => {} () = work => {} }
}

/// Without a chain there is no clock but the wall's.
async fn pause(parts: &Parts, error: &PortError) {
    tracing::warn!(%error, "the chain gives no blocks; weights wait");
    parts.clock.sleep(std::time::Duration::from_secs(12)).await;
}

/// The newest block, however long the chain does not say it: what is logged has to bear its block.
async fn head(parts: &Parts) -> Block {
    loop {
        match parts.chain.head().await {
            Ok(block) => return block,
            Err(error) => pause(parts, &error).await,
        }
    }
}

/// One attempt; the blocks to wait before the next, or `None` when the newest offer is set.
async fn attempt(
    parts: &Parts,
    offers: &mut watch::Receiver<Option<Offer>>,
    log: &EventLog,
    block: Block,
) -> Option<u64> {
    // Every condition is read at one block.
    let metagraph = match parts.chain.metagraph().await {
        Ok(metagraph) => metagraph,
        Err(error) => return Some(refused(log, block, &error)),
    };
    let me = parts.identity.hotkey();
    match due_in(&metagraph, &me) {
        Ok(0) => {}
        Ok(blocks) => {
            let minutes = metagraph.block_time.as_secs_f64() * blocks as f64 / 60.0;
            tracing::info!(blocks, "weights are due in {blocks} blocks, about {minutes:.0} minutes");
            return Some(blocks);
        }
        Err(error) => return Some(refused(log, block, &error)),
    }
    let offer = offers.borrow_and_update().clone()?;
    if let Err(error) = fits(&metagraph, &me, &offer.weights) {
        return Some(refused(log, block, &error));
    }
    match parts.chain.set_weights(&offer.weights).await {
        Ok(()) => {
            tracing::info!(%block, weights = ?offer.weights.iter().map(|(u, w)| (u.0, *w)).collect::<Vec<_>>(), "weights set");
            record(log, block, Event::WeightsSet { after: offer.after, weights: offer.weights });
            None
        }
        Err(error) => Some(refused(log, block, &error)),
    }
}

/// A refusal that the chain would give, under its name.
fn refusal(name: &str, message: String) -> PortError {
    PortError { name: name.into(), message, retry: Retry::After(RETRY_BLOCKS) }
}

/// Blocks until the chain takes weights from `me`: 0 is now.
pub(crate) fn due_in(metagraph: &Metagraph, me: &Hotkey) -> Result<u64, PortError> {
    let neuron = metagraph.neuron(me).ok_or_else(|| {
        let netuid = metagraph.netuid;
        refusal(
            "HotKeyNotRegisteredInSubNet",
            format!("{me} holds no uid on netuid {netuid}: it was never registered, or another hotkey took its slot"),
        )
    })?;
    if neuron.stake < metagraph.stake_threshold {
        let (stake, least) = (neuron.stake, metagraph.stake_threshold);
        let message = format!("uid {} has a stake of {stake} rao, and weights take {least}: add stake", neuron.uid);
        return Err(refusal("NotEnoughStakeToSetWeights", message));
    }
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

/// Whether the subnet takes these weights: enough of them, none too heavy, all on slots that it has. The own slot alone is always taken.
fn fits(metagraph: &Metagraph, me: &Hotkey, weights: &[(Uid, u16)]) -> Result<(), PortError> {
    if let Some((uid, _)) = weights.iter().find(|(uid, _)| usize::from(uid.0) >= metagraph.neurons.len()) {
        let message = format!("uid {uid} is none of the subnet's {} slots", metagraph.neurons.len());
        return Err(refusal("UidVecContainInvalidOne", message));
    }
    if metagraph.neuron(me).is_some_and(|own| matches!(weights, [(uid, _)] if *uid == own.uid)) {
        return Ok(());
    }
    let least = usize::from(metagraph.min_allowed_weights);
    if weights.len() < least {
        let message =
            format!("{} weights, and the subnet wants at least {least}: more miners must score", weights.len());
        return Err(refusal("WeightVecLengthIsLow", message));
    }
    let sum: u64 = weights.iter().map(|&(_, weight)| u64::from(weight)).sum();
    let limit = u64::from(metagraph.max_weight);
    let heavy = weights.iter().find(|&&(_, weight)| u64::from(weight) * u64::from(u16::MAX) > limit * sum);
    if let Some((uid, weight)) = heavy {
        let message = format!("uid {uid} has {weight} of {sum}, and one weight may be {limit} of 65535 at most");
        return Err(refusal("MaxWeightExceeded", message));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use bistro_core::ids::NetUid;
    use bistro_core::ports::Neuron;

    use super::*;

    const ME: Hotkey = Hotkey([1; 32]);

    /// The own slot 1 of four, with all that weights take.
    fn metagraph() -> Metagraph {
        let neuron = |uid: u16| Neuron {
            uid: Uid(uid),
            hotkey: Hotkey([uid as u8; 32]),
            stake: 50,
            validator_permit: true,
            last_update: Block(40),
        };
        Metagraph {
            netuid: NetUid(1),
            block: Block(100),
            neurons: (0..4).map(neuron).collect(),
            weights_rate_limit: 100,
            min_allowed_weights: 2,
            max_weight: u16::MAX,
            stake_threshold: 50,
            block_time: std::time::Duration::from_secs(12),
            tempo: 360,
            commit_reveal: false,
        }
    }

    #[test]
    fn weights_are_due_when_stake_permit_and_rate_limit_allow() {
        assert_eq!(due_in(&metagraph(), &ME), Ok(40));
        assert_eq!(due_in(&Metagraph { block: Block(140), ..metagraph() }, &ME), Ok(0));
        let name = |change: fn(&mut Metagraph), who: &Hotkey| {
            let mut changed = metagraph();
            change(&mut changed);
            due_in(&changed, who).unwrap_err().name
        };
        assert_eq!(name(|_| (), &Hotkey([9; 32])), "HotKeyNotRegisteredInSubNet");
        assert_eq!(name(|m| m.stake_threshold = 51, &ME), "NotEnoughStakeToSetWeights");
        assert_eq!(name(|m| m.neurons[1].validator_permit = false, &ME), "NeuronNoValidatorPermit");
        let mut never = metagraph();
        never.neurons[1].last_update = Block(0);
        assert_eq!(due_in(&never, &ME), Ok(0));
    }

    #[test]
    fn weights_that_the_subnet_would_refuse_are_named() {
        let fits = |metagraph: &Metagraph, weights: &[(u16, u16)]| {
            let weights: Vec<_> = weights.iter().map(|&(uid, weight)| (Uid(uid), weight)).collect();
            super::fits(metagraph, &ME, &weights).map_err(|e| e.name)
        };
        let plain = metagraph();
        assert_eq!(fits(&plain, &[(0, 65535), (3, 1)]), Ok(()));
        assert_eq!(fits(&plain, &[(0, 1), (4, 1)]).unwrap_err(), "UidVecContainInvalidOne");
        assert_eq!(fits(&plain, &[(0, 1)]).unwrap_err(), "WeightVecLengthIsLow");
        assert_eq!(fits(&plain, &[(1, 1)]), Ok(()), "the own slot alone");
        let half = Metagraph { max_weight: 32768, ..metagraph() };
        assert_eq!(fits(&half, &[(0, 7), (3, 7)]), Ok(()));
        assert_eq!(fits(&half, &[(0, 8), (3, 7)]).unwrap_err(), "MaxWeightExceeded");
    }
}
