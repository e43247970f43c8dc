//! A validator's log, followed once more: whether the verdicts, scores, threshold and weights that it states follow from the
//! numbers that it states, by the core's own functions. Nothing in the log is believed: it may be anybody's.
//!
//! - this file: what follows from each record.
//! - [`report`]: what came of it.
//! - [`on_chain`]: whether the weights on the chain are those that were set.
//! - [`evaluate`]: whether the losses themselves are those of the objects.
//! - [`source`]: the lines, from files or from a bucket, with every check of form, order and signature.

pub mod evaluate;
pub mod on_chain;
pub mod report;
pub mod source;

use std::collections::{BTreeMap, VecDeque};

use bistro_core::events::{Checkpoint, Event, Judged, Record};
use bistro_core::ids::{Hash, Hotkey, Uid};
use bistro_core::ledger::{Ledger, Slots};
use bistro_core::mechanism::{Candidate, Verdict};
use bistro_core::rules::Rules;

use on_chain::Stated;
pub use report::{Difference, Report, What};

/// Records after which weights may have been given, the newest ones: an offer is set within some of them, or replaced.
const GIVEN: usize = 4096;

/// A log on the way through its records.
#[derive(Default)]
pub struct Replay {
    followed: Option<Followed>,
    report: Report,
    /// How many verdicts are kept to be measured again.
    keep: usize,
    verdicts: VecDeque<(u64, Judged)>,
    stated: Stated,
}

/// A log that was followed to its end.
pub struct Replayed {
    /// What came of it.
    pub report: Report,
    /// The newest rules, if there were any.
    pub rules: Option<Rules>,
    /// The newest verdicts under them, with their records' numbers, oldest first.
    pub verdicts: Vec<(u64, Judged)>,
    /// The weights that it says were set.
    pub stated: Stated,
}

/// What is known from the first checkpoint on.
struct Followed {
    rules: Rules,
    digest: Hash,
    ledger: Ledger,
    slots: Slots,
    /// The slots before the last change: a turn that was drawn before it is judged after it.
    old_slots: Slots,
    /// What the scores were worth after each verdict and fault.
    given: BTreeMap<u64, Vec<(Uid, u16)>>,
    /// The newest verdict that accepts.
    accepted: Option<Judged>,
}

impl Replay {
    /// Keeps the newest `count` verdicts, to be measured again.
    pub fn keeping(count: usize) -> Self {
        Self { keep: count, ..Self::default() }
    }

    /// Takes in the next record.
    pub fn take(&mut self, record: &Record) {
        self.report.count(record);
        self.stated.take(record);
        if let Event::Checkpoint(checkpoint) = &record.event {
            return self.checkpoint(record.seq, checkpoint);
        }
        let Some(followed) = &mut self.followed else { return };
        if let Event::Judged(judged) = &record.event {
            self.verdicts.push_back((record.seq, (**judged).clone()));
            self.verdicts.drain(..self.verdicts.len().saturating_sub(self.keep));
        }
        let mut found = Vec::new();
        followed.check(record, &mut found);
        followed.apply(record);
        self.report.add(record.seq, found);
    }

    /// The end. `broken` says where the log itself broke off, if it did.
    pub fn finish(mut self, broken: Option<String>) -> Replayed {
        let (rules, given) = self.followed.map(|followed| (followed.rules, followed.given)).unzip();
        self.stated.given = given.unwrap_or_default();
        let report = Report { broken, ..self.report };
        Replayed { report, rules, verdicts: self.verdicts.into(), stated: self.stated }
    }

    /// Scores stand in each checkpoint, so that a log whose beginning is gone can be followed. They must be those that the
    /// records before it lead to, or none at all.
    fn checkpoint(&mut self, seq: u64, checkpoint: &Checkpoint) {
        let Checkpoint { rules, ledger, slots } = checkpoint;
        if let Err(error) = rules.check() {
            self.report.add(seq, vec![(What::Rules, "a document of rules".to_owned(), error.to_string())]);
            self.followed = None;
            return;
        }
        let (digest, fresh) = (rules.digest(), *ledger == Ledger::default());
        let mut found = Vec::new();
        match &mut self.followed {
            Some(followed) if followed.digest == digest => {
                followed.ledger.apply(
                    &rules.mechanism,
                    bistro_core::ids::Block(0),
                    &Event::Checkpoint(checkpoint.clone().into()),
                );
                if followed.ledger != *ledger {
                    if fresh {
                        self.report.anew += 1;
                    } else {
                        found.push(difference_of(ledger, &followed.ledger));
                    }
                }
            }
            // Scores under other rules are worth nothing under these.
            Some(_) => {
                self.verdicts.clear();
                self.report.anew += 1;
                if !fresh {
                    found.push(difference_of(ledger, &Ledger::default()));
                }
            }
            None if self.report.whole() && !fresh => found.push(difference_of(ledger, &Ledger::default())),
            None => self.report.trusted_until = Some(seq),
        }
        let before = self.followed.take();
        let (given, accepted) = before.map(|before| (before.given, before.accepted)).unwrap_or_default();
        let (rules, ledger, slots) = (rules.clone(), ledger.clone(), slots.clone());
        self.followed = Some(Followed { digest, rules, ledger, old_slots: slots.clone(), slots, given, accepted });
        self.report.add(seq, found);
    }
}

type Found = Vec<(What, String, String)>;

impl Followed {
    /// Where the record states something else than what follows.
    fn check(&self, record: &Record, found: &mut Found) {
        match &record.event {
            Event::Judged(judged) => self.judged(judged, found),
            Event::Published { seq, object: Some(object), global_loss, .. } => {
                self.published(*seq, object, *global_loss, found);
            }
            Event::WeightsSet { after, weights } => match self.given.get(after) {
                Some(given) if near(given, weights) => {}
                Some(given) => found.push((What::Weights, show(weights), show(given))),
                None => {
                    found.push((What::Weights, format!("given after record {after}"), "no weights were".to_owned()));
                }
            },
            _ => {}
        }
    }

