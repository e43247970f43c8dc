//! A miner's delta, from commitment to checked tensors. Everything on the way is hostile; every refusal is a [`Skip`] with
//! a named reason, in the order of [`Fetcher::fetch`], and costs a bounded time and number of bytes (P1).

use std::collections::BTreeMap;
use std::time::Duration;

use bistro_core::ids::{Block, Hash, Hotkey};
use bistro_core::params::{ModelSpec, Params};
use bistro_core::ports::{BucketAddress, Neuron, PortError, ReadLimits};
use bistro_core::protocol::{DeltaManifest, Folder, MAX_MANIFEST_BYTES, MasterManifest, Signed};
use bistro_core::rules::Rules;
use bistro_core::skip::{Reason, Skip};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Parts;
use crate::master::Master;

/// Blocks by which a miner's head may be ahead of ours.
const BLOCK_TOLERANCE: u64 = 3;

/// Payloads that are remembered, to tell copies.
const MAX_PAYLOADS: usize = 4096;

/// What is remembered of one hotkey's deltas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Block of its newest manifest that passed all checks.
    pub block: Block,
    /// The delta of that manifest.
    pub object: Hash,
    /// The master on which it was judged.
    pub master_seq: u64,
}

/// What is remembered of deltas, over restarts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// By hotkey.
    pub seen: BTreeMap<Hotkey, Seen>,
    /// Canonical hash of a delta's values → who uploaded it first, at which block.
    pub payloads: BTreeMap<Hash, (Hotkey, Block)>,
}

/// A delta that passed every check.
#[derive(Clone, Debug)]
pub struct Delta {
    /// What the miner states.
    pub manifest: DeltaManifest,
    /// That statement as it lay in the bucket.
    pub manifest_bytes: Bytes,
    /// The object as it lay in the bucket.
    pub object: Bytes,
    /// Its values.
    pub params: Params,
}

/// What came of asking a miner for its delta.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// A delta to judge.
    Delta(Box<Delta>),
    /// None, and why; the object where it got as far as a manifest.
    Skip(Skip, Option<Hash>),
}

/// What a delta is checked against.
pub struct Fetcher<'a> {
    /// The outside world.
    pub parts: &'a Parts,
    /// The rules of the run.
    pub rules: &'a Rules,
    /// Their digest.
    pub digest: Hash,
    /// The model's tensors.
    pub spec: &'a ModelSpec,
    /// The master that the delta would be added to.
    pub master: &'a Master,
    /// Its lineage.
    pub lineage: &'a MasterManifest,
    /// The chain's head.
    pub head: Block,
}

