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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Checkpoint, Judged};
    use crate::ids::Hash;
    use crate::mechanism::{Candidate, Verdict};
    use crate::protocol::Encoding;
    use crate::skip::{Reason, Skip};

    const ONE: Hotkey = Hotkey([1; 32]);
    const TWO: Hotkey = Hotkey([2; 32]);

    fn rules(name: &str) -> Mechanism {
        crate::rules::tests::rules(name).mechanism
    }

    fn judged(hotkey: Hotkey, loss: f64) -> Event {
        Event::Judged(Box::new(Judged {
            uid: Uid(0),
            hotkey,
            object: Hash([0; 32]),
            size: 1,
            encoding: Encoding::F32,
            cut: Block(1),
            drawn: Block(1),
            base_seq: 0,
            master_seq: 0,
            local_pages: Vec::new(),
            trained: Vec::new(),
            global_pages: Vec::new(),
            local_loss: loss,
            global_loss: loss,
            master_loss: None,
            candidates: vec![Candidate { scale: 1.0, loss }],
            min_loss: None,
            verdict: Verdict::Reject,
            merged_by: 0,
            proof: None,
        }))
    }

    fn slots(hotkeys: &[Hotkey]) -> Slots {
        hotkeys.iter().zip(3..).map(|(hotkey, uid)| (*hotkey, Uid(uid))).collect()
    }

    fn both(rules: &Mechanism) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.apply(rules, Block(1), &judged(ONE, 2.0));
        ledger.apply(rules, Block(2), &judged(TWO, 2.1));
        ledger
    }

    fn skipped(reason: Reason) -> Event {
        Event::Skipped { uid: Uid(0), hotkey: ONE, object: None, skip: Skip::new(reason, "") }
    }

    #[test]
    fn verdicts_become_weights_of_who_holds_a_slot() {
        let rules = rules("readme");
        let ledger = both(&rules);
        let weights = ledger.weights(&rules, &slots(&[ONE, TWO]));
        // softmax of 5 times what both averages show of a first loss: the better one has the full weight.
        assert_eq!((weights.len(), weights[0]), (2, (Uid(3), u16::MAX)));
        assert!(weights[1].0 == Uid(4) && weights[1].1 < u16::MAX, "{weights:?}");
        assert_eq!(ledger.weights(&rules, &slots(&[TWO])), [(Uid(3), u16::MAX)]);
        assert_eq!(Ledger::default().weights(&rules, &slots(&[ONE])), []);
    }

    #[test]
    fn a_fault_erases_a_score_where_the_rules_say_so_and_what_is_none_never_does() {
        let (strict, mild) = (rules("recommended"), rules("readme"));
        for (rules, reason, left) in
            [(&strict, Reason::NotFinite, false), (&strict, Reason::NoDelta, true), (&mild, Reason::NotFinite, true)]
        {
            let mut ledger = both(rules);
            ledger.apply(rules, Block(3), &skipped(reason));
            assert_eq!(ledger.scores.get(&ONE).is_some(), left, "{reason:?}");
            assert!(ledger.scores.get(&TWO).is_some());
        }
    }

    #[test]
    fn a_merge_moves_the_threshold_and_a_master_without_one_does_not() {
        let rules = rules("readme");
        let mut ledger = both(&rules);
        let published = |global_loss| Event::Published { seq: 1, hash: Hash([1; 32]), object: None, global_loss };
        let before = ledger.acceptance.min_loss;
        ledger.apply(&rules, Block(3), &published(None));
        assert_eq!(ledger.acceptance.min_loss, before);
        ledger.apply(&rules, Block(3), &published(Some(2.0)));
        assert_eq!(ledger.acceptance.min_loss, Some(2.0 * 0.999));
    }

    #[test]
    fn who_leaves_the_subnet_is_forgotten_by_the_neurons_and_by_a_checkpoint() {
        let rules = rules("readme");
        let run = crate::rules::tests::rules("readme");
        let checkpoint = Checkpoint { rules: run, ledger: Ledger::default(), slots: slots(&[TWO]) };
        for event in [Event::Neurons { slots: slots(&[TWO]) }, Event::Checkpoint(Box::new(checkpoint))] {
            let mut ledger = both(&rules);
            ledger.apply(&rules, Block(3), &event);
            assert_eq!(ledger.scores.hotkeys().collect::<Vec<_>>(), [TWO]);
        }
    }
}
