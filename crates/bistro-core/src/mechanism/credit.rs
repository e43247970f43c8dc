//! Pay by improvement: what a miner's accepted deltas improved, in the currency of what others' improve at the time.
//!
//! - A gain is signed, and measured on pages that had no part in the choice of the factor: chosen pages flatter, fresh ones
//!   give noise the loss that it brings on average.
//! - What is not merged yet is paid once: the next verdict's gain takes its place. So a follower, whose verdicts merge
//!   nothing, comes to the leader's weights, and showing the same work again earns nothing.
//! - Gains fall as the model learns. Each is divided by the going rate, so that work of the first blocks, when everything
//!   helps, is not paid for long afterwards.
//! - Credit halves every so many blocks: whoever stops is paid no more.

use serde::{Deserialize, Serialize};

use crate::ids::Block;

/// The improvement of a verdict, nats a token: the share of it on the miner's local pages, the rest on global ones.
///
/// Not the smaller of both, though that would not pay for pages learned by heart: the smaller of two noisy numbers is too small
/// on average, and where gains are small it turned honest miners' credit negative.
pub fn gain(local_share: f64, local: Change, global: Change) -> f64 {
    local_share * local.gain() + (1.0 - local_share) * global.gain()
}

/// Loss of the master and of the candidate on the same pages, nats a token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Master.
    pub before: f64,
    /// Master + scale · delta.
    pub after: f64,
}

impl Change {
    /// Positive when the candidate is better.
    pub fn gain(&self) -> f64 {
        self.before - self.after
    }
}

/// What is left of 1 after `blocks`, if half is left after `half_life`.
pub(super) fn decay(blocks: u64, half_life: f64) -> f64 {
    (-(blocks as f64) / half_life).exp2()
}

/// What the positive gains of all miners have been lately: the mean, an older one weighing less by the half-life.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoingRate {
    /// Sum of gains, decayed to `block`.
    pub gains: f64,
    /// Sum of their weights.
    pub weight: f64,
    /// Block of the newest.
    pub block: Block,
}

impl GoingRate {
    /// The rate after `gain` at `block`; one that is not positive changes nothing.
    pub fn observe(previous: Option<Self>, block: Block, gain: f64, half_life: f64) -> Option<Self> {
        if !(gain > 0.0 && gain.is_finite()) {
            return previous;
        }
        let Some(old) = previous else { return Some(Self { gains: gain, weight: 1.0, block }) };
        let left = decay(block.since(old.block), half_life);
        let (gains, weight) = (old.gains * left + gain, old.weight * left + 1.0);
        Some(Self { gains, weight, block: block.max(old.block) })
    }

    /// The mean gain, nats a token; above 0.
    pub fn mean(&self) -> f64 {
        self.gains / self.weight
    }
}

/// What one hotkey is paid for. One unit is one delta at the going rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credit {
    /// Units of what was merged, as of `block`.
    pub settled: f64,
    /// Units of the newest verdict, until a merge settles them or the next verdict takes their place.
    pub pending: f64,
    /// Sum of the squares of what `settled` is made of.
    #[serde(default)]
    pub settled_squares: f64,
    /// Block of the newest verdict.
    pub block: Block,
    /// The master on which it was made.
    pub master_seq: u64,
}

/// A verdict, as far as credit goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Earned {
    /// The chain's head.
    pub block: Block,
    /// Units: 0 for a delta that was not accepted.
    pub units: f64,
    /// The master on which the delta was tried.
    pub master_seq: u64,
    /// The newest master that took, or may have taken, an earlier delta of this hotkey.
    pub merged_by: u64,
}

impl Credit {
    /// The credit after one more verdict.
    #[must_use]
    pub fn observe(self, earned: Earned, half_life: f64) -> Self {
        let old = self.at(earned.block, half_life);
        let (mut settled, mut settled_squares) = (old.settled, old.settled_squares);
        if self.is_settled_by(&earned) {
            settled += old.pending;
            settled_squares += old.pending.powi(2);
        }
        Self { settled, pending: earned.units, settled_squares, master_seq: earned.master_seq, block: old.block }
    }

    /// Whether the newest verdict's delta was merged since, as far as the next one knows.
    pub fn is_settled_by(&self, next: &Earned) -> bool {
        next.merged_by > self.master_seq
    }

    /// What is left of it at `block`.
    #[must_use]
    pub fn at(self, block: Block, half_life: f64) -> Self {
        let left = decay(block.since(self.block), half_life);
        Self {
            settled: self.settled * left,
            pending: self.pending * left,
            settled_squares: self.settled_squares * left * left,
            block: block.max(self.block),
            ..self
        }
    }

    /// Units in all; negative if the deltas did harm.
    pub fn units(&self) -> f64 {
        self.settled + self.pending
    }

