//! A published lineage, recomputed from its objects: the first master, then every accepted delta in turn. Anyone can do it
//! for anyone's bucket; nothing is needed but public reads.

use bistro_core::ids::{Hash, Hotkey};
use bistro_core::params::ModelSpec;
use bistro_core::ports::{BucketAddress, ReadLimits};
use bistro_core::protocol::{Accepted, Folder, MAX_MANIFEST_BYTES, MasterManifest};

use crate::leader::{self, Leader};
use crate::master::Master;
use crate::{NodeError, Parts};

/// A lineage that was recomputed.
#[derive(Clone, Debug)]
pub struct Lineage {
    /// The newest master, as recomputed.
    pub master: Master,
    /// Every step, oldest first.
    pub steps: Vec<Accepted>,
    /// The hash that the validator states.
    pub stated: Hash,
}

impl Lineage {
    /// Whether the recomputed master is the published one.
    pub fn holds(&self) -> bool {
        self.master.hash == self.stated
    }
}

/// Recomputes what `leader` has published, from its first master on.
pub async fn lineage(parts: &Parts, leader: &Leader, spec: &ModelSpec) -> Result<Lineage, NodeError> {
    let MasterManifest { seq: newest, hash: stated, .. } = leader.manifest;
    let mut walk = Walk::begin(parts, leader, spec).await?;
    let mut steps = Vec::new();
    while walk.master.seq < newest {
        steps.push(walk.step().await?);
    }
    Ok(Lineage { master: walk.master, steps, stated })
}

/// A lineage on the way from its first master on, one step at a time.
pub struct Walk<'a> {
    parts: &'a Parts,
    leader: &'a Leader,
    spec: &'a ModelSpec,
    master: Master,
}

impl<'a> Walk<'a> {
    /// At the first master.
    pub async fn begin(parts: &'a Parts, leader: &'a Leader, spec: &'a ModelSpec) -> Result<Self, NodeError> {
        let first = manifest(parts, &leader.bucket, leader.manifest.hotkey, 0).await?;
        let origin = Leader { bucket: leader.bucket.clone(), manifest: first };
        let master = origin.master(parts, spec, None).await?;
        Ok(Self { parts, leader, spec, master })
    }

    /// The master that is reached.
    pub fn master(&self) -> &Master {
        &self.master
    }

    /// On to the next master, which its delta must lead to.
    pub async fn step(&mut self) -> Result<Accepted, NodeError> {
        let (hotkey, seq) = (self.leader.manifest.hotkey, self.master.seq + 1);
        let at = manifest(self.parts, &self.leader.bucket, hotkey, seq).await?;
        let broken = |why: &str| NodeError::Lineage { hotkey, seq, why: why.to_owned() };
        let step =
            at.chain.last().filter(|step| step.seq == seq).cloned().ok_or_else(|| broken("its step is missing"))?;
        if step.parent != self.master.hash {
            return Err(broken("it does not follow from the master before"));
        }
        let delta = self.leader.accepted(self.parts, self.spec, &step).await?;
        let next = self.master.next(&delta, step.scale);
        if next.hash != step.hash {
            return Err(broken("the delta does not lead to the hash it states"));
        }
        self.master = next;
        Ok(step)
    }
}

/// The signed manifest of master `seq`.
async fn manifest(
    parts: &Parts,
    bucket: &BucketAddress,
    hotkey: Hotkey,
    seq: u64,
) -> Result<MasterManifest, NodeError> {
    let broken = |why: String| NodeError::Lineage { hotkey, seq, why };
    let key = Folder::new(parts.netuid, &hotkey).master_step(seq);
    let limits = ReadLimits { max_bytes: MAX_MANIFEST_BYTES, ..leader::large(0) };
    let json = parts.public.get(bucket, &key, limits).await?;
    let json = json.ok_or_else(|| broken(format!("`{key}` is not in bucket {bucket}")))?;
    let manifest: MasterManifest = parts.statement(&json).map_err(|e| broken(e.to_string()))?;
    manifest.check_lineage().map_err(|e| broken(e.to_string()))?;
    if manifest.hotkey == hotkey && manifest.seq == seq { Ok(manifest) } else { Err(broken("it names another".into())) }
}
