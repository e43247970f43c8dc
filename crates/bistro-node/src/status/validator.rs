//! What only a validator has: masters, verdicts, miners, weights. Filled from the records of its event log, so that nothing is
//! told twice, and after each turn from the loop's own state.

use std::collections::BTreeMap;

use bistro_core::events::{Event, Judged};
use bistro_core::ids::{Block, Hash, Hotkey, Uid};
use bistro_core::mechanism::{Evidence, Verdict};
use bistro_core::protocol::Accepted;
use bistro_core::skip::{Reason, Skip};
use serde::{Deserialize, Serialize};

use super::{Premium, Series, finite, keep_last};

/// Steps of the lineage that are shown.
pub const MAX_LINEAGE: usize = 32;

/// Hotkeys that are shown: those of the largest subnet.
const MAX_MINERS: usize = 4096;

/// A validator's work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ValidatorStatus {
    /// Whether its master is the one that everybody follows.
    pub leads: bool,
    /// Neurons of the subnet.
    pub neurons: usize,
    /// The newest master.
    pub master: Option<MasterStatus>,
    /// The newest steps that led to it, oldest first.
    pub lineage: Vec<Accepted>,
    /// Loss of masters on the run's yardstick.
    pub measured: Series<Measured>,
    /// Verdicts.
    pub verdicts: Series<VerdictPoint>,
    /// How often what happened since the program began.
    pub counts: Counts,
    /// Everybody who was judged or passed over, in uid order.
    pub miners: Vec<MinerRow>,
    /// What premiums have shown of who trained, where pay asks for that.
    pub evidence: Option<Evidence>,
    /// The own weights on the chain.
    pub weights: WeightsStatus,
}

/// A master.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MasterStatus {
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// When this program met it.
    pub time: u64,
    /// The chain's head then.
    pub block: Block,
}

/// A master's loss on the yardstick.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// When.
    pub time: u64,
    /// Number of the master.
    pub seq: u64,
    /// Nats a token; none if it is not finite.
    pub loss: Option<f64>,
}

/// A verdict, as the chart shows it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictPoint {
    /// When.
    pub time: u64,
    /// Whose delta.
    pub uid: Uid,
    /// Global loss with the delta, nats a token.
    pub loss: Option<f64>,
    /// Global loss of the master on the same pages, where it was measured.
    pub master_loss: Option<f64>,
    /// Whether it stays.
    pub accepted: bool,
}

/// How often what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Deltas that stay.
    pub accepted: u64,
    /// Deltas that were judged and go.
    pub rejected: u64,
    /// Deltas that were passed over, by reason; one that repeats counts once.
    pub skipped: BTreeMap<Reason, u64>,
    /// Losses that were NaN or infinite: of a master, or with a delta.
    pub losses_not_finite: u64,
    /// Weights that the chain took.
    pub weights_set: u64,
    /// Weights that it refused, or that could not be sent.
    pub weights_refused: u64,
}

/// What is known of one miner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MinerRow {
    /// Its slot.
    pub uid: Uid,
    /// Who it is.
    pub hotkey: Hotkey,
    /// Deltas judged since the program began.
    pub judged: u64,
    /// Deltas accepted since then.
    pub accepted: u64,
    /// Loss of the last verdict on its local pages, nats a token.
    pub local: Option<f64>,
    /// Loss of the last verdict on global pages.
    pub global: Option<f64>,
    /// Moving average of the local losses.
    pub local_average: Option<f64>,
    /// Moving average of the global losses.
    pub global_average: Option<f64>,
    /// By how much more its accepted deltas gain on pages that it says it trained on, since the program began.
    pub premium: Option<Premium>,
    /// Its share of the weights that are offered to the chain, 0 to 1.
    pub share: f64,
    /// What became of its last delta.
    pub last: Option<LastDelta>,
    /// How often it was passed over since the program began, by reason.
    pub skips: BTreeMap<Reason, u64>,
}

/// What became of a delta.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastDelta {
    /// When.
    pub time: u64,
    /// The chain's head then.
    pub block: Block,
    /// Which, where it got as far as a manifest.
    pub object: Option<Hash>,
    /// The master it was made from, where it was judged.
    pub base_seq: Option<u64>,
    /// The verdict, or why there is none.
    pub fate: Fate,
}

/// Accepted, rejected, or passed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It stays, with this factor.
    Accepted(f32),
    /// It goes.
    Rejected,
    /// It was passed over; the detail may hold a stranger's text.
    Skipped(Skip),
}

