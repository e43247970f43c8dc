//! Masters stored whole, beside the loop: the upload of a large one lasts as long as many turns. A manifest names one only when
//! it is there.

use std::time::Duration;

use bistro_core::protocol::{MAX_CHAIN, MasterManifest};
use tokio_util::task::AbortOnDropHandle;

use crate::compute::joined;
use crate::master::Master;
use crate::publish::{self, SNAPSHOT_EVERY, Snapshot};
use crate::{NodeError, Parts, leader};

/// Steps behind the snapshot at which the loop waits for the next one: a manifest has room for [`MAX_CHAIN`].
const LONGEST: u64 = MAX_CHAIN as u64 - SNAPSHOT_EVERY;

/// The upload that is under way, if there is one. Dropped with this, it leaves nothing half in the bucket.
pub(super) struct Snapshots {
    parts: Parts,
    storing: Option<AbortOnDropHandle<Result<Snapshot, NodeError>>>,
}

impl Snapshots {
    pub(super) fn new(parts: &Parts) -> Self {
        Self { parts: parts.aside(), storing: None }
    }

    /// Begins to store `master` if it is [`SNAPSHOT_EVERY`] steps or more behind the snapshot that `lineage` names, and no upload
    /// is under way.
    pub(super) fn offer(&mut self, master: &Master, lineage: &MasterManifest) {
        if self.storing.is_none() && master.seq.saturating_sub(lineage.snapshot_seq) >= SNAPSHOT_EVERY {
            let (parts, master) = (self.parts.clone(), master.clone());
            let storing = tokio::spawn(async move { publish::store(&parts, &master).await });
            self.storing = Some(AbortOnDropHandle::new(storing));
        }
    }

    /// The snapshot of `lineage` that was stored meanwhile. Where the manifest has room for few steps more, it is waited for.
    pub(super) async fn stored(
        &mut self,
        loops: &Parts,
        master: &Master,
        lineage: &MasterManifest,
    ) -> Result<Option<Snapshot>, NodeError> {
        let full = lineage.seq.saturating_sub(lineage.snapshot_seq) >= LONGEST;
        if full {
            self.offer(master, lineage);
            loops.pulse.beat_within("waiting for a snapshot to be stored", patience(lineage));
        }
        let Some(storing) = self.storing.take_if(|storing| full || storing.is_finished()) else { return Ok(None) };
        match joined(storing).await {
            // Another validator may have led meanwhile, to another master.
            Ok(snapshot) => Ok(Some(snapshot).filter(|s| lineage.hash_of(s.seq) == Some(s.hash))),
            Err(error) if full => Err(error),
            Err(error) => {
                tracing::warn!(%error, "the master could not be stored whole; that is tried again after the next step");
                Ok(None)
            }
        }
    }
}

/// For how long an upload may last, with a failure or two.
fn patience(lineage: &MasterManifest) -> Duration {
    leader::large(lineage.snapshot_size).deadline * 3
}
