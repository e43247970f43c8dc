//! A delta into the own bucket: object first, pointer last, and old ones removed.

use bistro_core::ids::{Block, Hash, Hotkey, Uid};
use bistro_core::params::Params;
use bistro_core::ports::{PortError, Put};
use bistro_core::protocol::{DeltaManifest, Encoding, Folder, MAX_STATED_PAGES, Signed};
use bytes::Bytes;

use crate::parts::patiently;
use crate::retention::keep_newest;
use crate::status::miner::Upload;
use crate::{NodeError, Parts};

/// Deltas that stay in the bucket: a validator may still be reading the one before the newest.
const KEEP: usize = 3;

/// What a miner states about its delta.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Digest of the run's rules.
    pub rules: Hash,
    /// Number of the master it was trained from.
    pub base_seq: u64,
    /// Its hash.
    pub base: Hash,
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
    /// Numbers of the own pages likewise, ascending; the newest are stated.
    pub pages: Vec<u64>,
}

/// A delta and its signed statement, ready to be sent.
pub struct Parcel {
    folder: Folder,
    key: String,
    object: Bytes,
    manifest: Bytes,
    block: Block,
    base_seq: u64,
    hash: Hash,
}

impl Parcel {
    /// Encodes `delta` and signs the statement. Computes for long.
    pub fn pack(parts: &Parts, statement: &Statement, delta: &Params) -> Self {
        let hotkey: Hotkey = parts.identity.hotkey();
        let folder = Folder::new(parts.netuid, &hotkey);
        let mut manifest = DeltaManifest {
            netuid: parts.netuid,
            uid: statement.uid,
            hotkey,
            block: statement.block,
            rules: statement.rules,
            base_seq: statement.base_seq,
            base: statement.base,
            encoding: statement.encoding,
            object: Hash([0; 32]),
            size: 0,
            steps: statement.steps,
            tokens: statement.tokens,
            pages: statement.pages[statement.pages.len().saturating_sub(MAX_STATED_PAGES)..].to_vec(),
        };
        let object = bistro_delta::encode_delta(delta, &(&manifest).into());
        (manifest.object, manifest.size) = (Hash::of(&object), object.len() as u64);
        let key = folder.delta(statement.block, &manifest.object);
        let hash = manifest.object;
        let manifest = Signed::new(manifest, |message| parts.identity.sign(message)).to_json().into();
        Self { folder, key, object, manifest, block: statement.block, base_seq: statement.base_seq, hash }
    }

    /// Uploads the object, moves the pointer to it, and removes all but the newest deltas. Dropped or failing at any point,
    /// it leaves a pointer to an object that is there.
    pub async fn send(self, parts: Parts) -> Result<(), NodeError> {
        let begun = parts.clock.unix_millis();
        let shown = parts.wait("uploading the delta", Some(self.object.len() as u64));
        let put = || parts.own.put(&self.key, self.object.clone(), Put::Immutable);
        patiently(&parts, "uploading the delta", put).await?;
        let latest = self.folder.latest();
        let point = || parts.own.put(&latest, self.manifest.clone(), Put::Replace);
        patiently(&parts, "moving the pointer to the delta", point).await?;
        drop(shown);
        let mebibytes = self.object.len() as f64 / f64::from(1 << 20);
        tracing::info!(mebibytes, key = self.key, "uploaded");
        self.show(&parts, begun);
        if let Err(error) = self.remove_old(&parts).await {
            tracing::warn!(%error, "old deltas could not be removed; the bucket grows until that works again");
        }
        Ok(())
    }

    fn show(&self, parts: &Parts, begun: u64) {
        let time = parts.clock.unix_millis();
        let upload = Upload {
            time,
            block: self.block,
            base_seq: self.base_seq,
            object: self.hash,
            bytes: self.object.len() as u64,
            millis: time.saturating_sub(begun),
        };
        parts.board.miner(|miner| miner.uploaded(upload));
    }

    /// Removes all deltas but the newest [`KEEP`] and the one that the pointer names.
    async fn remove_old(&self, parts: &Parts) -> Result<(), PortError> {
        let block = |name: &str| name.split_once('-')?.0.parse().ok();
        keep_newest(parts, &format!("{}delta-", self.folder.prefix()), block, KEEP, |_, key| key == self.key).await
    }
}
