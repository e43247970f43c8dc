//! Whose master everybody follows, and how it is read.
//!
//! The permitted validator with the most stake that has published a valid master is the leader, unless it has fallen silent:
//! a leader renews its pointer even when its master stays as it is. Everything it publishes is checked all the same:
//! signature, lineage, sizes, hashes.

use std::time::Duration;

use bistro_core::ids::{Block, Hash, Hotkey};
use bistro_core::params::{ModelSpec, Params};
use bistro_core::ports::{BucketAddress, Metagraph, Neuron, PortError, ReadLimits, Retry};
use bistro_core::protocol::{Accepted, DeltaManifest, Folder, MAX_MANIFEST_BYTES, MasterManifest};
use bistro_core::rules::{MAX_RULES_BYTES, Rules};
use bytes::Bytes;

use crate::master::Master;
use crate::{NodeError, Parts};

/// Validators that are asked for a master, most stake first.
const CANDIDATES: usize = 3;

/// Blocks after which a leader that has renewed nothing is passed over: half an hour on Bittensor's networks.
pub const SILENT_BLOCKS: u64 = 150;

/// Blocks after which a leader renews its pointer.
pub(crate) const RENEW_BLOCKS: u64 = 25;

/// A validator whose master is followed.
#[derive(Clone, Debug)]
pub struct Leader {
    /// Where its objects are.
    pub bucket: BucketAddress,
    /// Its newest master, signature and lineage checked.
    pub manifest: MasterManifest,
}

/// The whole read of a small object.
const SMALL: ReadLimits =
    ReadLimits { max_bytes: MAX_MANIFEST_BYTES, deadline: Duration::from_secs(20), min_bytes_per_second: 1024 };

/// Limits of a large object: the deadline grows with its size at 1 MiB a second.
pub(crate) fn large(max_bytes: u64) -> ReadLimits {
    ReadLimits { max_bytes, deadline: Duration::from_secs(60 + (max_bytes >> 20)), min_bytes_per_second: 256 * 1024 }
}

/// The first validator by authority that has published a valid master and is not silent; if all are, the one that was heard
/// last. `None` if nobody has published any.
///
/// # Errors
/// The own bucket cannot be read. Whoever else cannot be read is passed over.
pub async fn find(parts: &Parts, metagraph: &Metagraph) -> Result<Option<Leader>, PortError> {
    find_but(None, parts, metagraph).await
}

/// The same for whoever follows the master `known`. As long as its publisher is not silent, it is not passed over: others may
/// still have an older master, of the time when they led, and nobody is to go back to that.
///
/// # Errors
/// The own bucket, or that of `known`, cannot be read.
pub async fn find_after(
    known: &MasterManifest,
    parts: &Parts,
    metagraph: &Metagraph,
) -> Result<Option<Leader>, PortError> {
    let heard = silent_for(known, metagraph.block) <= SILENT_BLOCKS;
    find_but(heard.then_some(known.hotkey), parts, metagraph).await
}

async fn find_but(needed: Option<Hotkey>, parts: &Parts, metagraph: &Metagraph) -> Result<Option<Leader>, PortError> {
    let mut heard_last: Option<Leader> = None;
    for neuron in metagraph.by_authority().into_iter().take(CANDIDATES) {
        match read(parts, neuron).await {
            Ok(Some(leader)) if silent_for(&leader.manifest, metagraph.block) <= SILENT_BLOCKS => {
                return Ok(Some(leader));
            }
            Ok(Some(leader)) => {
                if heard_last.as_ref().is_none_or(|last| last.manifest.block < leader.manifest.block) {
                    heard_last = Some(leader);
                }
            }
            Ok(None) => {}
            Err(error) if neuron.hotkey == parts.identity.hotkey() => return Err(error),
            // Even what is no manifest may be one at the next look.
            Err(error) if needed == Some(neuron.hotkey) => return Err(PortError { retry: Retry::Soon, ..error }),
            Err(error) => tracing::warn!(uid = %neuron.uid, %error, "the master of this validator could not be read"),
        }
    }
    Ok(heard_last)
}

/// Blocks since the publisher of `manifest` was last heard.
fn silent_for(manifest: &MasterManifest, block: Block) -> u64 {
    block.since(manifest.block)
}

/// Whether `me` publishes masters: it is the leader, or the first by authority; or the leader is silent, and so is everybody
/// before `me`, each of whom has as long to take over.
pub(crate) fn leads(metagraph: &Metagraph, me: &Hotkey, found: Option<&Leader>) -> bool {
    let order: Vec<Hotkey> = metagraph.by_authority().iter().map(|neuron| neuron.hotkey).collect();
    let Some(rank) = order.iter().position(|hotkey| hotkey == me) else {
        // Without a permit it goes on with what is its own.
        return order.is_empty() || found.is_some_and(|leader| leader.manifest.hotkey == *me);
    };
    let Some(leader) = found else { return rank == 0 };
    let before = order[..rank].iter().filter(|hotkey| **hotkey != leader.manifest.hotkey).count() as u64;
    let silent = silent_for(&leader.manifest, metagraph.block);
    rank == 0 || leader.manifest.hotkey == *me || silent > SILENT_BLOCKS * (before + 1)
}

