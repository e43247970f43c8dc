//! What lies in the buckets: object names, signed manifests, and the lineage of masters.
//!
//! Objects are immutable and named by their content; the two small pointers `latest.json` and `master.json` are replaced
//! last, so a reader never meets a manifest without its object (P5). Names are always computed from checked fields, never
//! read from a manifest, so no text of a stranger becomes a path.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::ids::{Block, Hash, Hotkey, NetUid, Uid};
use crate::logline::Place;

/// Largest manifest that is read, in bytes: about three times one with [`MAX_CHAIN`] steps.
pub const MAX_MANIFEST_BYTES: u64 = 128 * 1024;

/// Steps of the lineage that a master's manifest repeats, newest last.
pub const MAX_CHAIN: usize = 64;

/// How a delta's numbers are stored. Exact, then ever smaller; what each costs and keeps is measured in `docs/deltas.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// 32-bit floats: exact.
    F32,
    /// bfloat16, rounded to nearest even: half the size.
    Bf16,
    /// 8 bits a value, with the largest of each 256 as their scale: a quarter of the size.
    Int8,
    /// 4 bits a value likewise: an eighth.
    Int4,
    /// The largest 128 of each 4096 values, the others zero: a fiftieth.
    TopK,
    /// A few products of a column and a row, and what is left in steps finer than its size, entropy-coded.
    Fine,
    /// The same in steps coarser than its size, for a miner that sends the rest with its next deltas.
    Coarse,
}

impl Encoding {
    /// All of them, the exact one first.
    pub const ALL: [Self; 7] = [Self::F32, Self::Bf16, Self::Int8, Self::Int4, Self::TopK, Self::Fine, Self::Coarse];

    /// The name in metadata, rules and flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::TopK => "topk",
            Self::Fine => "fine",
            Self::Coarse => "coarse",
        }
    }

    /// Whether a miner that keeps what was lost and adds it to its next delta gains by it. Only f32 loses nothing.
    pub fn is_lossy(self) -> bool {
        self != Self::F32
    }
}

/// A miner's statement about its newest delta; lies signed at [`Folder::latest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeltaManifest {
    /// Subnet.
    pub netuid: NetUid,
    /// The miner's slot when it uploaded.
    pub uid: Uid,
    /// Who signs.
    pub hotkey: Hotkey,
    /// The chain's head when the delta was cut.
    pub block: Block,
    /// Digest of the run's rules.
    pub rules: Hash,
    /// Sequence number of the master that the delta is added to.
    pub base_seq: u64,
    /// Hash of that master.
    pub base: Hash,
    /// How the numbers are stored.
    pub encoding: Encoding,
    /// BLAKE3 of the whole object.
    pub object: Hash,
    /// Length of the object, bytes.
    pub size: u64,
    /// Optimizer steps since the model was last a master, or since the miner's last merge; for people.
    pub steps: u64,
    /// Tokens likewise.
    pub tokens: u64,
    /// Numbers of the own pages (see [`crate::pages::schedule::page`]) that it was trained on since then: at most
    /// [`MAX_STATED_PAGES`], ascending. Validators may ask whether the delta knows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pages: Vec<u64>,
}

/// Most pages that a miner states with one delta.
pub const MAX_STATED_PAGES: usize = 256;

/// One step of the lineage: a delta that a validator added to its master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Sequence number of the master that this step made.
    pub seq: u64,
    /// Hash of that master.
    pub hash: Hash,
    /// Hash of the master before.
    pub parent: Hash,
    /// Whose delta, by slot at the time.
    pub uid: Uid,
    /// Whose delta.
    pub hotkey: Hotkey,
    /// The delta object; its copy lies at [`Folder::accepted`] of the validator's bucket.
    pub object: Hash,
    /// Length of the object, bytes.
    pub size: u64,
    /// How its numbers are stored.
    pub encoding: Encoding,
    /// Sequence number of the master that the miner had trained from.
    pub base_seq: u64,
    /// The factor with which the delta was added.
    pub scale: f32,
    /// The chain's head at the verdict.
    pub block: Block,
    /// Loss on the global pages of the verdict, nats a token.
    pub global_loss: f64,
}