/// The own weights on the chain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WeightsStatus {
    /// Blocks until the chain takes weights again; none if it takes none of this hotkey at all.
    pub due_in: Option<u64>,
    /// When this hotkey's weights were last set, by the chain's word; none if never.
    pub last_update: Option<Block>,
    /// The last that the chain took from this process.
    pub last_set: Option<WeightsSet>,
    /// The last refusal, if nothing was set since.
    pub refused: Option<WeightsRefused>,
}

/// Weights that the chain took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsSet {
    /// When.
    pub time: u64,
    /// The chain's head then.
    pub block: Block,
    /// 16-bit weights by uid.
    pub weights: Vec<(Uid, u16)>,
}

/// Weights that were refused, or could not be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsRefused {
    /// When.
    pub time: u64,
    /// The chain's head then.
    pub block: Block,
    /// The chain's name of the refusal.
    pub name: String,
    /// In words.
    pub message: String,
}

impl ValidatorStatus {
    /// Takes in what the log says happened.
    pub fn record(&mut self, time: u64, block: Block, event: &Event) {
        match event {
            Event::Skipped { uid, hotkey, object, skip } => {
                *self.counts.skipped.entry(skip.reason).or_default() += 1;
                self.counts.losses_not_finite += u64::from(skip.reason == Reason::LossNotFinite);
                let Some(row) = self.row(*uid, *hotkey) else { return };
                *row.skips.entry(skip.reason).or_default() += 1;
                let fate = Fate::Skipped(skip.clone());
                row.last = Some(LastDelta { time, block, object: *object, base_seq: None, fate });
            }
            Event::Judged(judged) => self.judged(time, block, judged),
            // What the loop shows of these it shows itself.
            Event::Checkpoint(_) | Event::Neurons { .. } => {}
            Event::Measured { seq, loss, .. } => {
                self.counts.losses_not_finite += u64::from(!loss.is_finite());
                self.measured.push(Measured { time, seq: *seq, loss: finite(*loss) });
            }
            Event::Started { master_seq: seq, master: hash, .. }
            | Event::Published { seq, hash, .. }
            | Event::Followed { seq, hash, .. } => {
                self.master = Some(MasterStatus { seq: *seq, hash: *hash, time, block });
            }
            Event::WeightsSet { weights, .. } => {
                self.counts.weights_set += 1;
                self.weights.last_set = Some(WeightsSet { time, block, weights: weights.clone() });
                self.weights.refused = None;
            }
            Event::WeightsRefused { name, message } => {
                self.counts.weights_refused += 1;
                let (name, message) = (name.clone(), message.clone());
                self.weights.refused = Some(WeightsRefused { time, block, name, message });
            }
        }
    }

    fn judged(&mut self, time: u64, block: Block, judged: &Judged) {
        let (fate, accepted) = match judged.verdict {
            Verdict::Accept(candidate) => (Fate::Accepted(candidate.scale), true),
            Verdict::Reject => (Fate::Rejected, false),
        };
        self.counts.accepted += u64::from(accepted);
        self.counts.rejected += u64::from(!accepted);
        let (loss, master_loss) = (finite(judged.global_loss), judged.master_loss.and_then(finite));
        self.verdicts.push(VerdictPoint { time, uid: judged.uid, loss, master_loss, accepted });
        let Some(row) = self.row(judged.uid, judged.hotkey) else { return };
        row.judged += 1;
        row.accepted += u64::from(accepted);
        (row.local, row.global) = (finite(judged.local_loss), loss);
        Premium::take(&mut row.premium, judged);
        let (object, base_seq) = (Some(judged.object), Some(judged.base_seq));
        row.last = Some(LastDelta { time, block, object, base_seq, fate });
    }

    /// The row of `hotkey`, begun if need be; none if there are too many.
    fn row(&mut self, uid: Uid, hotkey: Hotkey) -> Option<&mut MinerRow> {
        let at = match self.miners.iter().position(|row| row.hotkey == hotkey) {
            Some(at) => at,
            None if self.miners.len() >= MAX_MINERS => return None,
            None => {
                let at = self.miners.partition_point(|row| (row.uid, row.hotkey) < (uid, hotkey));
                self.miners.insert(at, MinerRow::new(uid, hotkey));
                at
            }
        };
        self.miners[at].uid = uid;
        Some(&mut self.miners[at])
    }