/// What `neuron` has published; `None` if nothing.
async fn read(parts: &Parts, neuron: &Neuron) -> Result<Option<Leader>, PortError> {
    parts.pulse.beat("looking for the leader");
    // The own server answers with what was put. The public's answer may be an older one, from a cache before it, and a validator
    // that began from that would publish another master in place of one that others have built on (P3).
    if neuron.hotkey == parts.identity.hotkey() {
        return read_own(parts).await;
    }
    let Some(text) = parts.chain.commitment(&neuron.hotkey).await? else { return Ok(None) };
    let bucket = BucketAddress::parse(&text).map_err(|why| bad("BadBucket", why))?;
    read_from(parts, bucket, neuron.hotkey).await
}

async fn read_from(parts: &Parts, bucket: BucketAddress, hotkey: Hotkey) -> Result<Option<Leader>, PortError> {
    let key = Folder::new(parts.netuid, &hotkey).master();
    let Some(json) = parts.public.get(&bucket, &key, SMALL).await? else { return Ok(None) };
    let manifest = read_manifest(parts, hotkey, &json).map_err(|why| bad("BadManifest", why))?;
    Ok(Some(Leader { bucket, manifest }))
}

/// What this hotkey has published itself, read with its own credentials: to a stranger, AWS answers for an absent object
/// as for a forbidden one.
pub(crate) async fn read_own(parts: &Parts) -> Result<Option<Leader>, PortError> {
    let hotkey = parts.identity.hotkey();
    let key = Folder::new(parts.netuid, &hotkey).master();
    let Some(json) = parts.own.get(&key, MAX_MANIFEST_BYTES).await? else { return Ok(None) };
    let damaged = |why| {
        let mend = "if it stays so, restore it; without it, the program goes on from another validator's master";
        // It may be whole, and was damaged on the way.
        let message = format!("`{key}` in the own bucket: {why}; {mend}");
        PortError { name: "BadManifest".into(), message, retry: Retry::Soon }
    };
    let manifest = read_manifest(parts, hotkey, &json).map_err(damaged)?;
    Ok(Some(Leader { bucket: parts.own.address(), manifest }))
}

fn read_manifest(parts: &Parts, hotkey: Hotkey, json: &[u8]) -> Result<MasterManifest, String> {
    let manifest: MasterManifest = parts.statement(json).map_err(|e| e.to_string())?;
    if manifest.hotkey != hotkey || manifest.netuid != parts.netuid {
        return Err("it names another hotkey or subnet".into());
    }
    manifest.check_lineage().map_err(|e| e.to_string())?;
    Ok(manifest)
}

fn bad(name: &str, why: String) -> PortError {
    PortError { name: name.into(), message: why, retry: Retry::Never }
}

impl Leader {
    /// The same validator's newest master: one small read, without asking the chain who leads.
    pub async fn again(&self, parts: &Parts) -> Result<Option<Self>, PortError> {
        read_from(parts, self.bucket.clone(), self.manifest.hotkey).await
    }

    fn folder(&self) -> Folder {
        Folder::new(self.manifest.netuid, &self.manifest.hotkey)
    }

    fn broken(&self, seq: u64, why: impl Into<String>) -> NodeError {
        NodeError::Lineage { hotkey: self.manifest.hotkey, seq, why: why.into() }
    }

    async fn object(&self, parts: &Parts, key: &str, limits: ReadLimits) -> Result<Bytes, NodeError> {
        parts.pulse.beat_within("reading the leader's objects", limits.deadline);
        let found = parts.public.get(&self.bucket, key, limits).await?;
        found.ok_or_else(|| self.broken(self.manifest.seq, format!("`{key}` is not in bucket {}", self.bucket)))
    }

    /// The rules of the run, by their digest.
    pub async fn rules(&self, parts: &Parts) -> Result<Rules, NodeError> {
        let key = self.folder().rules(&self.manifest.rules);
        let json = self.object(parts, &key, ReadLimits { max_bytes: MAX_RULES_BYTES, ..SMALL }).await?;
        if Hash::of(&json) != self.manifest.rules {
            return Err(self.broken(self.manifest.seq, "its rules have another digest"));
        }
        Rules::from_json(&json).map_err(|e| self.broken(self.manifest.seq, e.to_string()))
    }