/// A validator's statement about its master; lies signed at [`Folder::master`], and for good at [`Folder::master_step`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MasterManifest {
    /// Subnet.
    pub netuid: NetUid,
    /// Who signs.
    pub hotkey: Hotkey,
    /// The chain's head at publication.
    pub block: Block,
    /// Digest of the run's rules; the document lies at [`Folder::rules`].
    pub rules: Hash,
    /// 0 for the first master, one more for each accepted delta.
    pub seq: u64,
    /// Canonical hash of the master's weights ([`crate::params::Params::hash`]).
    pub hash: Hash,
    /// Sequence number of the newest master stored whole, at most `seq`.
    pub snapshot_seq: u64,
    /// Its hash.
    pub snapshot: Hash,
    /// Length of its object, bytes.
    pub snapshot_size: u64,
    /// The newest steps, oldest first, at most [`MAX_CHAIN`], reaching from the snapshot (or further back) to `seq`.
    pub chain: Vec<Accepted>,
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not the JSON of such a manifest.
    #[error("not a manifest: {0}")]
    Json(String),
    /// The signature is not the hotkey's.
    #[error("the signature is not that of {0}")]
    Signature(Hotkey),
    /// The segments of a log's manifest do not follow from one another.
    #[error("the log's segments are broken at record {0}")]
    Log(u64),
    /// The steps of a master's manifest do not follow from one another.
    #[error("the lineage is broken at master {0}")]
    Lineage(u64),
}

impl MasterManifest {
    /// Checks that the chain is short, gapless, linked by hashes, ends at this master and reaches back to the snapshot.
    pub fn check_lineage(&self) -> Result<(), ManifestError> {
        let broken = |seq| Err(ManifestError::Lineage(seq));
        if self.chain.len() > MAX_CHAIN || self.snapshot_seq > self.seq {
            return broken(self.seq);
        }
        if (self.chain.len() as u64) < self.seq - self.snapshot_seq {
            return broken(self.snapshot_seq);
        }
        let (mut seq, mut hash) = (self.seq, self.hash);
        for step in self.chain.iter().rev() {
            if seq == self.snapshot_seq && hash != self.snapshot {
                return broken(seq);
            }
            if seq == 0 || step.seq != seq || step.hash != hash || !step.scale.is_finite() {
                return broken(step.seq);
            }
            (seq, hash) = (seq - 1, step.parent);
        }
        if seq == self.snapshot_seq && hash != self.snapshot { broken(seq) } else { Ok(()) }
    }

    /// The hash of master `seq`, if the manifest reaches that far back.
    pub fn hash_of(&self, seq: u64) -> Option<Hash> {
        if seq == self.seq {
            return Some(self.hash);
        }
        if seq == self.snapshot_seq {
            return Some(self.snapshot);
        }
        let made = self.chain.iter().find(|step| step.seq == seq).map(|step| step.hash);
        made.or_else(|| self.chain.iter().find(|step| step.seq == seq + 1).map(|step| step.parent))
    }

    /// The steps that lead from master `seq` to this one, oldest first; `None` if the manifest does not reach that far.
    pub fn steps_after(&self, seq: u64) -> Option<&[Accepted]> {
        let missing = self.seq.checked_sub(seq)?;
        let start = self.chain.len().checked_sub(usize::try_from(missing).ok()?)?;
        Some(&self.chain[start..])
    }
}

/// Segments of a log that are published, the newest ones.
pub const MAX_LOG_SEGMENTS: usize = 256;

/// Largest segment of a log, bytes: twice the longest line.
pub const MAX_LOG_SEGMENT_BYTES: u64 = 2 * crate::logline::MAX_LINE_BYTES as u64;

/// A piece of a validator's log: some lines that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSegment {
    /// Where its first line stands.
    pub begin: Place,
    /// Where the line after its last one stands.
    pub end: Place,
    /// BLAKE3 of the object, which lies at [`Folder::log_segment`].
    pub object: Hash,
    /// Length of the object, bytes.
    pub size: u64,
}

/// A validator's statement about its log; lies signed at [`Folder::log`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogManifest {
    /// Subnet.
    pub netuid: NetUid,
    /// Whose log, and who signs.
    pub hotkey: Hotkey,
    /// The chain's head at publication.
    pub block: Block,
    /// What is kept of it, oldest first, at most [`MAX_LOG_SEGMENTS`]; only the last one still grows.
    pub segments: Vec<LogSegment>,
}

impl LogManifest {
    /// Checks that the segments are few, of a bounded length, not empty, and follow one another.
    pub fn check(&self) -> Result<(), ManifestError> {
        let broken = |seq| Err(ManifestError::Log(seq));
        if self.segments.len() > MAX_LOG_SEGMENTS {
            return broken(0);
        }
        let mut before: Option<Place> = None;
        for segment in &self.segments {
            let LogSegment { begin, end, size, .. } = segment;
            if begin.seq >= end.seq || *size > MAX_LOG_SEGMENT_BYTES || before.is_some_and(|before| before != *begin) {
                return broken(begin.seq);
            }
            before = Some(*end);
        }
        Ok(())
    }
}

