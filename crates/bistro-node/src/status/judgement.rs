//! What a validator says of one miner: its newest records, read for one hotkey. A pure function of the records, so that the
//! miner's page, `status` and anybody else say the same.

use std::collections::BTreeMap;

use bistro_core::events::{Event, Record};
use bistro_core::ids::{Block, Hotkey, Uid};
use bistro_core::mechanism::Verdict;
use bistro_core::skip::Reason;
use serde::{Deserialize, Serialize};

use super::validator::{Fate, LastDelta};
use super::{Premium, finite};

/// What a validator says of one miner.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Who says it.
    pub validator: Option<Hotkey>,
    /// Its slot.
    pub uid: Option<Uid>,
    /// The blocks that the records reach over.
    pub from: Block,
    /// The newest of them.
    pub to: Block,
    /// Deltas judged.
    pub judged: u64,
    /// Deltas accepted.
    pub accepted: u64,
    /// Deltas passed over, by reason.
    pub skips: BTreeMap<Reason, u64>,
    /// What became of the last delta.
    pub last: Option<LastDelta>,
    /// Loss of the last verdict on the local pages, nats a token.
    pub local: Option<f64>,
    /// Loss of the last verdict on global pages.
    pub global: Option<f64>,
    /// By how much more its accepted deltas gain on pages that it says it trained on.
    pub premium: Option<Premium>,
    /// Place among the miners that were judged, by the global loss of each one's last verdict; 1 is the best.
    pub rank: Option<(usize, usize)>,
    /// Share of the last weights that it set, 0 to 1; none if it set none.
    pub weight: Option<f64>,
    /// Why there is nothing to say: no log, or one that cannot be read.
    pub trouble: Option<String>,
}

impl Judgement {
    /// What `records`, oldest first, say of `miner`, who holds `slot`.
    pub fn of(records: &[Record], miner: &Hotkey, slot: Option<Uid>) -> Self {
        let mut said = Self {
            from: records.first().map(|record| record.block).unwrap_or_default(),
            to: records.last().map(|record| record.block).unwrap_or_default(),
            ..Self::default()
        };
        let mut losses: BTreeMap<Hotkey, f64> = BTreeMap::new();
        for record in records {
            said.take(record, miner, slot, &mut losses);
        }
        said.rank = losses.get(miner).map(|own| {
            let better = losses.values().filter(|loss| *loss < own).count();
            (better + 1, losses.len())
        });
        said
    }

    /// That nothing can be said, and why.
    pub fn trouble(why: &impl ToString) -> Self {
        Self { trouble: Some(why.to_string()), ..Self::default() }
    }

