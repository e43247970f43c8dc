//! Whether the weights that a validator has on the chain are those that its log says it set.

use std::collections::BTreeMap;

use bistro_core::events::{Event, Record};
use bistro_core::ids::{Block, Uid};
use serde::Serialize;

use super::report::{Report, What};
use super::{near, show};

/// Settings that are kept, the newest ones: where weights are committed first, the chain shows those of some tempos ago.
const KEPT: usize = 16;

/// Blocks in which weights that were set reach the log: until they are final, judging goes on and is written down before them.
const SETTLED: u64 = 50;

/// Weights that the log says were set, and how far it goes.
#[derive(Clone, Debug, Default)]
pub struct Stated {
    /// Record and weights, oldest first.
    set: Vec<(u64, Vec<(Uid, u16)>)>,
    /// What the scores were worth after each record: a program that was killed may have set it and not said so.
    pub(super) given: BTreeMap<u64, Vec<(Uid, u16)>>,
    /// The block of the first record.
    oldest: Option<Block>,
    /// Number and block of the newest record.
    newest: (u64, Block),
}

/// What the chain says.
#[derive(Clone, Debug)]
pub struct OnChain {
    /// The validator's weights, each of `0..=65535`.
    pub weights: Vec<(Uid, u16)>,
    /// When it set, or committed, any the last time.
    pub last_update: Block,
    /// Whether weights are committed first, so that those which show may have been committed long before.
    pub revealed_late: bool,
}

/// How the chain's weights compare with the log's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// They are those of this record.
    SetAt(u64),
    /// They follow from this record, though the log does not say that they were set.
    FollowFrom(u64),
    /// They are, or may be, newer than what the log tells of.
    NewerThanTheLog,
    /// They are, or may be, older than what the log tells of.
    OlderThanTheLog,
    /// The chain has none, or none that are revealed.
    NoneOnTheChain,
    /// They are none of those that the log tells of.
    Others,
}

impl Stated {
    pub(super) fn take(&mut self, record: &Record) {
        self.oldest.get_or_insert(record.block);
        self.newest = (record.seq, self.newest.1.max(record.block));
        if let Event::WeightsSet { weights, .. } = &record.event {
            self.set.push((record.seq, weights.clone()));
            self.set.drain(..self.set.len().saturating_sub(KEPT));
        }
    }

    /// Holds the chain's weights against these, and notes in `report` what came of it.
    pub fn compare(&self, chain: &OnChain, report: &mut Report) {
        let found = self.comparison(chain);
        report.on_chain = Some(found);
        if found == Comparison::Others {
            let (record, stated) = match self.set.last() {
                Some((record, weights)) => (*record, show(weights)),
                None => (self.newest.0, "none were set".to_owned()),
            };
            report.add(record, vec![(What::WeightsOnChain, stated, show(&chain.weights))]);
        }
    }

    fn comparison(&self, chain: &OnChain) -> Comparison {
        if chain.weights.is_empty() {
            return Comparison::NoneOnTheChain;
        }
        let same = |weights: &[(Uid, u16)]| near(&full(weights), &full(&chain.weights));
        if let Some((record, _)) = self.set.iter().rev().find(|(_, weights)| same(weights)) {
            return Comparison::SetAt(*record);
        }
        if let Some((record, _)) = self.given.iter().rev().find(|(_, weights)| same(weights)) {
            return Comparison::FollowFrom(*record);
        }
        let older = self.oldest.is_none_or(|oldest| chain.last_update < oldest);
        if older || chain.revealed_late && self.set.len() < KEPT {
            Comparison::OlderThanTheLog
        } else if self.newest.1.0 <= chain.last_update.0.saturating_add(SETTLED) {
            Comparison::NewerThanTheLog
        } else {
            Comparison::Others
        }
    }
}

/// Scaled until the largest is 65535, as the chain does with what it is sent.
fn full(weights: &[(Uid, u16)]) -> Vec<(Uid, u16)> {
    let largest = weights.iter().map(|(_, weight)| *weight).max().unwrap_or_default().max(1);
    let scale = |weight: u16| (f64::from(weight) * f64::from(u16::MAX) / f64::from(largest)).round() as u16;
    weights.iter().map(|(uid, weight)| (*uid, scale(*weight))).collect()
}

#[cfg(test)]
mod tests {
    use bistro_core::ids::{Hash, Hotkey, NetUid};