impl Fetcher<'_> {
    /// The newest delta of `neuron`, or why there is none to judge. An error is a failure of the own chain connection,
    /// never the miner's doing.
    pub async fn fetch(&self, neuron: &Neuron, memory: &mut Memory) -> Result<Fetched, PortError> {
        let Some(commitment) = self.parts.chain.commitment(&neuron.hotkey).await? else {
            return Ok(Fetched::Skip(Skip::new(Reason::NoBucket, "no bucket is committed on the chain"), None));
        };
        Ok(match self.fetch_from(&commitment, neuron, memory).await {
            Ok(delta) => Fetched::Delta(Box::new(delta)),
            Err((skip, object)) => Fetched::Skip(skip, object),
        })
    }

    async fn fetch_from(
        &self,
        commitment: &str,
        neuron: &Neuron,
        memory: &mut Memory,
    ) -> Result<Delta, (Skip, Option<Hash>)> {
        let nameless = |skip| (skip, None);
        let bucket = BucketAddress::parse(commitment).map_err(|why| nameless(Skip::new(Reason::BadBucket, why)))?;
        let (manifest, manifest_bytes) = self.manifest(&bucket, neuron).await.map_err(nameless)?;
        let named = |skip| (skip, Some(manifest.object));
        self.check_statement(&manifest, neuron, memory).map_err(named)?;
        let object = self.object(&bucket, &manifest).await.map_err(named)?;
        let params = self.values(&manifest, &object).map_err(named)?;
        check_original(&manifest, &params, memory).map_err(named)?;
        let seen = Seen { block: manifest.block, object: manifest.object, master_seq: self.master.seq };
        memory.seen.insert(neuron.hotkey, seen);
        Ok(Delta { manifest, manifest_bytes, object, params })
    }

    /// The signed manifest: length, form, signature.
    async fn manifest(&self, bucket: &BucketAddress, neuron: &Neuron) -> Result<(DeltaManifest, Bytes), Skip> {
        let key = Folder::new(self.parts.netuid, &neuron.hotkey).latest();
        let limits =
            ReadLimits { max_bytes: MAX_MANIFEST_BYTES, deadline: Duration::from_secs(10), min_bytes_per_second: 1024 };
        let found = self.parts.public.get(bucket, &key, limits).await.map_err(|e| unreachable(&e))?;
        let bytes = found.ok_or_else(|| Skip::new(Reason::NoDelta, format!("bucket {bucket} holds no {key}")))?;
        let verify = |hotkey: &_, message: &[u8], signature: &_| self.parts.identity.verify(hotkey, message, signature);
        let signed = Signed::<DeltaManifest>::from_json(&bytes, verify).map_err(|error| {
            let signature = matches!(error, bistro_core::protocol::ManifestError::Signature(_));
            Skip::new(if signature { Reason::BadSignature } else { Reason::BadManifest }, error)
        })?;
        Ok((signed.statement, bytes))
    }

    /// Owner, rules, block, base, what was merged or judged before, encoding, size: all before the object is asked for.
    fn check_statement(&self, m: &DeltaManifest, neuron: &Neuron, memory: &Memory) -> Result<(), Skip> {
        let refuse = |reason, why: String| Err(Skip::new(reason, why));
        if m.netuid != self.parts.netuid || m.hotkey != neuron.hotkey || m.uid != neuron.uid {
            return refuse(Reason::WrongOwner, format!("it names uid {} {} on netuid {}", m.uid, m.hotkey, m.netuid));
        }
        if m.rules != self.digest {
            return refuse(Reason::OtherRules, format!("made under rules {}", m.rules));
        }
        let seen = memory.seen.get(&m.hotkey);
        if m.block.0 > self.head.0 + BLOCK_TOLERANCE || seen.is_some_and(|seen| m.block < seen.block) {
            return refuse(Reason::BadBlock, format!("cut at block {}, the head is {}", m.block, self.head));
        }
        self.check_base(m)?;
        if seen.is_some_and(|seen| seen.object == m.object && seen.master_seq == self.master.seq) {
            return refuse(Reason::AlreadyJudged, format!("on master {}", self.master.seq));
        }
        if !self.rules.mechanism.deltas.encodings.contains(&m.encoding) {
            return refuse(Reason::BadEncoding, format!("{} is not allowed here", m.encoding.name()));
        }
        let cap = bistro_delta::max_object_size(self.spec, m.encoding);
        if m.size > cap {
            return refuse(Reason::TooLarge, format!("{} bytes, at most {cap} are possible", m.size));
        }
        Ok(())
    }

    /// The base must be a recent master of this lineage, and none from before this miner's own last merge: what such a
    /// delta holds is in the master already, in part.
    fn check_base(&self, m: &DeltaManifest) -> Result<(), Skip> {
        let oldest = self.master.seq.saturating_sub(self.rules.mechanism.deltas.max_base_age);
        let known = self.lineage.hash_of(m.base_seq) == Some(m.base);
        if m.base_seq < oldest || !known {
            let why = format!(
                "base {} ({}) is no master between {oldest} and {}",
                m.base_seq,
                m.base.hash16(),
                self.master.seq
            );
            return Err(Skip::new(Reason::UnknownBase, why));
        }
        let own = |step: &&bistro_core::protocol::Accepted| step.hotkey == m.hotkey;
        if self.lineage.chain.iter().filter(own).any(|step| step.object == m.object) {
            return Err(Skip::new(Reason::AlreadyMerged, "this delta is part of the master"));
        }
        if let Some(step) = self.lineage.chain.iter().filter(own).find(|step| step.seq > m.base_seq) {
            let why = format!("base {} lies before master {}, which took this miner's delta", m.base_seq, step.seq);
            return Err(Skip::new(Reason::BaseBeforeOwnMerge, why));
        }
        Ok(())
    }

    /// The object: at most as long as stated, of the stated hash.
    async fn object(&self, bucket: &BucketAddress, m: &DeltaManifest) -> Result<Bytes, Skip> {
        let key = Folder::new(m.netuid, &m.hotkey).delta(m.block, &m.object);
        let limits = ReadLimits {
            max_bytes: m.size,
            deadline: Duration::from_secs(20 + (m.size >> 20)),
            min_bytes_per_second: 256 * 1024,
        };
        let found = self.parts.public.get(bucket, &key, limits).await.map_err(|e| unreachable(&e))?;
        let object = found.ok_or_else(|| Skip::new(Reason::NoDelta, format!("bucket {bucket} holds no {key}")))?;
        if object.len() as u64 != m.size || Hash::of(&object) != m.object {
            return Err(Skip::new(Reason::WrongHash, format!("`{key}` is not the object that the manifest names")));
        }
        Ok(object)
    }

    /// The values: form, names, shapes, types, finiteness, norm.
    fn values(&self, m: &DeltaManifest, object: &[u8]) -> Result<Params, Skip> {
        let params = bistro_delta::decode_delta(object, self.spec, &m.into())?;
        let ratio = self.rules.mechanism.deltas.max_norm_ratio;
        bistro_delta::check_norm(&params, &self.master.params, ratio)?;
        Ok(params)
    }
}

/// Whether these values were uploaded by another hotkey before; the earlier block wins.
fn check_original(m: &DeltaManifest, params: &Params, memory: &mut Memory) -> Result<(), Skip> {
    let payload = params.hash();
    if let Some((owner, block)) = memory.payloads.get(&payload)
        && *owner != m.hotkey
        && *block <= m.block
    {
        return Err(Skip::new(Reason::Copied, format!("{owner} uploaded the same values at block {block}")));
    }
    if memory.payloads.len() >= MAX_PAYLOADS {
        let oldest = memory.payloads.iter().min_by_key(|(_, (_, block))| *block).map(|(hash, _)| *hash);
        oldest.map(|hash| memory.payloads.remove(&hash));
    }
    memory.payloads.insert(payload, (m.hotkey, m.block));
    Ok(())
}

/// A miner's bucket that fails is the miner's trouble, whatever the failure.
fn unreachable(error: &PortError) -> Skip {
    let reason = match error.name.as_str() {
        "TooLarge" => Reason::TooLarge,
        // To a stranger, AWS answers for an absent object as for a forbidden one.
        "AccessDenied" => Reason::NoDelta,
        _ => Reason::Unreachable,
    };
    Skip::new(reason, format!("{}: {}", error.name, error.message))
}
