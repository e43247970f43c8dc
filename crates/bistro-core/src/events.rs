//! What a validator saw and decided, one record a fact. A line of its log each ([`crate::logline`]); what is here suffices to
//! recompute every verdict, score and weight (P7, [`crate::ledger`]).
//!
//! The log is public, but for what is still to come: pages and miners are named once they were used, and neither the seed of
//! the draws nor the secret of the sketches is ever in it.
//!
//! Enums that hold floats stand under their variant's name (`{"judged": {…}}`), here and in the rules: with a tag inside,
//! serde would buffer their numbers, which fails wherever another crate of the build turns on serde_json's
//! `arbitrary_precision` (the local chain's frame-support does).

use serde::{Deserialize, Serialize};

use crate::ids::{Block, Hash, Hotkey, NetUid, Uid};
use crate::ledger::{Ledger, Slots};
use crate::mechanism::{Candidate, Change, Observation, ScoringRules, Shown, Verdict, credit};
use crate::pages::PageId;
use crate::protocol::Encoding;
use crate::rules::Rules;
use crate::skip::Skip;

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Subnet.
    pub netuid: NetUid,
    /// Whose log.
    pub hotkey: Hotkey,
    /// Its number: 0 for the first, one more for each.
    pub seq: u64,
    /// Hash of the line before; zeros for the first.
    pub prev: Hash,
    /// Milliseconds since the Unix epoch, for people; no decision rests on it.
    pub time: u64,
    /// The chain's head.
    pub block: Block,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The validator began, or went on after a restart.
    Started {
        /// Its version.
        version: String,
        /// Digest of the run's rules.
        rules: Hash,
        /// The master it starts from.
        master_seq: u64,
        /// Its hash.
        master: Hash,
    },
    /// What everything from here on rests on: rules, scores, slots. Stands at each start and at the head of each segment, so
    /// that a log can be followed from there.
    Checkpoint(Box<Checkpoint>),
    /// The slots of the subnet, where they differ from what they were.
    Neurons {
        /// Who holds which.
        slots: Slots,
    },
    /// A miner's delta was passed over.
    Skipped {
        /// Whose.
        uid: Uid,
        /// Whose.
        hotkey: Hotkey,
        /// Which, where it got as far as a manifest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        object: Option<Hash>,
        /// Why.
        skip: Skip,
    },
    /// A miner's delta was judged.
    Judged(Box<Judged>),
    /// A master was measured on the run's yardstick: global pages that stay the same for the whole run, so that masters can
    /// be compared. No decision rests on it.
    Measured {
        /// Its number.
        seq: u64,
        /// Its hash.
        hash: Hash,
        /// Nats a token.
        loss: f64,
    },
    /// A master was published.
    Published {
        /// Its number.
        seq: u64,
        /// Its hash.
        hash: Hash,
        /// The delta that made it; none for the first of a run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        object: Option<Hash>,
        /// The global loss with which that delta was accepted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        global_loss: Option<f64>,
    },
    /// A master of another validator was followed.
    Followed {
        /// Its publisher.
        hotkey: Hotkey,
        /// Its number.
        seq: u64,
        /// Its hash.
        hash: Hash,
    },
    /// Weights were set on the chain.
    WeightsSet {
        /// The record (a verdict or a fault) after which the scores gave them.
        after: u64,
        /// 16-bit weights by uid.
        weights: Vec<(Uid, u16)>,
    },
    /// Weights were refused, or could not be sent.
    WeightsRefused {
        /// The chain's name of the refusal.
        name: String,
        /// In words.
        message: String,
    },
}

/// What a log can be followed from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The run's rules, whole.
    pub rules: Rules,
    /// Scores and threshold.
    pub ledger: Ledger,
    /// Who holds which slot.
    pub slots: Slots,
}

/// Everything that a verdict rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// Whose delta.
    pub uid: Uid,
    /// Whose delta.
    pub hotkey: Hotkey,
    /// Which.
    pub object: Hash,
    /// Length of the object, bytes.
    pub size: u64,
    /// How its numbers are stored.
    pub encoding: Encoding,
    /// The block at which the miner says it was cut.
    pub cut: Block,
    /// The block at which the turn was drawn: the local pages are of that block's window.
    pub drawn: Block,
    /// The master it was made from.
    pub base_seq: u64,
    /// The master it was added to.
    pub master_seq: u64,
    /// Local pages drawn.
    pub local_pages: Vec<PageId>,
    /// Numbers of the pages that the miner says to have trained on, as far as it can have: where there are any and pay is
    /// capped by them, the local pages are of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trained: Vec<u64>,
    /// Global pages drawn.
    pub global_pages: Vec<PageId>,
    /// Loss on the local pages with the best candidate, nats a token.
    pub local_loss: f64,
    /// Loss on the global pages with the best candidate.
    pub global_loss: f64,
    /// The master's own loss on the global pages, where the rule asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_loss: Option<f64>,
    /// Global loss for each factor.
    pub candidates: Vec<Candidate>,
    /// The loss to get below, where the rule has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_loss: Option<f64>,
    /// What became of it.
    pub verdict: Verdict,
    /// The newest master that took, or may have taken, an earlier delta of this hotkey: the newest that is known to have, or
    /// the last one before those of which it is known who made them.
    pub merged_by: u64,
    /// What it improved, if it was accepted and the rules pay by improvement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// What an accepted delta improved, on pages that had no part in the choice of its factor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Global pages drawn for this.
    pub pages: Vec<PageId>,
    /// Losses on them.
    pub global: Change,
    /// Losses on the verdict's local pages.
    pub local: Change,
}

impl Judged {
    /// By how much more the whole delta would gain on its local pages than on global ones, nats a token, if it was accepted and
    /// pay is by improvement. Where the miner stated pages, the local ones are of those (see [`crate::mechanism::work`]).
    pub fn premium(&self) -> Option<f64> {
        let scale = Candidate::best(&self.candidates).map_or(1.0, |best| f64::from(best.scale));
        self.proof.as_ref().map(|proof| (proof.local.gain() - proof.global.gain()) / scale)
    }

    /// What scores make of it, at the record's `block`.
    pub fn observation(&self, rules: &ScoringRules, block: Block) -> Observation {
        let gain = |proof: &Proof| credit::gain(rules.local_share, proof.local, proof.global);
        Observation {
            hotkey: self.hotkey,
            block,
            local: self.local_loss,
            global: self.global_loss,
            gain: self.proof.as_ref().map_or(0.0, gain),
            master_seq: self.master_seq,
            merged_by: self.merged_by,
            shown: self.premium().map(|premium| Shown { premium, pages: self.trained.clone() }),
        }
    }
}
