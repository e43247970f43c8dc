//! What the records of a log make of scores and threshold. A validator applies each record that it has written; whoever
//! replays its log applies the same ones by the same code, and so arrives at the same scores, threshold and weights (P7).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::events::Event;
use crate::ids::{Block, Hotkey, Uid};
use crate::mechanism::{Acceptance, Scores, weights};
use crate::rules::Mechanism;

/// Scores and threshold after some record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// What is known of each hotkey.
    pub scores: Scores,
    /// What the rule of acceptance remembers.
    pub acceptance: Acceptance,
}

/// Who holds which slot.
pub type Slots = BTreeMap<Hotkey, Uid>;

impl Ledger {
    /// Takes in what happened at `block`.
    pub fn apply(&mut self, rules: &Mechanism, block: Block, event: &Event) {
        match event {
            Event::Judged(judged) => {
                self.scores.observe(&rules.scoring, &judged.observation(&rules.scoring, block));
            }
            Event::Skipped { hotkey, skip, .. } if skip.reason.is_fault() => self.scores.fault(&rules.scoring, hotkey),
            Event::Published { global_loss: Some(loss), .. } => self.acceptance.merged(&rules.acceptance, *loss),
            Event::Neurons { slots } => self.scores.retain(|hotkey| slots.contains_key(hotkey)),
            Event::Checkpoint(checkpoint) => self.scores.retain(|hotkey| checkpoint.slots.contains_key(hotkey)),
            _ => {}
        }
    }

    /// The 16-bit weights that these scores are worth, by uid; empty before the first verdict.
    pub fn weights(&self, rules: &Mechanism, slots: &Slots) -> Vec<(Uid, u16)> {
        weights::to_u16(&weights::shares_by(&self.scores, &rules.scoring, |hotkey| slots.get(hotkey).copied()))
    }
}
