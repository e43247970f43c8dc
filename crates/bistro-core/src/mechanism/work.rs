//! Work that was shown: how many pages a miner has trained on, as far as its deltas know them.
//!
//! A delta lowers the loss on the very pages that it was trained on by more than on others: a *premium*. With `nano` it is
//! one to four standard deviations of a page's gain already on a single page (docs/mechanism.md), and nobody
//! who only copies, with whatever noise, has it on pages of its own. So a miner states the pages, one of them is drawn, and
//! the premium on it, against what is usual at the time, says what of the statement to believe.
//!
//! - Each verdict says little: what is believed is the mean over them. So luck on a long statement is worth no more than on
//!   a short one.
//! - Where text is so easy, or a dataset so small, that no page is learned by more than others, premiums tell nothing, and
//!   nothing is asked for: there has to be [evidence](super::evidence).
//! - A page counts once. As with credit, what is not merged yet is counted anew with each verdict.

use serde::{Deserialize, Serialize};

use super::credit::{Credit, Earned, decay};

/// Counted pages of one hotkey that are remembered, so that none counts twice: the newest ones.
const MAX_COUNTED: usize = 1024;

/// Verdicts that speak neither for nor against, which everybody begins with: one lucky verdict on a long statement is not
/// worth the trouble.
const DOUBTS: f64 = 3.0;

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
    /// Stated pages of what was merged, as of the newest verdict; each halves with the credit's half-life.
    pub settled: f64,
    /// Numbers of the stated pages of the newest verdict, until a merge settles them or the next verdict takes their place.
    pub pending: Vec<u64>,
    /// Sum of what was [`believed`] of each statement, decayed likewise.
    pub belief: f64,
    /// Sum of the premiums, decayed likewise.
    pub premiums: f64,
    /// Sum of their signs, decayed likewise.
    pub signs: f64,
    /// Sum of the weights of all these.
    pub weight: f64,
    /// Sum of the squares of the weights: the variance of `signs`, if they are chance.
    pub squares: f64,
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
    /// Takes in what the verdict after `credit` shows; `None` if the delta was not accepted. What of it to
    /// [`believe`](Self::believe) is told next.
    pub fn observe(&mut self, credit: &Credit, earned: &Earned, shown: Option<&Shown>, half_life: f64) {
        if credit.is_settled_by(earned) {
            self.settled += self.pending.len() as f64;
            self.counted.append(&mut self.pending);
            self.counted.drain(..self.counted.len().saturating_sub(MAX_COUNTED));
        }
        let left = decay(earned.block.since(credit.block), half_life);
        let Self { settled, belief, premiums, signs, weight, squares, .. } = self;
        for sum in [settled, belief, premiums, signs, weight] {
            *sum *= left;
        }
        *squares *= left * left;
        let stated = shown.map_or(&[][..], |shown| &shown.pages);
        self.pending = stated.iter().copied().filter(|page| !self.counted.contains(page)).collect();
        if let Some(Shown { premium, .. }) = shown.filter(|shown| !shown.pages.is_empty() && shown.premium.is_finite())
        {
            self.premiums += premium;
            self.signs += if *premium == 0.0 { 0.0 } else { premium.signum() };
            self.weight += 1.0;
            self.squares += 1.0;
        }
    }

    /// Takes in what is [`believed`] of the verdict that was observed last.
    pub fn believe(&mut self, believed: f64) {
        self.belief += believed;
    }

    /// The mean premium, nats a token; 0 if there is none.
    pub fn premium(&self) -> f64 {
        if self.weight > 0.0 { self.premiums / self.weight } else { 0.0 }
    }

    /// What the premiums are [evidence](super::evidence) of its work: the square of the sum of their signs in standard deviations
    /// of what it is for noise, if it is above 0. At most the number of verdicts, if those are of one time. Signs, as premiums
    /// fall by orders of magnitude while a model begins to learn: the first ones would outweigh all others.
    pub fn evidence(&self) -> f64 {
        self.signs.max(0.0).powi(2) / self.squares.max(f64::MIN_POSITIVE)
    }

    /// What is believed of all its statements, from 0 to 1: a mean over the verdicts.
    pub fn belief(&self) -> f64 {
        (self.belief / (self.weight + DOUBTS)).max(0.0)
    }

    /// Pages that it says it was trained on, as of the newest verdict.
    pub fn stated(&self) -> f64 {
        self.settled + self.pending.len() as f64
    }

    /// What is left after a fault: nothing but what speaks against it, or a fault would be the way to a new beginning.
    #[must_use]
    pub fn after_fault(&self) -> Option<Self> {
        let Self { belief, weight, .. } = *self;
        (belief < 0.0).then(|| Self { belief, weight, ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Block;

    const HALF_LIFE: f64 = 100.0;

    /// A hotkey's work, with the credit that goes with it.
    #[derive(Debug, Default)]
    struct Miner {
        credit: Credit,
        work: Work,
    }

    impl Miner {
        fn observe(&mut self, block: u64, master_seq: u64, merged_by: u64, shown: &Shown) {
            let earned = Earned { block: Block(block), units: 1.0, master_seq, merged_by };
            self.work.observe(&self.credit, &earned, Some(shown), HALF_LIFE);
            self.credit = self.credit.observe(earned, HALF_LIFE);
        }
    }

    /// Verdicts at one block, on one master after another; each merge takes the delta before.
    fn merged(statements: &[(&[u64], f64)]) -> Miner {
        let mut miner = Miner::default();
        for (seq, (pages, believed)) in (1..).zip(statements) {
            miner.observe(7, seq, seq, &shown(pages));
            miner.work.believe(*believed);
        }
        miner
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
        let work = merged(&[(&[1, 2, 3], 1.0), (&[2, 3, 4], 1.0), (&[1, 2, 3, 4], 1.0)]).work;
        assert!(near(work.settled, 4.0) && work.pending.is_empty(), "{work:?}");
    }

    #[test]
    fn what_is_not_merged_is_counted_anew_with_each_verdict() {
        let mut miner = Miner::default();
        for pages in [&[1, 2][..], &[1, 2, 3, 4], &[]] {
            miner.observe(7, 5, 3, &shown(pages));
            assert!(near(miner.work.settled, 0.0) && miner.work.pending == pages, "{miner:?}");
        }
    }

    /// A long statement is not worth a gamble: one lucky verdict of six shows nothing.
    #[test]
    fn luck_on_a_long_statement_is_worth_no_more_than_on_a_short_one() {
        let long: Vec<u64> = (0..256).collect();
        let lies = [1.0, -0.6, -1.0, -0.4, 0.2, -1.0].map(|believed| (&long[..], believed));
        assert!(near(merged(&lies).work.belief(), 0.0));
        // Three true statements against three beginner's doubts.
        let honest = merged(&[(&[1, 2], 1.0), (&[3, 4], 0.2), (&[5, 6], 0.9)]).work;
        assert!(near(honest.belief(), 2.1 / 6.0) && near(honest.stated(), 6.0), "{honest:?}");
    }

    /// Of premiums at one block, or at those given.
    fn with(premiums: &[(u64, f64)]) -> Work {
        let mut miner = Miner::default();
        for (block, premium) in premiums {
            miner.observe(*block, 5, 3, &Shown { premium: *premium, pages: vec![1] });
        }
        miner.work
    }

    #[test]
    fn evidence_is_at_most_the_number_of_verdicts() {
        let of = |premiums: &[f64]| with(&premiums.iter().map(|premium| (7, *premium)).collect::<Vec<_>>()).evidence();
        assert!(near(of(&[]), 0.0) && near(of(&[0.3]), 1.0) && near(of(&[1e9; 5]), 5.0));
        assert!(near(of(&[0.5, 2.5]), 2.0) && near(of(&[1.0, -3.0]), 0.0) && near(of(&[-1.0; 9]), 0.0));
        assert!(near(of(&[0.1, 0.1, -50.0]), 1.0 / 3.0) && near(of(&[0.0, 0.2]), 0.5));
    }

    /// So that noise has as much of it late in a run as early.
    #[test]
    fn evidence_does_not_fade_but_new_premiums_outweigh_old_ones() {
        assert!(near(with(&[(7, 0.2), (1007, f64::NAN)]).evidence(), 1.0));
        // After a half-life: half of the first and the whole of the second, over the root of a quarter and one.
        assert!(near(with(&[(7, 1.0), (107, 1.0)]).evidence(), 1.5 * 1.5 / 1.25));
        assert!(near(with(&[(7, -1.0), (107, 1.0)]).evidence(), 0.5 * 0.5 / 1.25));
    }

    #[test]
    fn the_mean_premium_is_of_all_verdicts() {
        assert!(near(with(&[(7, 0.3), (7, -0.1)]).premium(), 0.1) && near(with(&[]).premium(), 0.0));
    }

    #[test]
    fn work_halves_with_the_half_life() {
        let mut miner = merged(&[(&[1, 2], 1.0), (&[3, 4], 1.0)]);
        miner.observe(107, 3, 3, &shown(&[5]));
        let work = miner.work;
        assert!(near(work.settled, 2.0) && work.pending == [5] && near(work.weight, 2.0), "{work:?}");
    }

    #[test]
    fn a_fault_is_no_new_beginning_for_who_is_not_believed() {
        let liar = merged(&[(&[1, 2], -1.0), (&[3], -0.5), (&[4], 0.2)]).work;
        let after = liar.after_fault().unwrap();
        assert!(near(after.belief, -1.3) && near(after.weight, 3.0) && near(after.stated(), 0.0), "{after:?}");
        assert_eq!(merged(&[(&[1, 2], 1.0)]).work.after_fault(), None);
    }

    #[test]
    fn counted_pages_are_remembered_up_to_a_bound_the_newest_longest() {
        let statements: Vec<Vec<u64>> = (0..20_u64).map(|i| (i * 100..i * 100 + 100).collect()).collect();
        let statements: Vec<(&[u64], f64)> = statements.iter().map(|pages| (&pages[..], 1.0)).collect();
        let work = merged(&statements).work;
        assert_eq!((work.counted.len(), work.counted.last()), (MAX_COUNTED, Some(&1899)));
    }
}