    /// How far the units are from chance: in root sums of their squares. About 0, with a standard deviation of 1, for gains
    /// that are noise; the square root of their number for gains that are all the same.
    pub fn clearness(&self) -> f64 {
        self.units() / (self.settled_squares + self.pending.powi(2)).sqrt().max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HALF_LIFE: f64 = 100.0;

    fn change(before: f64, after: f64) -> Change {
        Change { before, after }
    }

    fn verdict(block: u64, units: f64, master_seq: u64, merged_by: u64) -> Earned {
        Earned { block: Block(block), units, master_seq, merged_by }
    }

    fn credit(verdicts: &[Earned]) -> Credit {
        verdicts.iter().fold(Credit::default(), |credit, earned| credit.observe(*earned, HALF_LIFE))
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn a_gain_is_half_local_half_global_and_signed() {
        assert!(near(gain(0.5, change(5.0, 4.9), change(6.0, 5.8)), 0.15));
        assert!(near(gain(0.25, change(5.0, 5.4), change(6.0, 6.2)), -0.25));
    }

    #[test]
    fn credit_halves_with_the_half_life() {
        let one = credit(&[verdict(10, 1.0, 0, 0)]);
        assert!(near(one.at(Block(110), HALF_LIFE).units(), 0.5));
        assert!(near(one.at(Block(310), HALF_LIFE).units(), 0.125));
        assert!(near(one.at(Block(3), HALF_LIFE).units(), 1.0), "an earlier block must not make it grow");
    }

    #[test]
    fn a_merge_settles_what_was_pending() {
        let two = credit(&[verdict(10, 1.0, 4, 0), verdict(10, 2.0, 6, 5)]);
        assert!(near(two.units(), 3.0) && near(two.settled, 1.0), "{two:?}");
    }

    #[test]
    fn the_same_unmerged_work_shown_again_is_paid_once() {
        // The master moved on, by others' deltas: 4, 5, 6; this miner's last merge was master 3.
        let again = credit(&[verdict(10, 1.0, 4, 3), verdict(10, 1.0, 5, 3), verdict(10, 1.2, 6, 3)]);
        assert!(near(again.units(), 1.2), "{again:?}");
        let refused = credit(&[verdict(10, 1.0, 4, 3), verdict(10, 0.0, 5, 3)]);
        assert!(near(refused.units(), 0.0), "{refused:?}");
    }

    #[test]
    fn a_merge_by_the_very_master_it_was_tried_on_is_an_older_one() {
        let credit = credit(&[verdict(10, 1.0, 4, 3), verdict(10, 0.5, 5, 4)]);
        assert!(near(credit.units(), 0.5), "{credit:?}");
    }

    #[test]
    fn equal_gains_are_clear_and_chance_is_not() {
        let clearness = |units: &[f64]| {
            let merged = |(seq, units): (u64, &f64)| verdict(10, *units, seq, seq);
            credit(&(1..).zip(units).map(merged).collect::<Vec<_>>()).clearness()
        };
        assert!(near(clearness(&[0.7; 9]), 3.0) && near(clearness(&[-0.2; 4]), -2.0));
        assert!(near(clearness(&[1.0, -1.0, 2.0, -2.0]), 0.0) && near(clearness(&[]), 0.0));
        // What was shown again without a merge counts once here as well, and time changes nothing.
        let again = credit(&[verdict(10, 1.0, 4, 3), verdict(10, 1.0, 5, 3)]);
        let two = credit(&[verdict(10, 0.7, 1, 0), verdict(10, 0.7, 2, 2)]);
        for (credit, expected) in [(again, 1.0), (two, 2.0_f64.sqrt())] {
            assert!(near(credit.clearness(), expected), "{credit:?}");
            assert!(near(credit.at(Block(310), HALF_LIFE).clearness(), expected), "{credit:?}");
        }
    }

    #[test]
    fn the_going_rate_is_a_mean_that_forgets() {
        let observe = |rate, block, gain| GoingRate::observe(rate, Block(block), gain, HALF_LIFE);
        let first = observe(None, 0, 0.4);
        assert!(near(first.unwrap().mean(), 0.4));
        // The old one weighs half.
        let second = observe(first, 100, 0.1).unwrap();
        assert!(near(second.mean(), (0.5 * 0.4 + 0.1) / 1.5), "{second:?}");
        for ignored in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(observe(first, 50, ignored), first);
        }
        assert_eq!(observe(None, 50, -1.0), None);
    }

    proptest! {
        #[test]
        fn cutting_work_into_pieces_earns_no_more(parts in prop::collection::vec(-1.0..1.0_f64, 1..20)) {
            let merged = |(i, units): (usize, &f64)| verdict(7, *units, i as u64, i as u64);
            let pieces: Vec<Earned> = parts.iter().enumerate().map(merged).collect();
            let whole = credit(&[verdict(7, parts.iter().sum(), 0, 0)]);
            prop_assert!((credit(&pieces).units() - whole.units()).abs() < 1e-9);
        }

        #[test]
        fn credit_never_grows_by_waiting(settled in -9.0..9.0_f64, pending in -9.0..9.0_f64, blocks in 0..10_000_u64) {
            let old = Credit { settled, pending, block: Block(5), master_seq: 1, ..Credit::default() };
            let later = old.at(Block(5 + blocks), HALF_LIFE);
            prop_assert!(later.units().abs() <= old.units().abs() + 1e-12);
        }
    }
}