    fn judged(&self, judged: &Judged, found: &mut Found) {
        let Judged { uid, hotkey, candidates, .. } = judged;
        let slot = |slots: &Slots| slots.get(hotkey) == Some(uid);
        if !slot(&self.slots) && !slot(&self.old_slots) {
            found.push((What::Slot, format!("uid {uid} of {hotkey}"), format!("{:?}", self.slots.get(hotkey))));
        }
        let mechanism = &self.rules.mechanism;
        let (index, window) = (&self.rules.dataset, mechanism.window);
        let claimable = window.claimable(index, judged.drawn);
        if let Some(page) = judged.trained.iter().find(|page| !claimable.contains(page)) {
            let stated = format!("page {page} of uid {uid} as trained on by block {}", judged.drawn);
            found.push((What::LocalPages, stated, format!("pages {claimable:?} can be")));
        }
        let allowed = window.evidence(index, judged.drawn, *uid, &judged.trained);
        if let Some(page) = judged.local_pages.iter().find(|page| !allowed.contains(page)) {
            let stated = format!("page {} {} of uid {uid} at block {}", page.config, page.row, judged.drawn);
            let from = if judged.trained.is_empty() { "in that window" } else { "among those that it trained on" };
            found.push((What::LocalPages, stated, format!("it is not {from}")));
        }
        let scales = mechanism.acceptance.scales();
        if let Some(odd) = candidates.iter().find(|candidate| !scales.contains(&candidate.scale)) {
            found.push((What::Verdict, format!("scale {}", odd.scale), format!("scales {scales:?}")));
        }
        let best = Candidate::best(candidates).map(|best| best.loss);
        if best != Some(judged.global_loss) {
            found.push((What::GlobalLoss, judged.global_loss.to_string(), format!("{best:?}")));
        }
        let acceptance = &self.ledger.acceptance;
        if judged.min_loss != acceptance.min_loss {
            found.push((What::Threshold, format!("{:?}", judged.min_loss), format!("{:?}", acceptance.min_loss)));
        }
        let verdict = acceptance.judge(&mechanism.acceptance, judged.master_loss.unwrap_or(f64::NAN), candidates);
        if verdict != judged.verdict {
            found.push((What::Verdict, format!("{:?}", judged.verdict), format!("{verdict:?}")));
        }
    }

    /// A master comes from the newest delta that was accepted.
    fn published(&self, seq: u64, object: &Hash, global_loss: Option<f64>, found: &mut Found) {
        let follows = self.accepted.as_ref().is_some_and(|judged| {
            let loss = if let Verdict::Accept(candidate) = judged.verdict { Some(candidate.loss) } else { None };
            judged.object == *object && loss == global_loss && judged.master_seq.checked_add(1) == Some(seq)
        });
        if !follows {
            let accepted = self.accepted.as_ref().map(|judged| (judged.master_seq, judged.object, judged.global_loss));
            found.push((
                What::Master,
                format!("master {seq} from {object} at {global_loss:?}"),
                format!("{accepted:?}"),
            ));
        }
    }

    fn apply(&mut self, record: &Record) {
        self.ledger.apply(&self.rules.mechanism, record.block, &record.event);
        match &record.event {
            Event::Neurons { slots } => self.old_slots = std::mem::replace(&mut self.slots, slots.clone()),
            Event::Judged(judged) => {
                if matches!(judged.verdict, Verdict::Accept(_)) {
                    self.accepted = Some((**judged).clone());
                }
                self.give(record.seq);
            }
            Event::Skipped { skip, .. } if skip.reason.is_fault() => self.give(record.seq),
            _ => {}
        }
    }

    fn give(&mut self, seq: u64) {
        self.given.insert(seq, self.ledger.weights(&self.rules.mechanism, &self.slots));
        if self.given.len() > GIVEN {
            self.given.pop_first();
        }
    }
}

/// Equal but for the last bit of an exponential, which no standard fixes: one of 65 535.
fn near(given: &[(Uid, u16)], set: &[(Uid, u16)]) -> bool {
    let table = |weights: &[(Uid, u16)]| weights.iter().copied().collect::<BTreeMap<Uid, u16>>();
    let (given, set) = (table(given), table(set));
    let of = |weights: &BTreeMap<Uid, u16>, uid: &Uid| weights.get(uid).copied().unwrap_or_default();
    given.keys().chain(set.keys()).all(|uid| of(&given, uid).abs_diff(of(&set, uid)) <= 1)
}

fn show(weights: &[(Uid, u16)]) -> String {
    weights.iter().map(|(uid, weight)| format!("{uid}: {weight}")).collect::<Vec<_>>().join(", ")
}

/// Where two ledgers differ: the first hotkey, or the threshold.
fn difference_of(stated: &Ledger, ours: &Ledger) -> (What, String, String) {
    let hotkeys = |ledger: &Ledger| ledger.scores.hotkeys().collect::<Vec<Hotkey>>();
    let all = [hotkeys(stated), hotkeys(ours)].concat();
    match all.into_iter().find(|hotkey| stated.scores.get(hotkey) != ours.scores.get(hotkey)) {
        Some(hotkey) => {
            let of = |ledger: &Ledger| format!("{hotkey}: {:?}", ledger.scores.get(&hotkey));
            (What::Score, of(stated), of(ours))
        }
        None => (What::Threshold, format!("{:?}", stated.acceptance), format!("{:?}", ours.acceptance)),
    }
}