    /// The newest master: from `have` by the steps in between if the lineage leads there, otherwise from the snapshot.
    pub async fn master(&self, parts: &Parts, spec: &ModelSpec, have: Option<&Master>) -> Result<Master, NodeError> {
        self.master_by(parts, spec, have, |_, _| ()).await
    }

    /// The same; `took` is shown every accepted delta that is added on the way.
    pub async fn master_by(
        &self,
        parts: &Parts,
        spec: &ModelSpec,
        have: Option<&Master>,
        mut took: impl FnMut(&Accepted, &Params),
    ) -> Result<Master, NodeError> {
        let connected = have.filter(|m| self.manifest.hash_of(m.seq) == Some(m.hash));
        let (mut master, steps) = match connected.and_then(|m| Some((m, self.manifest.steps_after(m.seq)?))) {
            Some((have, steps)) => (have.clone(), steps),
            None => {
                let steps = self.manifest.steps_after(self.manifest.snapshot_seq).unwrap_or_default();
                (self.snapshot(parts, spec).await?, steps)
            }
        };
        for step in steps {
            parts.pulse.beat("adding accepted deltas");
            let delta = self.accepted(parts, spec, step).await?;
            master = master.next(&delta, step.scale);
            if master.hash != step.hash {
                return Err(self.broken(step.seq, "the delta does not lead to the hash it states"));
            }
            took(step, &delta);
        }
        Ok(master)
    }

    /// The stored delta of one step, hash checked and decoded.
    pub async fn accepted(&self, parts: &Parts, spec: &ModelSpec, step: &Accepted) -> Result<Params, NodeError> {
        let cap = bistro_delta::max_object_size(spec, step.encoding);
        if step.size > cap {
            return Err(self.broken(step.seq, format!("its delta has {} bytes, at most {cap} are possible", step.size)));
        }
        let bytes = self.object(parts, &self.folder().accepted(&step.object), large(step.size)).await?;
        decode_accepted(spec, step, &bytes).map_err(|why| self.broken(step.seq, why))
    }

    /// Numbers of the pages that the miner stated with an accepted delta.
    pub async fn accepted_pages(&self, parts: &Parts, step: &Accepted) -> Result<Vec<u64>, NodeError> {
        let key = self.folder().accepted_manifest(&step.object);
        let bytes = self.object(parts, &key, ReadLimits { max_bytes: MAX_MANIFEST_BYTES, ..SMALL }).await?;
        let statement: DeltaManifest = parts.statement(&bytes).map_err(|e| self.broken(step.seq, e.to_string()))?;
        if (statement.hotkey, statement.object) != (step.hotkey, step.object) {
            return Err(self.broken(step.seq, "the manifest beside its delta is of another one"));
        }
        Ok(statement.pages)
    }

    /// Names and shapes of the published master's tensors, from the snapshot's header: for programs that look at a run
    /// without building its model. At most `max_bytes` are downloaded.
    pub async fn published_spec(&self, parts: &Parts, max_bytes: u64) -> Result<ModelSpec, NodeError> {
        let MasterManifest { snapshot_seq: seq, snapshot: hash, .. } = self.manifest;
        let bytes = self.object(parts, &self.folder().snapshot(seq, &hash), large(max_bytes)).await?;
        let (header, _) = bistro_delta::header::Header::read(&bytes).map_err(|e| self.broken(seq, e.to_string()))?;
        let shape = |sides: &[u64]| sides.iter().map(|side| *side as usize).collect();
        Ok(ModelSpec { tensors: header.tensors.iter().map(|(name, t)| (name.clone(), shape(&t.shape))).collect() })
    }

    async fn snapshot(&self, parts: &Parts, spec: &ModelSpec) -> Result<Master, NodeError> {
        let MasterManifest { snapshot_seq: seq, snapshot: hash, snapshot_size: size, .. } = self.manifest;
        let cap = bistro_delta::max_master_size(spec);
        if size > cap {
            return Err(self.broken(seq, format!("its snapshot has {size} bytes, at most {cap} are possible")));
        }
        tracing::info!(seq, mebibytes = size >> 20, "downloading the master");
        let _shown = parts.wait("downloading the master", Some(size));
        let bytes = self.object(parts, &self.folder().snapshot(seq, &hash), large(size)).await?;
        let params = bistro_delta::read_master(&bytes, spec, &hash).map_err(|e| self.broken(seq, e.to_string()))?;
        Ok(Master::known(seq, hash, params))
    }
}

/// Decodes the stored delta of a step, after checking that it is the one named.
pub(crate) fn decode_accepted(spec: &ModelSpec, step: &Accepted, bytes: &[u8]) -> Result<Params, String> {
    if Hash::of(bytes) != step.object {
        return Err("its delta has another hash".into());
    }
    bistro_delta::read(bytes, spec, step.encoding).map(|(params, _)| params).map_err(|e| e.to_string())
}