impl Statement for LogManifest {
    const DOMAIN: &'static str = "bistro/v1/log-manifest";

    fn signer(&self) -> Hotkey {
        self.hotkey
    }
}

/// A statement that can be signed.
pub trait Statement: Serialize + DeserializeOwned {
    /// Signed before the statement itself, so that one kind can never pass for another.
    const DOMAIN: &'static str;

    /// Who must have signed.
    fn signer(&self) -> Hotkey;
}

impl Statement for DeltaManifest {
    const DOMAIN: &'static str = "bistro/v1/delta";

    fn signer(&self) -> Hotkey {
        self.hotkey
    }
}

impl Statement for MasterManifest {
    const DOMAIN: &'static str = "bistro/v1/master";

    fn signer(&self) -> Hotkey {
        self.hotkey
    }
}

/// A statement with its sr25519 signature over [`Signed::message`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed<T> {
    /// What is stated.
    pub statement: T,
    /// 64 bytes in hexadecimal.
    pub signature: String,
}

impl<T: Statement> Signed<T> {
    /// Signs `statement` by `sign`, a function of its hotkey's owner.
    pub fn new(statement: T, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Self {
        let signature = hex::encode(sign(&Self::message(&statement)));
        Self { statement, signature }
    }

    /// What is signed: the kind of statement, a line feed, and the statement's JSON with its fields in declared order.
    pub fn message(statement: &T) -> Vec<u8> {
        let mut message = format!("{}\n", T::DOMAIN).into_bytes();
        // Only a map with keys that are no strings fails to serialise, and no statement has one.
        message.extend(serde_json::to_vec(statement).unwrap_or_default());
        message
    }

    /// The JSON as it lies in the bucket.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a stranger's bytes and checks the signature with `verify(hotkey, message, signature)`.
    pub fn from_json(
        bytes: &[u8],
        verify: impl FnOnce(&Hotkey, &[u8], &[u8; 64]) -> bool,
    ) -> Result<Self, ManifestError> {
        let signed: Self = serde_json::from_slice(bytes).map_err(|e| ManifestError::Json(e.to_string()))?;
        let mut signature = [0; 64];
        let well_formed = hex::decode_to_slice(&signed.signature, &mut signature).is_ok();
        let signer = signed.statement.signer();
        if well_formed && verify(&signer, &Self::message(&signed.statement), &signature) {
            Ok(signed)
        } else {
            Err(ManifestError::Signature(signer))
        }
    }
}

/// The folder of one hotkey in its bucket, and the names of the objects in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    prefix: String,
}

impl Folder {
    /// The folder of `hotkey` on subnet `netuid`.
    pub fn new(netuid: NetUid, hotkey: &Hotkey) -> Self {
        Self { prefix: format!("bistro/v1/{netuid}/{hotkey}/") }
    }

    /// The folder's own name, with a slash at its end.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The pointer to the miner's newest delta.
    pub fn latest(&self) -> String {
        format!("{}latest.json", self.prefix)
    }

    /// A delta.
    pub fn delta(&self, block: Block, object: &Hash) -> String {
        format!("{}delta-{block}-{}.safetensors", self.prefix, object.hash16())
    }

    /// The pointer to the validator's newest master.
    pub fn master(&self) -> String {
        format!("{}master.json", self.prefix)
    }

    /// The manifest of master `seq`, for good.
    pub fn master_step(&self, seq: u64) -> String {
        format!("{}master-{seq}.json", self.prefix)
    }

    /// A master stored whole.
    pub fn snapshot(&self, seq: u64, hash: &Hash) -> String {
        format!("{}master-{seq}-{}.safetensors", self.prefix, hash.hash16())
    }

    /// The validator's copy of an accepted delta.
    pub fn accepted(&self, object: &Hash) -> String {
        format!("{}accepted/{object}.safetensors", self.prefix)
    }

    /// The miner's signed manifest of an accepted delta, kept beside the copy.
    pub fn accepted_manifest(&self, object: &Hash) -> String {
        format!("{}accepted/{object}.json", self.prefix)
    }

    /// The pointer to the validator's log.
    pub fn log(&self) -> String {
        format!("{}log.json", self.prefix)
    }

    /// A piece of the log, whose first record is number `first`.
    pub fn log_segment(&self, first: u64, object: &Hash) -> String {
        format!("{}log-{first}-{}.jsonl", self.prefix, object.hash16())
    }

    /// The rules of the run.
    pub fn rules(&self, digest: &Hash) -> String {
        format!("{}rules-{}.json", self.prefix, digest.hash16())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u8) -> Hash {
        Hash([n; 32])
    }

