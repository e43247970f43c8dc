//! Why a miner's delta was passed over. A miner's fault is a value, never an error of the validator.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The reason, by its name in logs, events and tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The hotkey has committed no bucket on the chain.
    NoBucket,
    /// The commitment is not a bucket address that this validator reads.
    BadBucket,
    /// The bucket holds no delta of this hotkey.
    NoDelta,
    /// The bucket did not answer in time, or not as an S3 server does.
    Unreachable,
    /// The delta was made under other rules of the run.
    OtherRules,
    /// The manifest is not one: wrong JSON, unknown fields, too long.
    BadManifest,
    /// The manifest names another hotkey, uid or subnet than the bucket's owner.
    WrongOwner,
    /// The signature does not fit the manifest and hotkey.
    BadSignature,
    /// The block in the manifest lies in the future, or before the last one seen from this hotkey.
    BadBlock,
    /// The base is no recent master of this lineage.
    UnknownBase,
    /// The base is older than the master that took this hotkey's last delta: what it holds was merged already.
    BaseBeforeOwnMerge,
    /// This very delta is part of the master already.
    AlreadyMerged,
    /// This very delta was judged on this very master: nothing has changed since.
    AlreadyJudged,
    /// The payload lay in another hotkey's bucket before it lay in this one's: the very same, or one that was judged as its own
    /// before nearly the same one, which is older, was.
    Copied,
    /// Nearly a payload that lay in another hotkey's bucket before. No fault: whose delta was copied while it was not judged yet
    /// uploads such a one next, without copying anything.
    NearCopy,
    /// The payload of another hotkey, or nearly, and it is not known who had it first.
    MaybeCopied,
    /// This hotkey was caught copying, and is not judged for a while.
    Suspended,
    /// An encoding that the run's rules do not allow.
    BadEncoding,
    /// Larger than any delta of this model in this encoding can be.
    TooLarge,
    /// The object is not the one that the manifest names.
    WrongHash,
    /// Not a safetensors file, or with the wrong metadata.
    Malformed,
    /// Tensor names, shapes or types differ from the model's.
    WrongShape,
    /// A value is NaN or infinite.
    NotFinite,
    /// The delta's norm exceeds the rules' share of the master's.
    NormTooLarge,
    /// The model gave no finite loss with this delta.
    LossNotFinite,
}

impl Reason {
    /// Whether only the miner can have caused it, on purpose or by a broken program. Absence, lateness and network
    /// trouble are not faults.
    pub fn is_fault(self) -> bool {
        use Reason::{
            AlreadyJudged, AlreadyMerged, BadBucket, BaseBeforeOwnMerge, MaybeCopied, NearCopy, NoBucket, NoDelta,
            OtherRules, Suspended, UnknownBase, Unreachable,
        };
        !matches!(
            self,
            NoBucket
                | BadBucket
                | NoDelta
                | Unreachable
                | OtherRules
                | UnknownBase
                | BaseBeforeOwnMerge
                | AlreadyMerged
                | AlreadyJudged
                | MaybeCopied
                | NearCopy
                | Suspended
        )
    }

    /// The name used in logs, events and tables.
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// A reason with what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// The named reason.
    pub reason: Reason,
    /// What was found, in words, at most [`Skip::MAX_DETAIL`] characters of a hostile text.
    pub detail: String,
}

impl Skip {
    /// Hostile text is cut here before it reaches a log.
    pub const MAX_DETAIL: usize = 300;

    /// A skip for `reason`; control characters in `detail` are replaced and its length is bounded.
    pub fn new(reason: Reason, detail: impl fmt::Display) -> Self {
        let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        let detail = detail.to_string().chars().take(Self::MAX_DETAIL).map(clean).collect();
        Self { reason, detail }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.name(), self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_detail_is_bounded_and_printable() {
        let skip = Skip::new(Reason::BadManifest, "\u{1b}[2J".repeat(1000));
        assert_eq!(skip.detail.chars().count(), Skip::MAX_DETAIL);
        assert!(!skip.detail.contains('\u{1b}'));
    }

    #[test]
    fn names_are_snake_case() {
        assert_eq!(Reason::NotFinite.name(), "not_finite");
        assert!(Reason::NotFinite.is_fault() && !Reason::NoDelta.is_fault());
    }
}
