//! A delta into the own bucket: object first, pointer last, and old ones removed.

use bistro_core::ids::{Block, Hash, Uid};
use bistro_core::params::Params;
use bistro_core::ports::Put;
use bistro_core::protocol::{DeltaManifest, Encoding, Folder, Signed};

use crate::compute::compute;
use crate::master::Master;
use crate::parts::patiently;
use crate::{NodeError, Parts};

/// Deltas that stay in the bucket: a validator may still be reading the one before the newest.
const KEEP: usize = 3;

/// What a miner states about its delta.
pub struct Statement<'a> {
    /// Digest of the run's rules.
    pub rules: Hash,
    /// The master it was trained from.
    pub base: &'a Master,
    /// The own slot.
    pub uid: Uid,
    /// The chain's head.
    pub block: Block,
    /// How the numbers are stored.
    pub encoding: Encoding,
    /// Optimizer steps since the model was last a master, or since the own last merge.
    pub steps: u64,
    /// Tokens likewise.
    pub tokens: u64,
}

/// Uploads `delta`, moves the pointer to it, and removes all but the newest of `uploaded`.
pub async fn upload(
    parts: &Parts,
    statement: &Statement<'_>,
    delta: &Params,
    uploaded: &mut Vec<String>,
) -> Result<(), NodeError> {
    let hotkey = parts.identity.hotkey();
    let folder = Folder::new(parts.netuid, &hotkey);
    let mut manifest = DeltaManifest {
        netuid: parts.netuid,
        uid: statement.uid,
        hotkey,
        block: statement.block,
        rules: statement.rules,
        base_seq: statement.base.seq,
        base: statement.base.hash,
        encoding: statement.encoding,
        object: Hash([0; 32]),
        size: 0,
        steps: statement.steps,
        tokens: statement.tokens,
    };
    let object = compute(|| bistro_delta::encode_delta(delta, &(&manifest).into()));
    (manifest.object, manifest.size) = (Hash::of(&object), object.len() as u64);
    let key = folder.delta(statement.block, &manifest.object);
    let json = Signed::new(manifest, |message| parts.identity.sign(message)).to_json();
    let put = async || parts.own.put(&key, object.clone(), Put::Immutable).await;
    patiently(parts, "uploading the delta", put).await?;
    let json = bytes::Bytes::from(json);
    let point = async || parts.own.put(&folder.latest(), json.clone(), Put::Replace).await;
    patiently(parts, "moving the pointer to the delta", point).await?;
    tracing::info!(block = %statement.block, mebibytes = object.len() as f64 / f64::from(1 << 20), key, "uploaded");
    uploaded.retain(|old| *old != key);
    uploaded.push(key);
    while uploaded.len() > KEEP {
        let old = uploaded.remove(0);
        if let Err(error) = parts.own.delete(&old).await {
            tracing::warn!(%error, old, "an old delta could not be removed");
        }
    }
    Ok(())
}
