//! What came of following a log.

use bistro_core::events::{Event, Record};
use bistro_core::ids::Hotkey;
use bistro_core::mechanism::Verdict;
use serde::Serialize;

use super::on_chain::Comparison;

/// Differences that are told one by one.
const TOLD: usize = 100;

/// Most characters of a value in a difference: the log may be hostile.
const MAX_VALUE: usize = 400;

/// What differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The rules are none, or out of bounds.
    Rules,
    /// A uid is another hotkey's.
    Slot,
    /// A local page is not one of the miner's at that block.
    LocalPages,
    /// The loss of a verdict is not its best candidate's.
    GlobalLoss,
    /// A loss is not that of the objects.
    MeasuredLoss,
    /// The loss to get below is another.
    Threshold,
    /// The verdict does not follow from its losses.
    Verdict,
    /// A score does not follow from the verdicts.
    Score,
    /// Weights do not follow from the scores.
    Weights,
    /// The chain has other weights than were set.
    WeightsOnChain,
    /// A published master does not follow from the verdicts, or from its delta.
    Master,
}

/// One record that states something else than what follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The record's number.
    pub record: u64,
    /// What differs.
    pub what: What,
    /// What it states.
    pub stated: String,
    /// What follows.
    pub recomputed: String,
}

/// What came of following a log.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Whose log.
    pub hotkey: Option<Hotkey>,
    /// The first record's number: above 0 where the beginning is not kept.
    pub first: u64,
    /// Records followed.
    pub records: u64,
    /// The checkpoint whose scores had to be taken as stated, because what led to them is not kept (or there was nothing yet).
    pub trusted_until: Option<u64>,
    /// How often the program started.
    pub starts: u64,
    /// How often scores began anew: other rules, or a state that was lost.
    pub anew: u64,
    /// Verdicts.
    pub judged: u64,
    /// Verdicts that accept.
    pub accepted: u64,
    /// Deltas passed over.
    pub skipped: u64,
    /// Masters published.
    pub published: u64,
    /// Weights set.
    pub weights_set: u64,
    /// The chain's weights against those, where the chain was asked.
    pub on_chain: Option<Comparison>,
    /// Verdicts whose losses were measured again.
    pub measured_again: u64,
    /// Verdicts that could not be measured again, because an object or a page is not there any more.
    pub not_measured: u64,
    /// The largest difference of a loss that was measured again, nats a token.
    pub largest_difference: f64,
    /// What differs, the first ones.
    pub differences: Vec<Difference>,
    /// How many more there are.
    pub more_differences: u64,
    /// Where the log itself breaks off: a record that was changed, removed or moved.
    pub broken: Option<String>,
}

impl Report {
    /// Whether the log is whole and everything in it follows.
    pub fn holds(&self) -> bool {
        self.broken.is_none() && self.differences.is_empty()
    }

    /// Whether the log is there from its first record on.
    pub(super) fn whole(&self) -> bool {
        self.first == 0
    }

    pub(super) fn count(&mut self, record: &Record) {
        if self.records == 0 {
            (self.first, self.hotkey) = (record.seq, Some(record.hotkey));
        }
        self.records += 1;
        match &record.event {
            Event::Started { .. } => self.starts += 1,
            Event::Judged(judged) => {
                self.judged += 1;
                self.accepted += u64::from(matches!(judged.verdict, Verdict::Accept(_)));
            }
            Event::Skipped { .. } => self.skipped += 1,
            Event::Published { .. } => self.published += 1,
            Event::WeightsSet { .. } => self.weights_set += 1,
            _ => {}
        }
    }

    /// Notes differences of record `seq`: what, stated, recomputed.
    pub(super) fn add(&mut self, record: u64, found: Vec<(What, String, String)>) {
        let short = |text: String| text.chars().take(MAX_VALUE).collect();
        for (what, stated, recomputed) in found {
            if self.differences.len() < TOLD {
                let (stated, recomputed) = (short(stated), short(recomputed));
                self.differences.push(Difference { record, what, stated, recomputed });
            } else {
                self.more_differences += 1;
            }
        }
    }
}
