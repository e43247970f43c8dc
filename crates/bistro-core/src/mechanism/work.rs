//! Work that was shown: how many pages a miner has trained on, as far as its deltas know them.
//!
//! A delta lowers the loss on the very pages that it was trained on by more than on others: a *premium*. With `nano` it is
//! one to three and a half standard deviations of a page's gain already on a single page (docs/mechanism.md), and nobody
//! who only copies, with whatever noise, has it on pages of its own. So a miner states the pages, one of them is drawn, and
//! the premium on it, against what is usual at the time, says what of the statement to believe.
//!
//! - Each verdict says little: what is believed is the mean over them. So luck on a long statement is worth no more than on
//!   a short one.
//! - Where text is so easy, or a dataset so small, that no page is learned by more than others, premiums tell nothing, and
//!   nothing is asked for: they have to be [`CLEAR`].
//! - A page counts once. As with credit, what is not merged yet is counted anew with each verdict.

use serde::{Deserialize, Serialize};

use super::credit::{Earned, decay};
use crate::ids::Block;

/// Counted pages of one hotkey that are remembered, so that none counts twice: the newest ones.
const MAX_COUNTED: usize = 1024;

/// Verdicts that speak neither for nor against, which everybody begins with.
const DOUBTS: f64 = 1.0;

/// Verdicts that are few: their mean is not far from chance yet.
const FEW: f64 = 3.0;

/// [`Work::clearness`] from which premiums tell who trained. Eight verdicts of noise have it in a tenth of all cases; two of
/// the simulator's toy, in which a premium is the least clear, have it mostly, and one of `nano`.
pub const CLEAR: f64 = 0.4;

/// What a verdict shows of work.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// By how much more the delta gains on a page that it says it was trained on than on global ones, nats a token, for a
    /// whole delta.
    pub premium: f64,
    /// Numbers of all pages that it says it was trained on.
    pub pages: Vec<u64>,
}

/// Pages that one hotkey says it was trained on, and what of that to believe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Stated pages of what was merged, as of `block`; each halves with the credit's half-life.
    pub settled: f64,
    /// Stated pages of the newest verdict, until a merge settles them or the next verdict takes their place.
    pub pending: f64,
    /// Sum of what was [`believed`] of each statement, decayed likewise.
    pub belief: f64,
    /// Sum of the premiums, decayed likewise.
    pub premiums: f64,
    /// Sum of their squares.
    pub squares: f64,
    /// Sum of the weights of all three.
    pub weight: f64,
    /// Block of the newest verdict.
    pub block: Block,
    /// The master on which it was made.
    pub master_seq: u64,
    /// Numbers of the pages that `pending` counts.
    pub pages: Vec<u64>,
    /// Numbers of the pages that count no more, oldest first.
    pub counted: Vec<u64>,
}

/// What a premium makes of a statement, from -1 to 1: one as others have it, all of it; half of that, nothing; none, that it is
/// false. So whoever states more than twice what it trained on loses by that.
pub fn believed(premium: f64, usual: f64) -> f64 {
    let believed = (2.0 * premium / usual - 1.0).clamp(-1.0, 1.0);
    if believed.is_finite() { believed } else { 0.0 }
}

impl Work {
    /// Takes in what one verdict shows; `None` if the delta was not accepted. What of it to [`believe`](Self::believe) is
    /// told next.
    pub fn observe(&mut self, earned: Earned, shown: Option<&Shown>, half_life: f64) {
        let left = decay(earned.block.since(self.block), half_life);
        let Self { settled, pending, belief, premiums, squares, weight, .. } = self;
        for sum in [settled, pending, belief, premiums, squares, weight] {
            *sum *= left;
        }
        if earned.merged_by > self.master_seq {
            self.settled += self.pending;
            self.counted.append(&mut self.pages);
            self.counted.drain(..self.counted.len().saturating_sub(MAX_COUNTED));
        }
        let stated = shown.map_or(&[][..], |shown| &shown.pages);
        self.pages = stated.iter().copied().filter(|page| !self.counted.contains(page)).collect();
        self.pending = self.pages.len() as f64;
        if let Some(Shown { premium, .. }) = shown.filter(|shown| !shown.pages.is_empty() && shown.premium.is_finite())
        {
            self.premiums += premium;
            self.squares += premium * premium;
            self.weight += 1.0;
        }
        (self.block, self.master_seq) = (earned.block.max(self.block), earned.master_seq);
    }

    /// Takes in what is [`believed`] of the verdict that was observed last.
    pub fn believe(&mut self, believed: f64) {
        self.belief += believed;
    }

    /// The mean premium, if it is one; nats a token.
    pub fn premium(&self) -> Option<f64> {
        (self.premiums > 0.0).then_some(self.premiums / self.weight)
    }

    /// How far the mean premium is from chance: in root mean squares of all, less for few. About 0 for noise.
    pub fn clearness(&self) -> f64 {
        self.premiums / ((self.weight + FEW) * self.squares).sqrt().max(f64::MIN_POSITIVE)
    }

