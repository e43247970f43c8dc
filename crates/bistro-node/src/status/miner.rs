//! What only a miner has: losses, speed, uploads, and what was merged.

use std::time::Duration;

use bistro_core::ids::{Block, Hash, Hotkey};
use bistro_core::protocol::{Accepted, MAX_CHAIN, MasterManifest};
use serde::{Deserialize, Serialize};

use super::{Judgement, Series, finite, keep_last};

/// Uploads that are shown.
const MAX_UPLOADS: usize = 32;

/// Merges that are shown, and known again: as many as a manifest repeats.
const MAX_MERGES: usize = MAX_CHAIN;

/// A miner's work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MinerStatus {
    /// Optimizer steps of this process.
    pub steps: u64,
    /// Tokens trained on by this process.
    pub tokens: u64,
    /// Steps whose work is not merged.
    pub unmerged_steps: u64,
    /// Tokens a second while the model trains.
    pub tokens_per_second: f64,
    /// Mean training loss of each epoch.
    pub losses: Series<LossPoint>,
    /// The master that the own work is based on.
    pub base: Option<BaseStatus>,
    /// Whose master is followed.
    pub leader: Option<Hotkey>,
    /// How the own work came to the newest master.
    pub last_move: Option<Move>,
    /// Uploads of this process.
    pub uploads: u64,
    /// Bytes of deltas uploaded by this process.
    pub uploaded_bytes: u64,
    /// Epochs whose work went with a later upload, since the one before was still under way.
    pub uploads_delayed: u64,
    /// The newest uploads, oldest first.
    pub uploaded: Vec<Upload>,
    /// Own deltas that masters took, as far as this process has seen.
    pub merges: u64,
    /// The newest of them, oldest first.
    pub merged: Vec<Merge>,
    /// What validators say in their published logs, most stake first.
    pub judgements: Vec<Judgement>,
    /// When these logs were last read; none: not yet by this process.
    #[serde(default)]
    pub judgements_read: Option<u64>,
}

/// The loss of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossPoint {
    /// When.
    pub time: u64,
    /// Optimizer steps of this process until then.
    pub step: u64,
    /// Nats a token.
    pub loss: Option<f64>,
}

/// The master that the own work is based on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseStatus {
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// When it was taken.
    pub time: u64,
}

/// A move to a newer master.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Move {
    /// When.
    pub time: u64,
    /// From which master.
    pub from: u64,
    /// To which.
    pub to: u64,
    /// Whether it holds work of this miner that the one before did not.
    pub own: bool,
    /// Share of the unmerged work that was kept; none if the model was reset.
    pub kept: Option<f32>,
}

/// An upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// When.
    pub time: u64,
    /// The block that its manifest states.
    pub block: Block,
    /// Number of the master that it is added to.
    pub base_seq: u64,
    /// Which.
    pub object: Hash,
    /// Its length.
    pub bytes: u64,
    /// How long it took, milliseconds.
    pub millis: u64,
}

/// An own delta in a master.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Merge {
    /// Number of the master that it made.
    pub seq: u64,
    /// The chain's head at the verdict.
    pub block: Block,
    /// Which.
    pub object: Hash,
    /// The factor with which it was added.
    pub scale: f32,
    /// Global loss of the verdict, nats a token.
    pub global_loss: Option<f64>,
}

impl MinerStatus {
    /// Takes in one optimizer step on `tokens`, after `busy` of the epoch that has had `epoch_tokens` so far.
    pub fn stepped(&mut self, tokens: u64, epoch_tokens: u64, busy: Duration) {
        self.steps += 1;
        self.tokens += tokens;
        let seconds = busy.as_secs_f64();
        if seconds > 0.0 {
            self.tokens_per_second = epoch_tokens as f64 / seconds;
        }
    }

    /// Takes in the mean loss of an epoch.
    pub fn trained(&mut self, time: u64, loss: f64, unmerged_steps: u64) {
        self.unmerged_steps = unmerged_steps;
        self.losses.push(LossPoint { time, step: self.steps, loss: finite(loss) });
    }

    /// Takes in an upload.
    pub fn uploaded(&mut self, upload: Upload) {
        self.uploads += 1;
        self.uploaded_bytes += upload.bytes;
        self.uploaded.push(upload);
        keep_last(&mut self.uploaded, MAX_UPLOADS);
    }

    /// Takes in what the leader has published: whose master is followed, and what it took from `me`.
    pub fn followed(&mut self, me: Hotkey, manifest: &MasterManifest) {
        self.leader = Some(manifest.hotkey);
        for step in manifest.chain.iter().filter(|step| step.hotkey == me) {
            let Accepted { seq, block, object, scale, .. } = *step;
            if self.merged.iter().any(|merge| (merge.seq, merge.object) == (seq, object)) {
                continue;
            }
            self.merges += 1;
            self.merged.push(Merge { seq, block, object, scale, global_loss: finite(step.global_loss) });
        }
        keep_last(&mut self.merged, MAX_MERGES);
    }
}

#[cfg(test)]
mod tests {
    use bistro_core::ids::{NetUid, Uid};
    use bistro_core::protocol::Encoding;

    use super::*;

    const ME: Hotkey = Hotkey([2; 32]);

    fn manifest(leader: u8, seqs: std::ops::RangeInclusive<u64>) -> MasterManifest {
        let step = |seq: u64| Accepted {
            seq,
            hash: Hash([seq as u8; 32]),
            parent: Hash([seq as u8 - 1; 32]),
            uid: Uid(1),
            hotkey: if seq.is_multiple_of(2) { ME } else { Hotkey([3; 32]) },
            object: Hash([seq as u8; 32]),
            size: 1,
            encoding: Encoding::F32,
            base_seq: 0,
            scale: 0.5,
            block: Block(seq),
            global_loss: 6.0,
        };
        MasterManifest {
            netuid: NetUid(1),
            hotkey: Hotkey([leader; 32]),
            block: Block(1),
            rules: Hash([0; 32]),
            seq: *seqs.end(),
            hash: Hash([1; 32]),
            snapshot_seq: 0,
            snapshot: Hash([0; 32]),
            snapshot_size: 0,
            chain: seqs.map(step).collect(),
        }
    }

    #[test]
    fn an_own_delta_in_the_lineage_counts_once_however_often_it_is_seen() {
        let mut status = MinerStatus::default();
        status.followed(ME, &manifest(1, 1..=4));
        status.followed(ME, &manifest(1, 1..=4));
        status.followed(ME, &manifest(1, 3..=6));
        assert_eq!(status.merges, 3);
        assert_eq!(status.merged.iter().map(|merge| merge.seq).collect::<Vec<_>>(), [2, 4, 6]);
        // Another validator leads for a while, from an older master on, and took nothing since.
        status.followed(ME, &manifest(8, 1..=3));
        status.followed(ME, &manifest(1, 3..=6));
        assert_eq!((status.merges, status.leader), (3, Some(Hotkey([1; 32]))));
    }

    #[test]
    fn what_is_shown_of_uploads_is_bounded_and_what_is_counted_is_not() {
        let mut status = MinerStatus::default();
        for n in 0..100 {
            let upload = Upload { time: n, block: Block(n), base_seq: 0, object: Hash([0; 32]), bytes: 10, millis: 1 };
            status.uploaded(upload);
        }
        assert_eq!((status.uploads, status.uploaded_bytes, status.uploaded.len()), (100, 1000, MAX_UPLOADS));
        assert_eq!(status.uploaded.last().map(|upload| upload.time), Some(99));
    }
}
