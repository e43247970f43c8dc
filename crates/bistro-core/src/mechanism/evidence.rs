//! What all hotkeys' premiums together are evidence of: whether they tell who trained, and what is usual among those who did.
//!
//! A premium is small against its scatter, so neither question can be put to one verdict; and the hotkeys that state pages
//! cannot be asked alike, for most of them may be copiers. So each counts by its own [evidence](super::work::Work::evidence),
//! about twice the logarithm of how much likelier the signs of its premiums are if it trains than if they are chance; it is
//! never more than the number of its verdicts, however large its premiums are. It halves with the credit's half-life after the
//! newest verdict: who is not judged any more does not tell what is usual now.
//!
//! Premiums that are noise make evidence, too: a half for each hotkey, give or take the root of 5/4 (of a standard normal
//! variable, the square of what is above zero). What is found has to be clearly more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Score, credit};
use crate::ids::{Block, Hotkey};

/// Evidence that a hotkey has from noise, in the mean.
const NOISE: f64 = 0.5;

/// What is asked for beyond noise, for each root of the number of hotkeys: 3.6 standard deviations. Normal premiums without a
/// mean pass that in 2 % of the time with one or two hotkeys, in 1.3 % with four, and in 0.03 % with 16.
const BEYOND: f64 = 4.0;

/// Verdicts for each unit of what is asked for, after which premiums that do not tell who trained will not. A verdict on an
/// honest miner makes about 1 with `nano` on the speeches, and a half with the simulator's toy.
const PATIENCE: f64 = 4.0;

/// What premiums have shown so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Evidence of all hotkeys.
    pub found: f64,
    /// What it takes to tell it from noise.
    pub asked: f64,
    /// Verdicts on the hotkeys that state pages: those who upload nothing of worth bring none nearer. On all, where none does.
    pub verdicts: u64,
}

impl Evidence {
    /// Of all hotkeys judged so far.
    pub fn of(scores: &BTreeMap<Hotkey, Score>, half_life: f64) -> Self {
        let now = Now::of(scores, half_life);
        let stating: Vec<&Score> = scores.values().filter(|score| score.work.weight > 0.0).collect();
        let sum = |number: &dyn Fn(&Score) -> f64| stating.iter().map(|score| number(score)).sum::<f64>();
        // Where nobody states pages yet, one might.
        let hotkeys = sum(&|score| now.left(score)).max(1.0);
        let squares = sum(&|score| now.left(score).powi(2)).max(1.0);
        let counted = if stating.is_empty() { scores.values().collect() } else { stating.clone() };
        let verdicts = counted.iter().map(|score| score.judged).sum();
        Self { found: sum(&|score| now.evidence(score)), asked: NOISE * hotkeys + BEYOND * squares.sqrt(), verdicts }
    }

    /// Whether premiums tell who trained.
    pub fn is_clear(&self) -> bool {
        self.found >= self.asked
    }

    /// Whether there were too few verdicts for that yet.
    pub fn is_early(&self) -> bool {
        !self.is_clear() && (self.verdicts as f64) < self.patience()
    }

    /// Verdicts after which premiums that do not tell who trained will not.
    pub fn patience(&self) -> f64 {
        PATIENCE * self.asked
    }
}

/// The time of the newest verdict on anybody.
pub(super) struct Now {
    block: Block,
    half_life: f64,
}

impl Now {
    pub(super) fn of(scores: &BTreeMap<Hotkey, Score>, half_life: f64) -> Self {
        let block = scores.values().map(|score| score.credit.block).max().unwrap_or_default();
        Self { block, half_life }
    }

    /// What is left by now of 1 at the newest verdict on this hotkey.
    pub(super) fn left(&self, score: &Score) -> f64 {
        credit::decay(self.block.since(score.credit.block), self.half_life)
    }

    /// What is left of the evidence that this hotkey trains.
    pub(super) fn evidence(&self, score: &Score) -> f64 {
        score.work.evidence() * self.left(score)
    }
}

/// Share of the evidence that is with less than what is usual. Below a half, as premiums scatter and nobody is believed more for
/// having larger ones: with the median, equal miners of the simulator were paid with a spread of 0.14, with this of 0.10.
const BELOW: f64 = 0.4;

