//! What a subnet demands of a commitment to weights, read at one block. Runtimes differ in what they have of it.

use bistro_core::ids::NetUid;
use subxt::ext::scale_decode::DecodeAsType;

use super::calls::CommitCall;
use super::link::AtBlock;
use super::read::{SUBTENSOR, value};
use crate::error::ChainError;
use crate::timelock::reveal::{Counter, Epochs};
use crate::timelock::{Beacon, QUICKNET};

/// A subnet's demands.
pub(super) struct RevealRules {
    /// Which version of commitments the chain takes.
    pub(super) version: u16,
    /// The call that commits.
    pub(super) call: CommitCall,
    /// By whose signatures the chain reveals.
    pub(super) beacon: Beacon,
    /// When.
    pub(super) epochs: Epochs,
}

/// The wanted fields of `Drand.BeaconConfig`.
#[derive(DecodeAsType)]
#[decode_as_type(crate_path = "subxt::ext::scale_decode")]
struct BeaconAnswer {
    public_key: Vec<u8>,
    period: u64,
    genesis_time: u64,
}

/// Versions of commitments began with this one.
const FIRST_VERSION: u16 = 4;

/// The demands of subnet `netuid` at this block. Read together: a few requests, one wait.
pub(super) async fn rules(at: &AtBlock, netuid: NetUid) -> Result<RevealRules, ChainError> {
    let what = "reading the rules of reveals";
    let (version, epochs, beacon) = futures::try_join!(version(at), epochs(at, netuid), beacon(at),)?;
    let call = CommitCall::ALL.into_iter().find(|call| has_call(at, SUBTENSOR, call.name()));
    let call =
        call.ok_or(ChainError::Malformed { what, why: "the runtime has no call that commits weights".into() })?;
    Ok(RevealRules { version, call, beacon, epochs })
}

/// The chain's version of commitments, where it has any.
async fn version(at: &AtBlock) -> Result<u16, ChainError> {
    let entry = "CommitRevealWeightsVersion";
    if !has(at, SUBTENSOR, entry) {
        return Ok(FIRST_VERSION);
    }
    let what = "reading the version of commitments";
    Ok(value(at, what, SUBTENSOR, entry, ()).await?.unwrap_or(FIRST_VERSION))
}

/// The subnet's epochs at this block.
pub(super) async fn epochs(at: &AtBlock, netuid: NetUid) -> Result<Epochs, ChainError> {
    let (what, key) = ("reading the epochs", (netuid.0,));
    let (reveal_period, tempo, counter) = futures::try_join!(
        value::<_, u64>(at, what, SUBTENSOR, "RevealPeriodEpochs", key),
        value::<_, u16>(at, what, SUBTENSOR, "Tempo", key),
        counter(at, netuid),
    )?;
    Ok(Epochs {
        netuid: netuid.0,
        block: at.block_number(),
        tempo: tempo.unwrap_or(0),
        reveal_period: reveal_period.unwrap_or(1),
        counter,
    })
}

/// The counter of epochs, where the runtime has one.
async fn counter(at: &AtBlock, netuid: NetUid) -> Result<Option<Counter>, ChainError> {
    if !has(at, SUBTENSOR, "SubnetEpochIndex") {
        return Ok(None);
    }
    let read = async |entry| value::<_, u64>(at, "reading the epochs", SUBTENSOR, entry, (netuid.0,)).await;
    let (last_epoch, pending_at, index, since_step) = futures::try_join!(
        read("LastEpochBlock"),
        read("PendingEpochAt"),
        read("SubnetEpochIndex"),
        read("BlocksSinceLastStep"),
    )?;
    let number = Option::unwrap_or_default;
    Ok(Some(Counter {
        last_epoch: number(last_epoch),
        pending_at: number(pending_at),
        index: number(index),
        since_step: number(since_step),
    }))
}

/// The chain's beacon; quicknet where the runtime does not say.
async fn beacon(at: &AtBlock) -> Result<Beacon, ChainError> {
    let (pallet, entry) = ("Drand", "BeaconConfig");
    if !has(at, pallet, entry) {
        return Ok(QUICKNET);
    }
    let what = "reading the beacon";
    let Some(answer) = value::<_, BeaconAnswer>(at, what, pallet, entry, ()).await? else { return Ok(QUICKNET) };
    answer.check()
}

impl BeaconAnswer {
    fn check(self) -> Result<Beacon, ChainError> {
        let wrong = |why: &str| ChainError::Malformed { what: "reading the beacon", why: why.to_owned() };
        if self.period == 0 {
            return Err(wrong("it has no rounds"));
        }
        let public_key = self.public_key.try_into().map_err(|_| wrong("its public key has not 96 bytes"))?;
        Ok(Beacon { public_key, genesis: self.genesis_time, period: self.period })
    }
}

/// Whether the runtime of this block has a storage entry.
pub(super) fn has(at: &AtBlock, pallet: &str, entry: &str) -> bool {
    let metadata = at.metadata();
    let pallet = metadata.pallet_by_name(pallet);
    pallet.and_then(|p| p.storage()).is_some_and(|storage| storage.entry_by_name(entry).is_some())
}

/// Whether the runtime of this block has a call.
fn has_call(at: &AtBlock, pallet: &str, call: &str) -> bool {
    at.metadata().pallet_by_name(pallet).is_some_and(|pallet| pallet.call_variant_by_name(call).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beacon_that_makes_no_sense_is_refused() {
        let answer = |bytes: usize, period| BeaconAnswer { public_key: vec![1; bytes], period, genesis_time: 5 };
        assert_eq!(answer(96, 3).check().unwrap(), Beacon { public_key: [1; 96], genesis: 5, period: 3 });
        for bad in [answer(95, 3), answer(97, 3), answer(0, 3), answer(96, 0)] {
            assert!(matches!(bad.check(), Err(ChainError::Malformed { .. })));
        }
    }
}
