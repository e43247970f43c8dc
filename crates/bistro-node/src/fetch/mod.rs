//! A miner's delta, from commitment to checked tensors. Everything on the way is hostile; every refusal is a [`Skip`] with
//! a named reason, in the order of [`Fetcher::download`] and [`Fetcher::open`], and costs a bounded time and number of
//! bytes (P1).
//!
//! - this file: the download, and the checks of statement and values. What needs no master is done with the download, while
//!   the model is busy with another delta; a master moves meanwhile, so the statement is checked once more.
//! - [`memory`]: what is remembered of deltas, and by which a copy is told from an original.

pub mod memory;

use std::sync::Arc;
use std::time::Duration;

use bistro_core::ids::{Block, Hash};
use bistro_core::params::{ModelSpec, Params};
use bistro_core::ports::{BucketAddress, Neuron, PortError, ReadLimits};
use bistro_core::protocol::{DeltaManifest, Folder, MAX_MANIFEST_BYTES, MAX_STATED_PAGES, MasterManifest};
use bistro_core::rules::Rules;
use bistro_core::skip::{Reason, Skip};
use bistro_delta::DeltaMeta;
use bytes::Bytes;

use crate::Parts;
use crate::compute::{aside, joined};
pub use memory::{Copier, Likeness, Memory, Past, Refused, Seen};

/// Blocks by which a miner's head may be ahead of ours.
const BLOCK_TOLERANCE: u64 = 3;

/// What a commitment and a manifest may take together, with room.
const CHAIN_AND_MANIFEST: Duration = Duration::from_mins(2);

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
    /// Who is now known to have copied it.
    pub copiers: Vec<Copier>,
}

/// A delta as it was downloaded, of the stated size and hash.
#[derive(Clone, Debug)]
pub struct Download {
    /// What the miner states, signature checked.
    pub manifest: DeltaManifest,
    /// That statement as it lay in the bucket.
    pub manifest_bytes: Bytes,
    /// The object.
    pub object: Bytes,
    /// What is in it, or why nothing is taken from it.
    pub values: Result<Values, Skip>,
}

/// The values of a delta, finite and of the model's form.
#[derive(Clone, Debug)]
pub struct Values {
    /// The values.
    pub params: Params,
    /// Their Euclidean norm.
    pub norm: f64,
    /// By which copies are found.
    pub likeness: Likeness,
}

/// Why there is no delta to judge; the object where it got as far as a manifest.
pub type Refusal = (Skip, Option<Hash>);

/// What a miner's statement is checked against, at one moment. Cheap to clone, so that the next delta can be downloaded
/// while this one is judged.
#[derive(Clone)]
pub struct Fetcher {
    /// The outside world.
    pub parts: Parts,
    /// The rules of the run.
    pub rules: Arc<Rules>,
    /// Their digest.
    pub digest: Hash,
    /// The model's tensors.
    pub spec: Arc<ModelSpec>,
    /// By which sketches are made: [`Memory::secret`].
    pub secret: Hash,
    /// The newest master and those before it.
    pub lineage: Arc<MasterManifest>,
    /// The newest master's norm.
    pub norm: f64,
    /// The chain's head.
    pub head: Block,
}

impl Fetcher {
    /// The newest delta of `neuron` up to its values, or why there is none to judge. `past` is what is remembered of the neuron.
    pub async fn download(&self, neuron: &Neuron, past: &Past) -> Result<Download, Refusal> {
        let nameless = |skip| (skip, None);
        let bucket = bucket(&self.parts, neuron).await.map_err(nameless)?;
        let (manifest, manifest_bytes) = manifest(&self.parts, &bucket, neuron).await.map_err(nameless)?;
        let named = |skip| (skip, Some(manifest.object));
        self.check_statement(&manifest, neuron, past.seen.as_ref()).map_err(named)?;
        let known = past.refused.as_ref().filter(|refused| refused.manifest == Hash::of(&manifest_bytes));
        known.map_or(Ok(()), |refused| self.check_values(&refused.found)).map_err(named)?;
        let object = self.object(&bucket, &manifest).await.map_err(named)?;
        let (stated, bytes, spec, secret) = ((&manifest).into(), object.clone(), self.spec.clone(), self.secret);
        let values = joined(aside(move || Values::read(&bytes, &spec, &stated, &secret))).await;
        Ok(Download { manifest, manifest_bytes, object, values })
    }