    use super::*;

    fn record(seq: u64, block: u64, event: Event) -> Record {
        Record {
            netuid: NetUid(1),
            hotkey: Hotkey([1; 32]),
            seq,
            prev: Hash([0; 32]),
            time: 0,
            block: Block(block),
            event,
        }
    }

    fn weights(of: &[(u16, u16)]) -> Vec<(Uid, u16)> {
        of.iter().map(|(uid, weight)| (Uid(*uid), *weight)).collect()
    }

    /// Set at blocks 100 and 200; the log goes on to block 400.
    fn stated() -> Stated {
        let mut stated = Stated::default();
        let set = |of| Event::WeightsSet { after: 1, weights: weights(of) };
        stated.take(&record(5, 100, set(&[(1, 65535), (2, 100)])));
        stated.take(&record(9, 200, set(&[(1, 30_000), (2, 60_000)])));
        stated.take(&record(12, 400, Event::Measured { seq: 1, hash: Hash([2; 32]), loss: 6.0 }));
        stated
    }

    fn compared(on_chain: &[(u16, u16)], last_update: u64) -> (Comparison, Report) {
        let mut report = Report::default();
        let chain = OnChain { weights: weights(on_chain), last_update: Block(last_update), revealed_late: false };
        stated().compare(&chain, &mut report);
        (report.on_chain.unwrap(), report)
    }

    #[test]
    fn weights_of_the_log_are_recognised_as_the_chain_scales_them_and_where_they_are_revealed_late() {
        let (newest, report) = compared(&[(1, 32_768), (2, 65_535)], 201);
        assert!(newest == Comparison::SetAt(9) && report.holds());
        assert_eq!(compared(&[(1, 65_535), (2, 100)], 200).0, Comparison::SetAt(5));
    }

    #[test]
    fn a_validator_that_sets_others_than_it_logs_is_found_once_the_log_had_time_to_tell() {
        let mine = [(3, 65_535)];
        assert_eq!(compared(&mine, 380).0, Comparison::NewerThanTheLog);
        let (others, report) = compared(&mine, 201);
        assert!(others == Comparison::Others && !report.holds(), "{report:?}");
        let difference = &report.differences[0];
        assert_eq!((difference.record, difference.what), (9, What::WeightsOnChain));
        assert_eq!((difference.stated.as_str(), difference.recomputed.as_str()), ("1: 30000, 2: 60000", "3: 65535"));
    }

    #[test]
    fn a_validator_that_sets_weights_and_logs_none_is_found() {
        let silent = |seq, block| record(seq, block, Event::Measured { seq: 0, hash: Hash([2; 32]), loss: 6.0 });
        let mut stated = Stated::default();
        stated.take(&silent(0, 100));
        stated.take(&silent(7, 400));
        let compared = |last_update, revealed_late| {
            let mut report = Report::default();
            let chain = OnChain { weights: weights(&[(3, 9)]), last_update: Block(last_update), revealed_late };
            stated.compare(&chain, &mut report);
            report
        };
        let report = compared(200, false);
        assert_eq!(report.on_chain, Some(Comparison::Others));
        assert_eq!((report.differences[0].record, report.differences[0].stated.as_str()), (7, "none were set"));
        let given = Stated { given: [(3, weights(&[(3, 65_535)]))].into(), ..stated.clone() };
        let mut report = Report::default();
        let chain = OnChain { weights: weights(&[(3, 9)]), last_update: Block(200), revealed_late: false };
        given.compare(&chain, &mut report);
        assert_eq!(report.on_chain, Some(Comparison::FollowFrom(3)), "killed before it wrote down that they are set");
        assert_eq!(compared(99, false).on_chain, Some(Comparison::OlderThanTheLog), "set before the log began");
        assert_eq!(
            compared(200, true).on_chain,
            Some(Comparison::OlderThanTheLog),
            "perhaps committed before it began"
        );
    }

    #[test]
    fn nothing_follows_where_one_side_has_none() {
        assert_eq!(compared(&[], 10).0, Comparison::NoneOnTheChain);
        let mut report = Report::default();
        let chain = OnChain { weights: weights(&[(1, 9)]), last_update: Block(1), revealed_late: false };
        Stated::default().compare(&chain, &mut report);
        assert!(report.holds() && report.on_chain == Some(Comparison::OlderThanTheLog));
    }
}