    fn step(seq: u64) -> Accepted {
        Accepted {
            seq,
            hash: hash(seq as u8),
            parent: hash(seq as u8 - 1),
            uid: Uid(1),
            hotkey: Hotkey([1; 32]),
            object: hash(100 + seq as u8),
            size: 8,
            encoding: Encoding::F32,
            base_seq: seq - 1,
            scale: 0.5,
            block: Block(seq),
            global_loss: 7.123_456_789_012_345,
        }
    }

    fn manifest(chain: std::ops::RangeInclusive<u64>, snapshot_seq: u64) -> MasterManifest {
        let seq = *chain.end();
        MasterManifest {
            netuid: NetUid(1),
            hotkey: Hotkey([9; 32]),
            block: Block(5),
            rules: hash(200),
            seq,
            hash: hash(seq as u8),
            snapshot_seq,
            snapshot: hash(snapshot_seq as u8),
            snapshot_size: 1,
            chain: chain.map(step).collect(),
        }
    }

    #[test]
    fn a_whole_lineage_is_accepted_and_each_break_is_found() {
        manifest(3..=7, 4).check_lineage().unwrap();
        let breaks: [fn(&mut MasterManifest); 6] = [
            |m| m.chain[2].parent = hash(77),
            |m| m.chain[1].seq = 9,
            |m| m.hash = hash(77),
            |m| m.snapshot = hash(77),
            |m| m.snapshot_seq = 1,
            |m| m.chain[0].scale = f32::NAN,
        ];
        for (i, damage) in breaks.iter().enumerate() {
            let mut broken = manifest(3..=7, 4);
            damage(&mut broken);
            assert!(broken.check_lineage().is_err(), "break {i} passed");
        }
    }

    #[test]
    fn a_log_with_a_gap_an_overlap_or_a_huge_piece_is_refused() {
        let place = |n: u8| Place { seq: u64::from(n), prev: hash(n) };
        let segment = |from, to| LogSegment { begin: place(from), end: place(to), object: hash(9), size: 100 };
        let log = |segments| LogManifest { netuid: NetUid(1), hotkey: Hotkey([9; 32]), block: Block(5), segments };
        let whole = vec![segment(3, 7), segment(7, 8)];
        log(whole.clone()).check().unwrap();
        let breaks: [fn(&mut Vec<LogSegment>); 6] = [
            |s| s[1].begin.seq = 8,
            |s| s[1].begin.prev = hash(77),
            |s| s[1].end.seq = 7,
            |s| s[0].size = MAX_LOG_SEGMENT_BYTES + 1,
            |s| s.swap(0, 1),
            |s| s.resize(MAX_LOG_SEGMENTS + 1, s[0]),
        ];
        for (i, damage) in breaks.iter().enumerate() {
            let mut segments = whole.clone();
            damage(&mut segments);
            assert!(log(segments).check().is_err(), "break {i} passed");
        }
    }

    #[test]
    fn steps_after_a_master_lead_to_the_newest() {
        let m = manifest(3..=7, 4);
        let seqs = |from| m.steps_after(from).map(|s| s.iter().map(|a| a.seq).collect::<Vec<_>>());
        assert_eq!(seqs(5), Some(vec![6, 7]));
        assert_eq!(seqs(7), Some(vec![]));
        assert_eq!(seqs(1), None);
        assert_eq!(seqs(8), None);
        assert_eq!(m.hash_of(2), Some(hash(2)));
        assert_eq!(m.hash_of(1), None);
    }

    #[test]
    fn a_signature_binds_every_field_and_the_kind() {
        let signed = Signed::new(manifest(3..=7, 4), |message| {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&Hash::of(message).0);
            signature
        });
        let verify = |_: &Hotkey, message: &[u8], signature: &[u8; 64]| Hash::of(message).0 == signature[..32];
        let json = signed.to_json();
        assert_eq!(Signed::<MasterManifest>::from_json(&json, verify).unwrap(), signed);
        let text = String::from_utf8(json).unwrap();
        for (from, to) in
            [("\"scale\":0.5", "\"scale\":0.25"), ("\"block\":5", "\"block\":6"), ("7.123456789012345", "7.1")]
        {
            let forged = text.replacen(from, to, 1);
            assert_ne!(forged, text);
            let outcome = Signed::<MasterManifest>::from_json(forged.as_bytes(), verify);
            assert_eq!(outcome.unwrap_err(), ManifestError::Signature(Hotkey([9; 32])));
        }
        let extra = text.replacen("\"seq\"", "\"more\":1,\"seq\"", 1);
        assert!(matches!(Signed::<MasterManifest>::from_json(extra.as_bytes(), verify), Err(ManifestError::Json(_))));
    }
}
