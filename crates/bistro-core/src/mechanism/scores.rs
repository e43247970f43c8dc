//! What a validator knows of each hotkey. A score belongs to a hotkey, not to a uid: a recycled uid starts empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::credit::{Credit, Earned, GoingRate};
use super::work::{self, Shown, Work};
use super::{Evidence, MovingAverage, evidence, pay};
use crate::ids::{Block, Hotkey};

/// How verdicts become scores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoringRules {
    /// Share of the local pages in the score; the global ones have the rest. The original's is ½.
    pub local_share: f64,
    /// Weight of a new loss in the averages, per block since the last. The original's is 0.01. Where pay is by improvement,
    /// the averages are for people only.
    pub base_alpha: f64,
    /// What a faulty delta does to its hotkey's score.
    pub on_fault: OnFault,
    /// What is paid for.
    pub pay: PayRules,
}

/// What is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PayRules {
    /// The README's: a low loss of master + delta, whoever brought it down. Weights are the softmax of the averages.
    Loss {
        /// Scores are multiplied by it. The original's is 5.
        temperature: f64,
    },
    /// What an accepted delta improved (see [`super::credit`]). Weights are proportional to it.
    Improvement {
        /// Blocks in which credit halves.
        half_life: f64,
        /// Global pages on which an accepted delta's gain is measured, beside those that it was chosen by.
        proof_pages: usize,
        /// With it, pay is for the pages that a hotkey was shown to have trained on (see [`super::work`]), each at most so
        /// many times what gains usually make of one (see [`super::pay`]). Without it, nobody asks for pages, and
        /// pay is for gains alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        page_cap: Option<f64>,
    },
}

impl PayRules {
    /// Global pages that are drawn for the pay alone.
    pub fn proof_pages(&self) -> usize {
        match self {
            Self::Loss { .. } => 0,
            Self::Improvement { proof_pages, .. } => *proof_pages,
        }
    }

    /// Whether pay is capped by the pages that a miner was shown to have trained on.
    pub fn asks_for_work(&self) -> bool {
        matches!(self, Self::Improvement { page_cap: Some(_), .. })
    }
}

/// What a faulty delta (see [`crate::skip::Reason::is_fault`]) does to its hotkey's score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFault {
    /// Nothing, as in the original.
    Keep,
    /// The score is erased: no weight until an honest delta is judged.
    Forget,
}

/// One verdict, as far as scores go.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Whose delta.
    pub hotkey: Hotkey,
    /// The chain's head.
    pub block: Block,
    /// Loss with the delta on the local pages, nats a token.
    pub local: f64,
    /// The same on the global pages.
    pub global: f64,
    /// What it improved (see [`super::credit::gain`]); 0 if it was not accepted.
    pub gain: f64,
    /// The master on which it was tried.
    pub master_seq: u64,
    /// The newest master that took, or may have taken, an earlier delta of this hotkey.
    pub merged_by: u64,
    /// What it shows of work; `None` if it was not accepted.
    pub shown: Option<Shown>,
}

/// What a validator knows of one hotkey.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// Average loss on the miner's local pages.
    pub local: Option<MovingAverage>,
    /// Average loss on global pages.
    pub global: Option<MovingAverage>,
    /// What it is paid for, where pay is by improvement.
    pub credit: Credit,
    /// Pages that it was shown to have trained on, where pay is capped by them.
    #[serde(default)]
    pub work: Work,
    /// Deltas judged.
    pub judged: u64,
}

/// Scores of all hotkeys judged so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    by_hotkey: BTreeMap<Hotkey, Score>,
    /// What a gain is measured by.
    going_rate: Option<GoingRate>,
}

impl Scores {
    /// Takes in one verdict.
    pub fn observe(&mut self, rules: &ScoringRules, seen: &Observation) {
        let score = self.by_hotkey.entry(seen.hotkey).or_default();
        score.local = MovingAverage::observe(score.local, seen.block, seen.local, rules.base_alpha);
        score.global = MovingAverage::observe(score.global, seen.block, seen.global, rules.base_alpha);
        score.judged += 1;
        let PayRules::Improvement { half_life, .. } = rules.pay else { return };
        self.going_rate = GoingRate::observe(self.going_rate, seen.block, seen.gain, half_life);
        // Before the first improvement of a run there is nothing that harm could be measured by.
        let units = self.going_rate.map_or(0.0, |rate| seen.gain / rate.mean());
        let units = if units.is_finite() { units } else { 0.0 };
        let Observation { block, master_seq, merged_by, .. } = *seen;
        let earned = Earned { block, units, master_seq, merged_by };
        let before = score.credit;
        score.credit = before.observe(earned, half_life);
        if rules.pay.asks_for_work() {
            score.work.observe(&before, &earned, seen.shown.as_ref(), half_life);
            let shown = seen.shown.as_ref().filter(|shown| !shown.pages.is_empty());
            if let Some((shown, usual)) = shown.zip(self.usual_premium(half_life)) {
                let believed = work::believed(shown.premium, usual);
                self.by_hotkey.entry(seen.hotkey).or_default().work.believe(believed);
            }
        }
    }

