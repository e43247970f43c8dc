//! How a master reaches the bucket: objects first, pointer last, so that a reader never meets a manifest without its
//! object (P5), and a crash at any point leaves the previous master published.

use bistro_core::ids::{Block, Hash};
use bistro_core::ports::{PortError, Put};
use bistro_core::protocol::{Accepted, Folder, MAX_CHAIN, MasterManifest, Signed};
use bistro_core::rules::Rules;
use bytes::Bytes;

use crate::compute::{aside, joined};
use crate::leader;
use crate::master::Master;
use crate::parts::patiently;
use crate::retention::keep_newest;
use crate::{NodeError, Parts};

/// Accepted deltas between two masters that are stored whole. A newcomer downloads one snapshot and at most this many
/// deltas; more snapshots would cost the validator an upload of the whole model each.
pub const SNAPSHOT_EVERY: u64 = 16;

/// A master that is stored whole: a manifest may name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// Bytes of the object.
    pub size: u64,
}

/// An accepted delta as the miner uploaded it.
#[derive(Clone, Debug)]
pub struct AcceptedObject {
    /// The step that it made.
    pub step: Accepted,
    /// Its bytes.
    pub object: Bytes,
    /// The miner's signed manifest.
    pub manifest: Bytes,
}

/// Publishes `master`: the first of a run, stored whole, if there is no `previous` manifest, otherwise one step after it. Returns
/// the manifest that is now the newest.
pub async fn master(
    parts: &Parts,
    rules: &Rules,
    block: Block,
    master: &Master,
    previous: Option<&MasterManifest>,
    accepted: Option<AcceptedObject>,
) -> Result<MasterManifest, NodeError> {
    let hotkey = parts.identity.hotkey();
    let folder = Folder::new(parts.netuid, &hotkey);
    let mut manifest = MasterManifest {
        netuid: parts.netuid,
        hotkey,
        block,
        rules: rules.digest(),
        seq: master.seq,
        hash: master.hash,
        snapshot_seq: previous.map_or(master.seq, |p| p.snapshot_seq),
        snapshot: previous.map_or(master.hash, |p| p.snapshot),
        snapshot_size: previous.map_or(0, |p| p.snapshot_size),
        chain: previous.map(|p| p.chain.clone()).unwrap_or_default(),
    };
    if let Some(accepted) = accepted {
        let object = put(parts, folder.accepted(&accepted.step.object), accepted.object, Put::Immutable);
        let statement = put(parts, folder.accepted_manifest(&accepted.step.object), accepted.manifest, Put::Replace);
        tokio::try_join!(object, statement)?;
        manifest.chain.push(accepted.step);
        let surplus = manifest.chain.len().saturating_sub(MAX_CHAIN);
        manifest.chain.drain(..surplus);
    }
    if previous.is_none() {
        put(parts, folder.rules(&manifest.rules), rules.to_json().into(), Put::Immutable).await?;
        put(parts, format!("{}config.json", folder.prefix()), model_json(rules), Put::Replace).await?;
    }
    if previous.is_none() {
        return snapshot(parts, master, manifest).await;
    }
    point(parts, &folder, manifest).await
}

/// Stores `master` whole.
pub async fn store(parts: &Parts, master: &Master) -> Result<Snapshot, NodeError> {
    parts.pulse.beat("writing a snapshot");
    let params = master.params.clone();
    let bytes = joined(aside(move || bistro_delta::write_master(&params))).await;
    let (seq, hash, size) = (master.seq, master.hash, bytes.len() as u64);
    put(parts, Folder::new(parts.netuid, &parts.identity.hotkey()).snapshot(seq, &hash), bytes, Put::Immutable).await?;
    Ok(Snapshot { seq, hash, size })
}

/// `manifest`, which names `snapshot` from now on.
#[must_use]
pub fn naming(manifest: MasterManifest, snapshot: Snapshot) -> MasterManifest {
    let Snapshot { seq, hash, size } = snapshot;
    MasterManifest { snapshot_seq: seq, snapshot: hash, snapshot_size: size, ..manifest }
}

/// Stores the newest master whole if only its deltas are stored, as when the program ends.
pub async fn snapshot_now(
    parts: &Parts,
    block: Block,
    master: &Master,
    previous: &MasterManifest,
) -> Result<MasterManifest, NodeError> {
    if previous.snapshot_seq == previous.seq {
        return Ok(previous.clone());
    }
    snapshot(parts, master, MasterManifest { block, ..previous.clone() }).await
}

/// Says again, at `block`, what is the newest master.
pub async fn renew(parts: &Parts, block: Block, previous: &MasterManifest) -> Result<MasterManifest, NodeError> {
    let folder = Folder::new(parts.netuid, &parts.identity.hotkey());
    point(parts, &folder, MasterManifest { block, ..previous.clone() }).await
}

/// Stores `master` whole, points to it, then removes snapshots that nobody needs any more.
async fn snapshot(parts: &Parts, master: &Master, manifest: MasterManifest) -> Result<MasterManifest, NodeError> {
    let folder = Folder::new(parts.netuid, &parts.identity.hotkey());
    let manifest = point(parts, &folder, naming(manifest, store(parts, master).await?)).await?;
    tidy(parts, &manifest).await;
    Ok(manifest)
}

/// Removes snapshots that nobody needs any more once `manifest` is published. What fails is tried again after the next one.
pub async fn tidy(parts: &Parts, manifest: &MasterManifest) {
    let folder = Folder::new(parts.netuid, &parts.identity.hotkey());
    if let Err(error) = prune(parts, &folder, manifest).await {
        tracing::warn!(%error, "old snapshots could not be removed; the bucket grows until that works again");
    }
}

/// Writes the manifest under its number, then moves the pointer.
async fn point(parts: &Parts, folder: &Folder, manifest: MasterManifest) -> Result<MasterManifest, NodeError> {
    let json: Bytes = Signed::new(manifest.clone(), |message| parts.identity.sign(message)).to_json().into();
    put(parts, folder.master_step(manifest.seq), json.clone(), Put::Replace).await?;
    put(parts, folder.master(), json, Put::Replace).await?;
    Ok(manifest)
}

async fn put(parts: &Parts, key: String, body: Bytes, mode: Put) -> Result<(), NodeError> {
    let _shown = parts.wait("publishing the master", Some(body.len() as u64));
    let may_take = leader::large(body.len() as u64).deadline;
    let attempt = || {
        parts.pulse.beat_within("publishing the master", may_take);
        parts.own.put(&key, body.clone(), mode)
    };
    Ok(patiently(parts, "publishing the master", attempt).await?)
}

fn model_json(rules: &Rules) -> Bytes {
    serde_json::to_vec_pretty(&rules.model).unwrap_or_default().into()
}

/// Removes all snapshots but the first master's (every audit starts there), the newest, and the one before it (somebody may
/// be reading it).
async fn prune(parts: &Parts, folder: &Folder, manifest: &MasterManifest) -> Result<(), PortError> {
    let number = |name: &str| -> Option<u64> {
        let (seq, hash) = name.strip_suffix(".safetensors")?.split_once('-')?;
        (hash.len() == 16).then(|| seq.parse().ok())?
    };
    let newest = folder.snapshot(manifest.snapshot_seq, &manifest.snapshot);
    keep_newest(parts, &format!("{}master-", folder.prefix()), number, 2, |seq, key| seq == 0 || key == newest).await
}