/// Of a number and the evidence of each hotkey, what is usual among those who train: three fifths of the evidence are with as
/// much or more. Neither the many who have little evidence, nor few who have much, can make it what they like. `None` where
/// there is no evidence.
pub(super) fn usual(numbers: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let mut numbers: Vec<(f64, f64)> = numbers.filter(|(_, evidence)| *evidence > 0.0).collect();
    numbers.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let all: f64 = numbers.iter().map(|(_, evidence)| evidence).sum();
    let mut below = 0.0;
    let reached = |(number, evidence): (f64, f64)| {
        below += evidence;
        (below >= BELOW * all).then_some(number)
    };
    numbers.into_iter().find_map(reached)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::mechanism::{Observation, Scores, ScoringRules, Shown};

    fn rules() -> ScoringRules {
        crate::rules::tests::rules("recommended").mechanism.scoring
    }

    /// Verdicts on hotkeys in turn, five blocks apart: of the first `honest` of them with a mean premium of 1, of all with
    /// errors of a standard deviation of about 1. Returns what is told after each verdict.
    fn run(hotkeys: u8, honest: u8, verdicts: u64, seed: u64) -> Vec<Evidence> {
        let (rules, mut rng) = (rules(), ChaCha8Rng::seed_from_u64(seed));
        let mut scores = Scores::default();
        let verdict = |at: u64| {
            let uid = (at % u64::from(hotkeys)) as u8;
            let error: f64 = (0..12).map(|_| rng.random::<f64>() - 0.5).sum();
            let premium = f64::from(u8::from(uid < honest)) + error;
            let seen = Observation {
                hotkey: Hotkey([uid; 32]),
                block: Block(5 * at),
                local: 6.0,
                global: 6.0,
                gain: 0.1,
                master_seq: 1 + at,
                merged_by: 1 + at,
                shown: Some(Shown { premium, pages: vec![at] }),
            };
            scores.observe(&rules, &seen);
            scores.evidence(&rules).unwrap()
        };
        (0..verdicts).map(verdict).collect()
    }

    fn share_clear(told: &[Evidence]) -> f64 {
        told.iter().filter(|evidence| evidence.is_clear()).count() as f64 / told.len() as f64
    }

    #[test]
    fn noise_is_not_clear_however_many_have_it() {
        for hotkeys in [1, 2, 4, 16, 64] {
            let runs = (0..20).map(|seed| share_clear(&run(hotkeys, 0, 400, seed)));
            let clear = runs.sum::<f64>() / 20.0;
            assert!(clear < 0.05, "{hotkeys} hotkeys, {clear} of the time");
        }
    }

    #[test]
    fn work_is_clear_after_a_few_verdicts_each_and_stays_so() {
        for (hotkeys, enough) in [(1, 25), (2, 35), (4, 50), (16, 90)] {
            for seed in 0..20 {
                let told = run(hotkeys, hotkeys, 400, seed);
                let clear = told.iter().position(Evidence::is_clear).unwrap();
                assert!(clear < enough, "{hotkeys} hotkeys, seed {seed}: after {clear} verdicts");
                assert!(share_clear(&told[enough..]) > 0.9, "{hotkeys} hotkeys, seed {seed}");
            }
        }
    }

    #[test]
    fn one_in_four_who_works_is_enough() {
        for seed in 0..20 {
            assert!(share_clear(&run(8, 2, 600, seed)[300..]) > 0.5, "seed {seed}");
        }
    }

    /// With four hotkeys 2 + 8 is asked for, and 40 verdicts are waited for; a little less, as three were judged some blocks ago.
    #[test]
    fn what_is_not_clear_is_early_for_a_while() {
        let told = run(4, 0, 60, 3);
        assert!((9.8..10.0).contains(&told[9].asked) && told[9].verdicts == 10, "{:?}", told[9]);
        let early: Vec<bool> = told.iter().map(Evidence::is_early).collect();
        assert!(early[..39].iter().all(|early| *early) && !early[39..].contains(&true), "{early:?}");
        let told = run(4, 4, 60, 3);
        assert!(told.iter().all(|evidence| !(evidence.is_early() && evidence.is_clear())));
    }

    /// Premiums become smaller as the model learns.
    #[test]
    fn who_is_not_judged_any_more_does_not_tell_what_is_usual() {
        let (rules, mut scores) = (rules(), Scores::default());
        let mut observe = |hotkey: u8, block: u64, premium: f64, pages: u64| {
            let hotkey = Hotkey([hotkey; 32]);
            let shown = Some(Shown { premium, pages: vec![pages] });
            let (block, gain) = (Block(block), 0.1);
            let (local, global, master_seq, merged_by) = (6.0, 6.0, 1 + pages, 1 + pages);
            scores.observe(&rules, &Observation { hotkey, block, local, global, gain, master_seq, merged_by, shown });
            (scores.get(&hotkey).unwrap().work.belief(), scores.evidence(&rules).unwrap())
        };
        for at in 0..12 {
            observe(1, 5, 1.0, at);
            observe(2, 5, 1.0, at);
        }
        // Ten half-lives later.
        let told: Vec<(f64, Evidence)> = (0..6).map(|at| observe(3, 3005, 0.2, at)).collect();
        let (belief, Evidence { found, asked, .. }) = told[5];
        assert!((belief - 6.0 / 9.0).abs() < 1e-9, "{told:?}");
        assert!((6.0..6.1).contains(&found) && (4.5..4.51).contains(&asked), "{told:?}");
    }

    #[test]
    fn where_nobody_was_judged_it_is_early() {
        let nothing = Evidence::of(&BTreeMap::new(), 300.0);
        assert_eq!(nothing, Evidence { found: 0.0, asked: 4.5, verdicts: 0 });
        assert!(nothing.is_early() && !nothing.is_clear());
    }

    #[test]
    fn three_fifths_of_the_evidence_are_with_what_is_usual_or_more() {
        let usual = |numbers: &[(f64, f64)]| usual(numbers.iter().copied());
        assert_eq!(usual(&[]), None);
        assert_eq!(usual(&[(1.0, 0.0), (2.0, 0.0)]), None);
        assert_eq!(usual(&[(3.0, 1.0), (1.0, 1.0)]), Some(1.0));
        assert_eq!(usual(&[(4.0, 1.0), (3.0, 1.0), (1.0, 1.0), (2.0, 1.0)]), Some(2.0));
        assert_eq!(usual(&[(3.0, 1.0), (1.0, 1.0), (2.0, 1.0)]), Some(2.0));
        // Five copiers, whose premiums are low and little evidence, and one with a page learned by heart.
        let mut numbers = vec![(0.01, 0.5); 5];
        numbers.extend([(0.2, 8.0), (0.21, 7.0), (0.22, 8.0), (50.0, 12.0)]);
        assert_eq!(usual(&numbers), Some(0.21));
        numbers.extend([(0.01, 30.0)]);
        assert_eq!(usual(&numbers), Some(0.01), "two fifths of all evidence");
    }
}