    /// For how long [`Self::download`] may last: as long as the largest delta that the rules allow.
    pub fn patience(&self) -> Duration {
        let sizes = self.rules.mechanism.deltas.encodings.iter();
        let largest = sizes.map(|encoding| bistro_delta::max_object_size(&self.spec, *encoding)).max();
        CHAIN_AND_MANIFEST + deadline(largest.unwrap_or_default())
    }

    /// What was downloaded, held against the master of now: the statement once more (the master may have moved on since),
    /// then the values, their norm, and whether they are the miner's own.
    pub fn open(&self, download: Download, neuron: &Neuron, memory: &mut Memory) -> Result<Delta, Refusal> {
        let Download { manifest, manifest_bytes, object, values } = download;
        let named = |skip| (skip, Some(manifest.object));
        self.check_statement(&manifest, neuron, memory.seen.get(&neuron.hotkey)).map_err(named)?;
        let found = values.as_ref().map(|values| values.norm).map_err(Clone::clone);
        if let Err(skip) = self.check_values(&found) {
            memory.refused.insert(neuron.hotkey, Refused { manifest: Hash::of(&manifest_bytes), found });
            return Err(named(skip));
        }
        let Values { params, likeness, .. } = values.map_err(named)?;
        let max_cosine = self.rules.mechanism.deltas.max_cosine;
        let copiers = memory.check_original(&manifest, likeness, self.head, max_cosine).map_err(named)?;
        let seen = Seen { block: manifest.block, object: manifest.object, master_seq: self.lineage.seq };
        memory.seen.insert(neuron.hotkey, seen);
        Ok(Delta { manifest, manifest_bytes, object, params, copiers })
    }

    /// Whether there are values, and their norm is one that is taken.
    fn check_values(&self, found: &Result<f64, Skip>) -> Result<(), Skip> {
        let norm = found.as_ref().map_err(Clone::clone)?;
        bistro_delta::check_norm(*norm, self.norm, self.rules.mechanism.deltas.max_norm_ratio)
    }

    /// Owner, rules, block, base, what was merged or judged before, encoding, size: all before the object is asked for.
    fn check_statement(&self, m: &DeltaManifest, neuron: &Neuron, seen: Option<&Seen>) -> Result<(), Skip> {
        let refuse = |reason, why: String| Err(Skip::new(reason, why));
        if m.netuid != self.parts.netuid || m.hotkey != neuron.hotkey || m.uid != neuron.uid {
            return refuse(Reason::WrongOwner, format!("it names uid {} {} on netuid {}", m.uid, m.hotkey, m.netuid));
        }
        if m.rules != self.digest {
            return refuse(Reason::OtherRules, format!("made under rules {}", m.rules));
        }
        if m.block.0 > self.head.0 + BLOCK_TOLERANCE || seen.is_some_and(|seen| m.block < seen.block) {
            return refuse(Reason::BadBlock, format!("cut at block {}, the head is {}", m.block, self.head));
        }
        if m.pages.len() > MAX_STATED_PAGES {
            let why = format!("{} pages are stated, at most {MAX_STATED_PAGES} can be", m.pages.len());
            return refuse(Reason::BadManifest, why);
        }
        self.check_base(m)?;
        if seen.is_some_and(|seen| seen.object == m.object && seen.master_seq == self.lineage.seq) {
            return refuse(Reason::AlreadyJudged, format!("on master {}", self.lineage.seq));
        }
        if !self.rules.mechanism.deltas.encodings.contains(&m.encoding) {
            return refuse(Reason::BadEncoding, format!("{} is not allowed here", m.encoding.name()));
        }
        let cap = bistro_delta::max_object_size(&self.spec, m.encoding);
        if m.size > cap {
            return refuse(Reason::TooLarge, format!("{} bytes, at most {cap} are possible", m.size));
        }
        Ok(())
    }

