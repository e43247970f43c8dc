//! Reads at one block. Each is one or two requests; the caller sets the deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use bistro_core::ids::{Block, Hotkey, NetUid, Uid};
use bistro_core::ports::Metagraph;
use subxt::backend::utils::retry;
use subxt::dynamic;
use subxt::ext::frame_decode::storage::{IntoDecodableValues, IntoEncodableValues};
use subxt::ext::scale_decode::DecodeAsType;

use super::answers::{CommitmentAnswer, MetagraphAnswer, SelectiveAnswer, WANTED};
use super::link::{AtBlock, Rpc};
use crate::error::ChainError;

/// Bittensor's public networks make a block every 12 seconds.
const USUAL_BLOCK_TIME: Duration = Duration::from_secs(12);

/// Milliseconds between blocks, from the runtime's constants.
pub(super) fn block_time(at: &AtBlock) -> Duration {
    let constant = |pallet, name| at.constants().entry(dynamic::constant::<u64>(pallet, name)).ok();
    let slot = constant("Aura", "SlotDuration").filter(|&slot| slot > 0);
    let slot = slot.or_else(|| constant("Timestamp", "MinimumPeriod").filter(|&half| half > 0)?.checked_mul(2));
    slot.map_or(USUAL_BLOCK_TIME, Duration::from_millis).min(Duration::from_mins(10))
}

/// What is done here, for errors.
const METAGRAPH: &str = "reading the metagraph";

/// The subnet in one runtime call, and the threshold of stake at the same block.
pub(super) async fn metagraph(at: &AtBlock, netuid: NetUid) -> Result<Metagraph, ChainError> {
    let threshold = value::<_, u64>(at, METAGRAPH, SUBTENSOR, "StakeThreshold", ());
    let (answer, threshold) = futures::try_join!(subnet(at, netuid), threshold)?;
    let mut metagraph = answer.ok_or(ChainError::NoSubnet(netuid))?.check(netuid, Block(at.block_number()))?;
    metagraph.stake_threshold = threshold.unwrap_or(0);
    metagraph.block_time = block_time(at);
    Ok(metagraph)
}

/// The wanted fields of a subnet: alone where the runtime gives them so, else with all others.
async fn subnet(at: &AtBlock, netuid: NetUid) -> Result<Option<MetagraphAnswer>, ChainError> {
    let arguments = (netuid.0, WANTED.to_vec());
    match runtime_call::<_, Option<SelectiveAnswer>>(at, "get_selective_metagraph", arguments).await {
        Ok(None) => return Ok(None),
        Ok(Some(answer)) => {
            if let Some(complete) = answer.complete() {
                return Ok(Some(complete));
            }
        }
        Err(error @ ChainError::Malformed { .. }) => tracing::debug!(%error, "asking for the whole metagraph"),
        Err(error) => return Err(error),
    }
    runtime_call(at, "get_metagraph", (netuid.0,)).await
}

/// One method of `SubnetInfoRuntimeApi`.
async fn runtime_call<A: IntoEncodableValues, T: DecodeAsType>(
    at: &AtBlock,
    method: &str,
    arguments: A,
) -> Result<T, ChainError> {
    let call = dynamic::runtime_api_call::<A, T>("SubnetInfoRuntimeApi", method, arguments);
    at.runtime_apis().call(call).await.map_err(|e| ChainError::from_read(METAGRAPH, e))
}

/// The text that `hotkey` committed, if it is one.
pub(super) async fn commitment(at: &AtBlock, netuid: NetUid, hotkey: &Hotkey) -> Result<Option<String>, ChainError> {
    let keys = (netuid.0, hotkey.0);
    let answer = value::<_, CommitmentAnswer>(at, "reading a commitment", COMMITMENTS, COMMITMENT, keys).await?;
    Ok(answer.and_then(|answer| text(&answer, hotkey)))
}

const COMMITMENTS: &str = "Commitments";
const COMMITMENT: &str = "CommitmentOf";

fn text(answer: &CommitmentAnswer, hotkey: &Hotkey) -> Option<String> {
    answer.text().inspect_err(|why| tracing::debug!(%hotkey, why, "a commitment that is no text")).ok()
}