    /// Keeps the rows of hotkeys that `uid` still finds on the subnet, under the slot that they hold now, and gives them
    /// their averages and shares.
    pub fn refresh(
        &mut self,
        uid: impl Fn(&Hotkey) -> Option<Uid>,
        averages: impl Fn(&Hotkey) -> (Option<f64>, Option<f64>),
        share: impl Fn(Uid) -> f64,
    ) {
        self.miners.retain(|row| uid(&row.hotkey).is_some());
        for row in &mut self.miners {
            row.uid = uid(&row.hotkey).unwrap_or(row.uid);
            (row.local_average, row.global_average) = averages(&row.hotkey);
            row.share = share(row.uid);
        }
        self.miners.sort_by_key(|row| row.uid);
    }

    /// Shows the newest steps of a lineage.
    pub fn show_lineage(&mut self, chain: &[Accepted]) {
        self.lineage = chain.to_vec();
        keep_last(&mut self.lineage, MAX_LINEAGE);
    }
}

impl MinerRow {
    fn new(uid: Uid, hotkey: Hotkey) -> Self {
        Self {
            uid,
            hotkey,
            judged: 0,
            accepted: 0,
            local: None,
            global: None,
            local_average: None,
            global_average: None,
            premium: None,
            share: 0.0,
            last: None,
            skips: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(status: &mut ValidatorStatus, block: u64, event: &Event) {
        status.record(block * 1000, Block(block), event);
    }

    fn skipped(uid: u16, hotkey: u8, reason: Reason) -> Event {
        Event::Skipped { uid: Uid(uid), hotkey: Hotkey([hotkey; 32]), object: None, skip: Skip::new(reason, "why") }
    }

    #[test]
    fn rows_follow_the_hotkey_and_never_the_slot() {
        let mut status = ValidatorStatus::default();
        record(&mut status, 1, &skipped(3, 30, Reason::NoDelta));
        record(&mut status, 2, &skipped(1, 10, Reason::NotFinite));
        assert_eq!(status.miners.iter().map(|row| row.uid.0).collect::<Vec<_>>(), [1, 3]);
        // Slot 1 went to somebody else; hotkey 30 moved to slot 0.
        let uid = |hotkey: &Hotkey| (hotkey.0[0] == 30).then_some(Uid(0));
        status.refresh(uid, |_| (Some(7.0), None), |uid| if uid == Uid(0) { 1.0 } else { 0.0 });
        assert_eq!(status.miners.len(), 1);
        let row = &status.miners[0];
        assert_eq!((row.uid, row.share, row.local_average), (Uid(0), 1.0, Some(7.0)));
        assert_eq!(row.skips[&Reason::NoDelta], 1);
        assert_eq!(status.counts.skipped[&Reason::NotFinite], 1, "what was counted stays counted");
    }

    #[test]
    fn a_loss_that_is_not_finite_is_counted_and_has_no_number() {
        let mut status = ValidatorStatus::default();
        let measured = Event::Measured { seq: 1, hash: Hash([1; 32]), loss: f64::NAN };
        record(&mut status, 1, &measured);
        record(&mut status, 2, &skipped(1, 1, Reason::LossNotFinite));
        assert_eq!(status.counts.losses_not_finite, 2);
        assert_eq!(status.measured.last().map(|point| point.loss), Some(None));
    }

    #[test]
    fn a_refusal_is_shown_until_weights_are_set() {
        let mut status = ValidatorStatus::default();
        let refused = Event::WeightsRefused { name: "NeuronNoValidatorPermit".into(), message: "no permit".into() };
        record(&mut status, 1, &refused);
        assert_eq!(status.weights.refused.as_ref().map(|r| r.name.as_str()), Some("NeuronNoValidatorPermit"));
        record(&mut status, 2, &Event::WeightsSet { after: 1, weights: vec![(Uid(1), 65535)] });
        assert_eq!(status.weights.refused, None);
        assert_eq!(status.weights.last_set.as_ref().map(|set| set.block), Some(Block(2)));
    }

    #[test]
    fn a_flood_of_hotkeys_is_bounded() {
        let mut status = ValidatorStatus::default();
        for n in 0..5000_u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            let event = Event::Skipped {
                uid: Uid(n as u16),
                hotkey: Hotkey(key),
                object: None,
                skip: Skip::new(Reason::NoBucket, ""),
            };
            record(&mut status, 1, &event);
        }
        assert_eq!(status.miners.len(), MAX_MINERS);
    }
}