    /// The base must be a recent master of this lineage, and none from before this miner's own last merge: what such a
    /// delta holds is in the master already, in part.
    fn check_base(&self, m: &DeltaManifest) -> Result<(), Skip> {
        let oldest = self.lineage.seq.saturating_sub(self.rules.mechanism.deltas.max_base_age);
        let known = self.lineage.hash_of(m.base_seq) == Some(m.base);
        if m.base_seq < oldest || !known {
            let why = format!(
                "base {} ({}) is no master between {oldest} and {}",
                m.base_seq,
                m.base.hash16(),
                self.lineage.seq
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
        let limits = ReadLimits { max_bytes: m.size, deadline: deadline(m.size), min_bytes_per_second: 256 * 1024 };
        let found = self.parts.public.get_hashed(bucket, &key, limits, &m.object).await.map_err(|e| unreachable(&e))?;
        let object = found.ok_or_else(|| Skip::new(Reason::NoDelta, format!("bucket {bucket} holds no {key}")))?;
        if object.len() as u64 != m.size {
            let why = format!("`{key}` has {} bytes, the manifest says {}", object.len(), m.size);
            return Err(Skip::new(Reason::WrongHash, why));
        }
        Ok(object)
    }
}

impl Values {
    /// Reads an object: form, names, shapes, types, finiteness.
    fn read(object: &[u8], spec: &ModelSpec, stated: &DeltaMeta, secret: &Hash) -> Result<Self, Skip> {
        let params = bistro_delta::decode_delta(object, spec, stated)?;
        Ok(Self { norm: params.norm(), likeness: Likeness::of(&params, secret), params })
    }
}

/// Which object the bucket that `neuron` has `committed` names, without downloading it; `None` if nothing that could be judged. An
/// error says that the bucket could not be read.
pub async fn glance(parts: &Parts, neuron: &Neuron, committed: Option<&str>) -> Result<Option<Hash>, Skip> {
    let found = async { manifest(parts, &bucket_named(committed)?, neuron).await };
    match found.await {
        Ok((manifest, _)) => Ok(Some(manifest.object)),
        Err(skip) if skip.reason == Reason::Unreachable => Err(skip),
        Err(_) => Ok(None),
    }
}

/// The bucket that `neuron` has committed.
async fn bucket(parts: &Parts, neuron: &Neuron) -> Result<BucketAddress, Skip> {
    // A failure of the own chain connection is not the miner's doing, and no fault of anybody.
    let committed = parts.chain.commitment(&neuron.hotkey).await.map_err(|e| Skip::new(Reason::Unreachable, e))?;
    bucket_named(committed.as_deref())
}

/// The bucket that a commitment names.
fn bucket_named(committed: Option<&str>) -> Result<BucketAddress, Skip> {
    let none = || Skip::new(Reason::NoBucket, "no bucket is committed on the chain");
    BucketAddress::parse(committed.ok_or_else(none)?).map_err(|why| Skip::new(Reason::BadBucket, why))
}

/// The signed manifest: length, form, signature.
async fn manifest(parts: &Parts, bucket: &BucketAddress, neuron: &Neuron) -> Result<(DeltaManifest, Bytes), Skip> {
    let key = Folder::new(parts.netuid, &neuron.hotkey).latest();
    let limits =
        ReadLimits { max_bytes: MAX_MANIFEST_BYTES, deadline: Duration::from_secs(10), min_bytes_per_second: 1024 };
    let found = parts.public.get(bucket, &key, limits).await.map_err(|e| unreachable(&e))?;
    let bytes = found.ok_or_else(|| Skip::new(Reason::NoDelta, format!("bucket {bucket} holds no {key}")))?;
    let statement = parts.statement(&bytes).map_err(|error| {
        let signature = matches!(error, bistro_core::protocol::ManifestError::Signature(_));
        Skip::new(if signature { Reason::BadSignature } else { Reason::BadManifest }, error)
    })?;
    Ok((statement, bytes))
}

/// The whole read of a delta of `size` bytes: 1 MiB a second at least, and some seconds to begin.
fn deadline(size: u64) -> Duration {
    Duration::from_secs(20 + (size >> 20))
}

/// A miner's bucket that fails is the miner's trouble, whatever the failure.
fn unreachable(error: &PortError) -> Skip {
    let reason = match error.name.as_str() {
        "TooLarge" => Reason::TooLarge,
        "WrongHash" => Reason::WrongHash,
        // To a stranger, AWS answers for an absent object as for a forbidden one.
        "AccessDenied" => Reason::NoDelta,
        _ => Reason::Unreachable,
    };
    Skip::new(reason, format!("{}: {}", error.name, error.message))
}