/// The texts of many, in one request: one by one they would be some hundreds a block, more than a public node serves to one
/// client.
pub(super) async fn commitments(
    at: &AtBlock,
    rpc: &Rpc,
    netuid: NetUid,
    hotkeys: &[Hotkey],
) -> Result<BTreeMap<Hotkey, Option<String>>, ChainError> {
    let what = "reading commitments";
    let malformed = |why: String| ChainError::Malformed { what, why };
    let address = dynamic::storage::<(u16, [u8; 32]), CommitmentAnswer>(COMMITMENTS, COMMITMENT);
    let entry = at.storage().entry(address).map_err(|e| ChainError::from_read(what, e))?;
    let mut found = BTreeMap::new();
    let mut asked = BTreeMap::new();
    for hotkey in hotkeys {
        let key = entry.fetch_key((netuid.0, hotkey.0)).map_err(|e| ChainError::from_read(what, e))?;
        asked.insert(key, *hotkey);
        found.insert(*hotkey, None);
    }
    let metadata = at.metadata();
    let pallet = metadata.pallet_by_name(COMMITMENTS);
    let stored = pallet.and_then(|pallet| pallet.storage()?.entry_by_name(COMMITMENT));
    let form = stored.ok_or_else(|| malformed("the runtime has no commitments".into()))?.value_ty();
    let keys = || asked.keys().map(Vec::as_slice);
    let answers = retry(async || Ok(rpc.state_query_storage_at(keys(), Some(at.block_hash())).await?)).await;
    let answers = answers.map_err(|e| ChainError::from_read(what, e))?;
    for (key, bytes) in answers.into_iter().flat_map(|answer| answer.changes) {
        // What was not asked for is not looked at.
        let (Some(hotkey), Some(bytes)) = (asked.get(&key.0), bytes) else { continue };
        let answer = CommitmentAnswer::decode_as_type(&mut &bytes.0[..], form, metadata.types());
        found.insert(*hotkey, text(&answer.map_err(|e| malformed(e.to_string()))?, hotkey));
    }
    Ok(found)
}

/// The slot of `hotkey`.
pub(super) async fn uid(at: &AtBlock, netuid: NetUid, hotkey: &Hotkey) -> Result<Option<Uid>, ChainError> {
    let uid = value::<_, u16>(at, "reading a uid", SUBTENSOR, "Uids", (netuid.0, hotkey.0)).await?;
    Ok(uid.map(Uid))
}

/// Whether stake can be put on the subnet; runtimes without this switch always allow it.
pub(super) async fn takes_stake(at: &AtBlock, netuid: NetUid) -> Result<bool, ChainError> {
    let metadata = at.metadata();
    let pallet = metadata.pallet_by_name(SUBTENSOR);
    let known = pallet.and_then(|pallet| pallet.storage()).and_then(|storage| storage.entry_by_name(SWITCH));
    if known.is_none() {
        return Ok(true);
    }
    Ok(value(at, "reading whether stake is taken", SUBTENSOR, SWITCH, (netuid.0,)).await?.unwrap_or(false))
}

const SWITCH: &str = "SubtokenEnabled";

/// The weights of a slot.
pub(super) async fn weights(at: &AtBlock, netuid: NetUid, uid: Uid) -> Result<Vec<(u16, u16)>, ChainError> {
    Ok(value(at, "reading weights", SUBTENSOR, "Weights", (netuid.0, uid.0)).await?.unwrap_or_default())
}

/// The block of `hotkey`'s last weights; `None` without a slot.
pub(super) async fn last_update(at: &AtBlock, netuid: NetUid, hotkey: &Hotkey) -> Result<Option<u64>, ChainError> {
    let Some(uid) = uid(at, netuid, hotkey).await? else { return Ok(None) };
    let blocks: Option<Vec<u64>> = value(at, "reading last updates", SUBTENSOR, "LastUpdate", (netuid.0,)).await?;
    Ok(blocks.and_then(|blocks| blocks.get(usize::from(uid.0)).copied()))
}

/// What the subnet demands of a submission of weights.
pub(super) struct WeightRules {
    pub(super) commit_reveal: bool,
    pub(super) version_key: u64,
    pub(super) rate_limit: u64,
}

/// The subnet's demands. Read together: three requests, one wait.
pub(super) async fn weight_rules(at: &AtBlock, netuid: NetUid) -> Result<WeightRules, ChainError> {
    let what = "reading the rules of weights";
    let (commit_reveal, version_key, rate_limit) = futures::try_join!(
        value::<_, bool>(at, what, SUBTENSOR, "CommitRevealWeightsEnabled", (netuid.0,)),
        value::<_, u64>(at, what, SUBTENSOR, "WeightsVersionKey", (netuid.0,)),
        value::<_, u64>(at, what, SUBTENSOR, "WeightsSetRateLimit", (netuid.0,)),
    )?;
    Ok(WeightRules {
        commit_reveal: commit_reveal.unwrap_or(false),
        version_key: version_key.unwrap_or(0),
        rate_limit: rate_limit.unwrap_or(0),
    })
}

pub(super) const SUBTENSOR: &str = "SubtensorModule";

/// One storage entry, with the runtime's default where it has one.
pub(super) async fn value<K, V>(
    at: &AtBlock,
    what: &'static str,
    pallet: &str,
    entry: &str,
    keys: K,
) -> Result<Option<V>, ChainError>
where
    K: IntoEncodableValues + IntoDecodableValues,
    V: DecodeAsType,
{
    let address = dynamic::storage::<K, V>(pallet, entry);
    let found = at.storage().try_fetch(address, keys).await.map_err(|e| ChainError::from_read(what, e))?;
    found.map(|value| value.decode().map_err(|e| ChainError::from_read(what, e))).transpose()
}