    fn take(&mut self, record: &Record, miner: &Hotkey, slot: Option<Uid>, losses: &mut BTreeMap<Hotkey, f64>) {
        let (time, block) = (record.time, record.block);
        match &record.event {
            Event::Judged(judged) => {
                losses.insert(judged.hotkey, judged.global_loss);
                if judged.hotkey != *miner {
                    return;
                }
                let fate = match judged.verdict {
                    Verdict::Accept(candidate) => Fate::Accepted(candidate.scale),
                    Verdict::Reject => Fate::Rejected,
                };
                self.judged += 1;
                self.accepted += u64::from(matches!(fate, Fate::Accepted(_)));
                (self.local, self.global) = (finite(judged.local_loss), finite(judged.global_loss));
                Premium::take(&mut self.premium, judged);
                let (object, base_seq) = (Some(judged.object), Some(judged.base_seq));
                self.last = Some(LastDelta { time, block, object, base_seq, fate });
            }
            Event::Skipped { hotkey, object, skip, .. } if hotkey == miner => {
                *self.skips.entry(skip.reason).or_default() += 1;
                let fate = Fate::Skipped(skip.clone());
                self.last = Some(LastDelta { time, block, object: *object, base_seq: None, fate });
            }
            Event::WeightsSet { weights, .. } => {
                let sum: f64 = weights.iter().map(|(_, weight)| f64::from(*weight)).sum();
                let own =
                    weights.iter().find(|(uid, _)| Some(*uid) == slot).map_or(0.0, |(_, weight)| f64::from(*weight));
                self.weight = (sum > 0.0).then(|| own / sum);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bistro_core::events::{Judged, Proof};
    use bistro_core::ids::{Hash, NetUid};
    use bistro_core::mechanism::{Candidate, Change};
    use bistro_core::protocol::Encoding;
    use bistro_core::skip::Skip;

    use super::*;

    const ME: Hotkey = Hotkey([1; 32]);

    fn judged(hotkey: u8, loss: f64, accepted: bool) -> Event {
        let verdict = if accepted { Verdict::Accept(Candidate { scale: 0.5, loss }) } else { Verdict::Reject };
        Event::Judged(Box::new(Judged {
            uid: Uid(u16::from(hotkey)),
            hotkey: Hotkey([hotkey; 32]),
            object: Hash([hotkey; 32]),
            size: 1,
            encoding: Encoding::F32,
            cut: Block(1),
            drawn: Block(1),
            base_seq: 3,
            master_seq: 4,
            local_pages: Vec::new(),
            trained: Vec::new(),
            global_pages: Vec::new(),
            local_loss: loss - 0.1,
            global_loss: loss,
            master_loss: None,
            candidates: Vec::new(),
            min_loss: None,
            verdict,
            merged_by: 0,
            proof: None,
        }))
    }

    fn records(events: Vec<Event>) -> Vec<Record> {
        let record = |(i, event): (usize, Event)| Record {
            netuid: NetUid(1),
            hotkey: Hotkey([9; 32]),
            seq: i as u64,
            prev: Hash([0; 32]),
            time: i as u64,
            block: Block(10 + i as u64),
            event,
        };
        events.into_iter().enumerate().map(record).collect()
    }

    #[test]
    fn a_miner_learns_what_was_judged_why_it_was_passed_over_and_where_it_stands() {
        let skip = Skip::new(Reason::BaseBeforeOwnMerge, "base 3 lies before master 4");
        let said = Judgement::of(
            &records(vec![
                judged(2, 6.0, true),
                judged(1, 9.0, false),
                judged(3, 7.0, false),
                judged(1, 6.5, true),
                Event::WeightsSet { after: 0, weights: vec![(Uid(1), 300), (Uid(2), 100)] },
                Event::Skipped { uid: Uid(1), hotkey: ME, object: None, skip: skip.clone() },
                Event::Skipped { uid: Uid(2), hotkey: Hotkey([2; 32]), object: None, skip: skip.clone() },
            ]),
            &ME,
            Some(Uid(1)),
        );
        assert_eq!((said.judged, said.accepted, said.rank), (2, 1, Some((2, 3))));
        assert_eq!((said.global, said.weight), (Some(6.5), Some(0.75)));
        assert_eq!(said.skips, [(Reason::BaseBeforeOwnMerge, 1)].into());
        assert_eq!(said.last.map(|last| (last.block, last.fate)), Some((Block(15), Fate::Skipped(skip))));
        assert_eq!((said.from, said.to), (Block(10), Block(16)));
    }

    #[test]
    fn a_miner_learns_whether_its_deltas_know_the_pages_that_it_states() {
        let proven = |gain: f64, pages: &[u64]| {
            let mut event = judged(1, 6.0, true);
            if let Event::Judged(judged) = &mut event {
                judged.candidates = vec![Candidate { scale: 0.25, loss: 6.0 }];
                judged.trained = pages.to_vec();
                let change = |gain: f64| Change { before: 6.0 + gain, after: 6.0 };
                judged.proof = Some(Proof { pages: Vec::new(), global: change(0.01), local: change(gain) });
            }
            event
        };
        // Of a whole delta: four times what a quarter of it shows; the last one states no page.
        let events = vec![proven(0.06, &[1]), judged(1, 6.0, false), proven(0.11, &[2]), proven(0.5, &[])];
        let premium = Judgement::of(&records(events), &ME, None).premium.unwrap();
        assert!((premium.mean - 0.3).abs() < 1e-9 && premium.of == 2, "{premium:?}");
        assert_eq!(Judgement::of(&records(vec![judged(1, 6.0, true)]), &ME, None).premium, None);
    }

    #[test]
    fn whoever_was_not_met_has_no_rank_and_no_weight() {
        let events = vec![judged(2, 6.0, true), Event::WeightsSet { after: 0, weights: vec![(Uid(2), 100)] }];
        let said = Judgement::of(&records(events), &ME, Some(Uid(1)));
        assert_eq!((said.judged, said.rank, said.last), (0, None, None));
        assert_eq!(said.weight, Some(0.0));
    }
}