    /// What is usual of the hotkeys' mean premiums (see [`super::work`]), so that no few of them, by learning one page by heart,
    /// can make it what nobody else reaches.
    fn usual_premium(&self, half_life: f64) -> Option<f64> {
        let now = evidence::Now::of(&self.by_hotkey, half_life);
        evidence::usual(self.by_hotkey.values().map(|score| (score.work.premium(), now.evidence(score))))
    }

    /// What premiums have shown so far of who trained; `None` where pay does not ask for work.
    pub fn evidence(&self, rules: &ScoringRules) -> Option<Evidence> {
        match rules.pay {
            PayRules::Improvement { half_life, page_cap: Some(_), .. } => {
                Some(Evidence::of(&self.by_hotkey, half_life))
            }
            _ => None,
        }
    }

    /// Takes in a faulty delta.
    pub fn fault(&mut self, rules: &ScoringRules, hotkey: &Hotkey) {
        if rules.on_fault == OnFault::Forget
            && let Some(score) = self.by_hotkey.remove(hotkey)
            && let Some(work) = score.work.after_fault()
        {
            let credit = Credit { block: score.credit.block, ..Credit::default() };
            self.by_hotkey.insert(*hotkey, Score { credit, work, ..Score::default() });
        }
    }

    /// Forgets hotkeys that `keep` does not name: those that left the subnet.
    pub fn retain(&mut self, keep: impl Fn(&Hotkey) -> bool) {
        self.by_hotkey.retain(|hotkey, _| keep(hotkey));
    }

    /// Those judged so far.
    pub fn hotkeys(&self) -> impl Iterator<Item = Hotkey> + '_ {
        self.by_hotkey.keys().copied()
    }

    /// What is known of `hotkey`.
    pub fn get(&self, hotkey: &Hotkey) -> Option<&Score> {
        self.by_hotkey.get(hotkey)
    }

    /// The README's scores, of all hotkeys with both averages: `share · (-local) + (1 - share) · (-global)`; higher is better.
    pub fn losses<'a>(&'a self, rules: &'a ScoringRules) -> impl Iterator<Item = (Hotkey, f64)> + 'a {
        self.by_hotkey.iter().filter_map(|(hotkey, score)| {
            let (local, global) = (score.local?.value, score.global?.value);
            Some((*hotkey, -rules.local_share * local - (1.0 - rules.local_share) * global))
        })
    }

    /// What hotkeys are paid by improvement (see [`super::pay`]), in no particular unit; only those that get anything.
    pub fn pay(&self, half_life: f64, page_cap: Option<f64>) -> Vec<(Hotkey, f64)> {
        pay::pay(&self.by_hotkey, half_life, page_cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(name: &str) -> ScoringRules {
        crate::rules::tests::rules(name).mechanism.scoring
    }

    #[test]
    fn pages_of_proof_are_drawn_where_improvement_is_paid() {
        let mut rules = shipped("recommended");
        if let PayRules::Improvement { proof_pages, .. } = &mut rules.pay {
            *proof_pages = 3;
        }
        assert_eq!(rules.pay.proof_pages(), 3);
        assert_eq!(shipped("readme").pay.proof_pages(), 0);
    }

    #[test]
    fn pages_are_asked_for_where_they_are_paid() {
        let gains = |page_cap| PayRules::Improvement { half_life: 100.0, proof_pages: 1, page_cap };
        assert!(gains(Some(1.5)).asks_for_work());
        assert!(!gains(None).asks_for_work() && !shipped("readme").pay.asks_for_work());
    }

    /// What speaks against a hotkey is forgotten by the half-life, from its newest verdict on.
    #[test]
    fn a_fault_leaves_the_time_of_what_it_leaves() {
        let (rules, hotkey, mut scores) = (shipped("recommended"), Hotkey([1; 32]), Scores::default());
        let other = Hotkey([2; 32]);
        let block = Block(1_000_000);
        for (hotkey, premium) in [(other, 0.2), (hotkey, -0.2)] {
            let shown = Some(Shown { premium, pages: vec![1, 2] });
            let (gain, master_seq) = (0.1, 0);
            let seen = Observation { hotkey, block, local: 6.0, global: 6.1, gain, master_seq, merged_by: 0, shown };
            scores.observe(&rules, &seen);
        }
        let before = scores.get(&hotkey).unwrap().clone();
        scores.fault(&rules, &hotkey);
        let after = scores.get(&hotkey).unwrap();
        assert!(before.credit.pending > 0.0 && before.work.belief < 0.0, "{before:?}");
        assert_eq!(after.credit, Credit { block, ..Credit::default() });
        assert_eq!((after.work.belief, after.work.weight), (before.work.belief, before.work.weight));
        scores.fault(&rules, &other);
        assert_eq!(scores.get(&other), None, "nothing speaks against it");
    }

    #[test]
    fn every_verdict_counts() {
        let (rules, hotkey, mut scores) = (shipped("recommended"), Hotkey([1; 32]), Scores::default());
        for block in [3, 5, 9] {
            let (block, master_seq) = (Block(block), 0);
            let (gain, shown) = (0.1, None);
            let seen = Observation { hotkey, block, local: 6.0, global: 6.1, gain, master_seq, merged_by: 0, shown };
            scores.observe(&rules, &seen);
        }
        assert_eq!(scores.get(&hotkey).unwrap().judged, 3);
    }
}
