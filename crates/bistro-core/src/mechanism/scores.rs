//! Both moving averages of each hotkey. A score belongs to a hotkey, not to a uid: a recycled uid starts empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::MovingAverage;
use crate::ids::{Block, Hotkey};

/// How losses become scores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoringRules {
    /// Softmax temperature: scores are multiplied by it. The original's is 5.
    pub temperature: f64,
    /// Share of the local average in the score; the global one has the rest. The original's is ½.
    pub local_share: f64,
    /// Weight of a new sample per block since the last. The original's is 0.01.
    pub base_alpha: f64,
    /// What a faulty delta does to its hotkey's score.
    pub on_fault: OnFault,
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

/// What a validator knows of one hotkey.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// Average loss on the miner's local pages.
    pub local: Option<MovingAverage>,
    /// Average loss on global pages.
    pub global: Option<MovingAverage>,
    /// Deltas judged.
    pub judged: u64,
}

/// Scores of all hotkeys judged so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scores {
    by_hotkey: BTreeMap<Hotkey, Score>,
}

impl Scores {
    /// Takes in the losses of one verdict, nats a token.
    pub fn observe(&mut self, rules: &ScoringRules, hotkey: Hotkey, block: Block, local: f64, global: f64) {
        let score = self.by_hotkey.entry(hotkey).or_default();
        score.local = MovingAverage::observe(score.local, block, local, rules.base_alpha);
        score.global = MovingAverage::observe(score.global, block, global, rules.base_alpha);
        score.judged += 1;
    }

    /// Takes in a faulty delta.
    pub fn fault(&mut self, rules: &ScoringRules, hotkey: &Hotkey) {
        if rules.on_fault == OnFault::Forget {
            self.by_hotkey.remove(hotkey);
        }
    }

    /// Forgets hotkeys that `keep` does not name: those that left the subnet.
    pub fn retain(&mut self, keep: impl Fn(&Hotkey) -> bool) {
        self.by_hotkey.retain(|hotkey, _| keep(hotkey));
    }

    /// What is known of `hotkey`.
    pub fn get(&self, hotkey: &Hotkey) -> Option<&Score> {
        self.by_hotkey.get(hotkey)
    }

    /// All hotkeys with both averages, and their score: `share · (-local) + (1 - share) · (-global)`; higher is better.
    pub fn observed<'a>(&'a self, rules: &'a ScoringRules) -> impl Iterator<Item = (Hotkey, f64)> + 'a {
        self.by_hotkey.iter().filter_map(|(hotkey, score)| {
            let (local, global) = (score.local?.value, score.global?.value);
            Some((*hotkey, -rules.local_share * local - (1.0 - rules.local_share) * global))
        })
    }
}