    /// Pages that it was shown to have trained on, as of `block`; not below 0.
    pub fn shown(&self, block: Block, half_life: f64) -> f64 {
        let believed = (self.belief / (self.weight + DOUBTS)).max(0.0);
        believed * (self.settled + self.pending) * decay(block.since(self.block), half_life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_LIFE: f64 = 100.0;

    fn verdict(block: u64, master_seq: u64, merged_by: u64) -> Earned {
        Earned { block: Block(block), units: 1.0, master_seq, merged_by }
    }

    /// Verdicts at one block, on one master after another; each merge takes the delta before.
    fn merged(statements: &[(&[u64], f64)]) -> Work {
        let mut work = Work::default();
        for (seq, (pages, believed)) in (1..).zip(statements) {
            work.observe(verdict(7, seq, seq), Some(&shown(pages)), HALF_LIFE);
            work.believe(*believed);
        }
        work
    }

    fn shown(pages: &[u64]) -> Shown {
        Shown { premium: 0.1, pages: pages.to_vec() }
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn half_of_the_usual_premium_shows_nothing_and_none_speaks_against_the_statement() {
        for (premium, expected) in [(0.2, 1.0), (0.3, 1.0), (0.1, 0.0), (0.05, -0.5), (0.0, -1.0), (-0.4, -1.0)] {
            assert!(near(believed(premium, 0.2), expected), "{premium}");
        }
        assert!(near(believed(f64::NAN, 0.2), 0.0));
    }

    #[test]
    fn a_page_counts_once_however_often_it_is_stated() {
        let work = merged(&[(&[1, 2, 3], 1.0), (&[2, 3, 4], 1.0), (&[1, 2, 3, 4], 1.0)]);
        assert!(near(work.settled, 4.0) && near(work.pending, 0.0), "{work:?}");
    }

    #[test]
    fn what_is_not_merged_is_counted_anew_with_each_verdict() {
        let mut work = Work::default();
        for pages in [&[1, 2][..], &[1, 2, 3, 4], &[]] {
            work.observe(verdict(7, 5, 3), Some(&shown(pages)), HALF_LIFE);
            assert!(near(work.settled, 0.0) && near(work.pending, pages.len() as f64), "{work:?}");
        }
    }

    /// A long statement is not worth a gamble: one lucky verdict of six shows nothing.
    #[test]
    fn luck_on_a_long_statement_is_worth_no_more_than_on_a_short_one() {
        let long: Vec<u64> = (0..256).collect();
        let lies = [1.0, -0.6, -1.0, -0.4, 0.2, -1.0].map(|believed| (&long[..], believed));
        assert!(near(merged(&lies).shown(Block(7), HALF_LIFE), 0.0));
        // Three true statements against one beginner's doubt.
        let honest = merged(&[(&[1, 2], 1.0), (&[3, 4], 0.2), (&[5, 6], 0.9)]);
        assert!(near(honest.shown(Block(7), HALF_LIFE), 6.0 * 2.1 / 4.0), "{honest:?}");
    }

    #[test]
    fn noise_is_not_clear_and_neither_is_one_verdict_of_a_few() {
        let clearness = |premiums: &[f64]| {
            let mut work = Work::default();
            for premium in premiums {
                let shown = Shown { premium: *premium, pages: vec![1] };
                work.observe(verdict(7, 5, 3), Some(&shown), HALF_LIFE);
            }
            work.clearness()
        };
        let noise: Vec<f64> = (0..20).map(|i| f64::from(i * 7 % 20) - 9.5).collect();
        assert!(clearness(&[]) < CLEAR && clearness(&noise).abs() < 0.1 && clearness(&[-1.0; 9]) < -CLEAR);
        // A mean of one and a half standard deviations: clear after two.
        assert!(clearness(&[0.5, 2.5]) > CLEAR && clearness(&noise[..2]) < CLEAR);
    }

    #[test]
    fn work_halves_with_the_half_life() {
        let mut work = merged(&[(&[1, 2], 1.0), (&[3, 4], 1.0)]);
        let now = work.shown(Block(7), HALF_LIFE);
        assert!(near(work.shown(Block(107), HALF_LIFE), now / 2.0));
        work.observe(verdict(107, 3, 3), Some(&shown(&[5])), HALF_LIFE);
        assert!(near(work.settled, 2.0) && near(work.pending, 1.0) && near(work.weight, 2.0), "{work:?}");
    }

    #[test]
    fn counted_pages_are_remembered_up_to_a_bound_the_newest_longest() {
        let statements: Vec<Vec<u64>> = (0..20_u64).map(|i| (i * 100..i * 100 + 100).collect()).collect();
        let statements: Vec<(&[u64], f64)> = statements.iter().map(|pages| (&pages[..], 1.0)).collect();
        let work = merged(&statements);
        assert_eq!((work.counted.len(), work.counted.last()), (MAX_COUNTED, Some(&1899)));
    }
}
