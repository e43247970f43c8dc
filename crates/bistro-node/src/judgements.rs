//! What validators say of a miner, by the logs that they publish: fetched, and checked as everything of strangers.

use bistro_core::ids::Hotkey;

use crate::log::published;
use crate::status::Judgement;
use crate::{NodeError, Parts};

/// Validators that are asked, most stake first.
const VALIDATORS: usize = 8;

/// Newest records of each that are read, at least.
const RECORDS: usize = 2000;

/// What the validators with the most stake say of `miner`. One that says nothing readable is in the list, with the reason.
///
/// # Errors
/// The chain cannot be read.
pub async fn of(parts: &Parts, miner: &Hotkey) -> Result<Vec<Judgement>, NodeError> {
    let metagraph = parts.chain.metagraph().await?;
    let slot = metagraph.neuron(miner).map(|neuron| neuron.uid);
    let mut said = Vec::new();
    for neuron in metagraph.by_authority().into_iter().filter(|neuron| neuron.hotkey != *miner).take(VALIDATORS) {
        let judgement = match published::newest(parts, &neuron.hotkey, RECORDS).await {
            Ok(Some(records)) => Judgement::of(&records, miner, slot),
            Ok(None) => Judgement::trouble(&"it publishes no log"),
            Err(error) => Judgement::trouble(&error),
        };
        said.push(Judgement { validator: Some(neuron.hotkey), uid: Some(neuron.uid), ..judgement });
    }
    Ok(said)
}
