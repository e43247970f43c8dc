//! What the event log, the chain and the buckets say in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bistro_core::events::{Event, Record};
use bistro_core::ids::{Hash, Hotkey};
use bistro_core::mechanism::{Scores, ScoringRules, Verdict};
use bistro_core::protocol::MasterManifest;
use bistro_core::skip::Reason;
use serde::Serialize;

use crate::network::Member;

/// Where the report comes from.
pub struct Inputs<'a> {
    /// Seconds that the programs ran.
    pub seconds: f64,
    /// All neurons; the validator first, the poisoner last.
    pub members: &'a [Member],
    /// The validator's event log.
    pub records: &'a [Record],
    /// How verdicts became scores.
    pub scoring: ScoringRules,
    /// The validator's weights on the chain.
    pub weights: &'a [(u16, u16)],
    /// The newest master.
    pub master: &'a MasterManifest,
    /// Whether the published deltas lead to the published hash.
    pub lineage_ok: bool,
    /// Whether verdicts, scores and weights in the validator's log follow from it.
    pub log_ok: bool,
    /// Global loss to get below.
    pub target_loss: f64,
}

/// The whole report, as `--json` writes it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Seconds that the programs ran.
    pub seconds: f64,
    /// Loss of the first master on the run's yardstick pages, nats a token.
    pub global_loss_start: Option<f64>,
    /// Loss of the last master on the same pages.
    pub global_loss_end: Option<f64>,
    /// Accepted deltas.
    pub masters: u64,
    /// Hash of the last master.
    pub master_hash: Hash,
    /// Whether the published deltas lead to that hash.
    pub lineage_ok: bool,
    /// Whether verdicts, scores and weights in the validator's log follow from it.
    pub log_ok: bool,
    /// All miners.
    pub miners: Vec<MinerReport>,
    /// What does not hold; empty if everything does.
    pub failures: Vec<String>,
    /// Whether everything holds.
    pub ok: bool,
}

/// One miner.
#[derive(Clone, Debug, Serialize)]
pub struct MinerReport {
    /// Who.
    pub hotkey: Hotkey,
    /// Slot.
    pub uid: u16,
    /// `honest` or `poison`.
    pub kind: &'static str,
    /// Different deltas that the validator has seen.
    pub deltas: usize,
    /// Those that it merged.
    pub accepted: usize,
    /// Deltas passed over, by reason.
    pub skipped: BTreeMap<String, usize>,
    /// Moving average on local pages, nats a token.
    pub local_loss: Option<f64>,
    /// Moving average on global pages.
    pub global_loss: Option<f64>,
    /// Share of the weights on the chain.
    pub weight: f64,
    /// Mean of its shares over all weights that were set. A dozen verdicts tell by chance who trained: within minutes an
    /// honest miner may be disbelieved for a while.
    pub mean_weight: f64,
}

impl Report {
    /// Puts the report together and checks it.
    pub fn new(inputs: &Inputs<'_>) -> Self {
        let measured: Vec<f64> = inputs
            .records
            .iter()
            .filter_map(|r| if let Event::Measured { loss, .. } = r.event { Some(loss) } else { None })
            .collect();
        let mut report = Self {
            seconds: inputs.seconds,
            global_loss_start: measured.first().copied(),
            global_loss_end: (measured.len() > 1).then(|| measured[measured.len() - 1]),
            masters: inputs.master.seq,
            master_hash: inputs.master.hash,
            lineage_ok: inputs.lineage_ok,
            log_ok: inputs.log_ok,
            miners: inputs.members.iter().skip(1).map(|m| miner(inputs, m)).collect(),
            failures: Vec::new(),
            ok: false,
        };
        report.failures = report.check(inputs.target_loss);
        report.ok = report.failures.is_empty();
        report
    }

    fn check(&self, target: f64) -> Vec<String> {
        let mut failures = Vec::new();
        let mut demand = |holds: bool, what: String| {
            if !holds {
                failures.push(what);
            }
        };
        let show = |loss: Option<f64>| loss.map_or_else(|| "unknown".to_owned(), |loss| format!("{loss:.3}"));
        let end = self.global_loss_end;
        demand(end.is_some_and(|end| end < target), format!("the global loss is {}, not below {target}", show(end)));
        demand(self.lineage_ok, "the published deltas do not lead to the published master".to_owned());
        demand(self.log_ok, "the validator's log does not follow from itself".to_owned());
        let nobody = self.miners.iter().all(|miner| miner.weight <= 0.0);
        // The log says what was sent, and only the chain what arrived.
        demand(
            !nobody,
            "no miner has a weight on the chain: if few deltas were accepted, try a longer --duration".to_owned(),
        );
        for miner in &self.miners {
            let uid = miner.uid;
            if miner.kind == "honest" {
                demand(miner.accepted > 0, format!("no delta of the honest miner {uid} was accepted"));
                demand(miner.mean_weight > 0.0, format!("the honest miner {uid} was never given a weight"));
            } else {
                demand(miner.accepted == 0, format!("poison of miner {uid} was accepted"));
                demand(miner.weight <= 0.0, format!("the poisoner {uid} has weight on the chain"));
                demand(miner.mean_weight <= 0.0, format!("the poisoner {uid} was given a weight"));
                for reason in [Reason::NotFinite, Reason::NormTooLarge] {
                    let seen = miner.skipped.contains_key(&reason.name());
                    demand(seen, format!("the poisoner {uid} was never skipped for {}", reason.name()));
                }
            }
        }
        failures
    }

    /// The report for people.
    pub fn table(&self) -> String {
        let loss = |loss: Option<f64>| loss.map_or_else(|| "–".to_owned(), |loss| format!("{loss:.3}"));
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{:<10} {:>3} {:<7} {:>6} {:>8} {:>7} {:>7} {:>7}  skipped",
            "hotkey", "uid", "kind", "deltas", "accepted", "local", "global", "weight"
        );
        for m in &self.miners {
            let skipped: Vec<String> = m.skipped.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
            let _ = writeln!(
                text,
                "{:<10} {:>3} {:<7} {:>6} {:>8} {:>7} {:>7} {:>6.1}%  {}",
                m.hotkey.short() + "…",
                m.uid,
                m.kind,
                m.deltas,
                m.accepted,
                loss(m.local_loss),
                loss(m.global_loss),
                100.0 * m.weight,
                skipped.join(", "),
            );
        }
        let _ = writeln!(
            text,
            "\nglobal loss of the master {} → {} in {:.0} s and {} accepted deltas",
            loss(self.global_loss_start),
            loss(self.global_loss_end),
            self.seconds,
            self.masters
        );
        let holds =
            if self.lineage_ok { "is what the published deltas lead to" } else { "does NOT follow from the deltas" };
        let _ = writeln!(text, "master {} {holds}", self.master_hash);
        for failure in &self.failures {
            let _ = writeln!(text, "FAILED: {failure}");
        }
        if self.ok {
            text.push_str("everything holds");
        }
        text
    }
}

fn miner(inputs: &Inputs<'_>, member: &Member) -> MinerReport {
    let (mut objects, mut skipped, mut accepted) = (BTreeSet::new(), BTreeMap::new(), 0);
    let mut scores = Scores::default();
    for record in inputs.records {
        match &record.event {
            Event::Judged(j) if j.hotkey == member.hotkey => {
                objects.insert(j.object);
                accepted += usize::from(matches!(j.verdict, Verdict::Accept(_)));
                scores.observe(&inputs.scoring, &j.observation(&inputs.scoring, record.block));
            }
            Event::Skipped { hotkey, object, skip, .. } if *hotkey == member.hotkey => {
                objects.extend(*object);
                if object.is_some() {
                    *skipped.entry(skip.reason.name()).or_insert(0) += 1;
                }
                if skip.reason.is_fault() {
                    scores.fault(&inputs.scoring, hotkey);
                }
            }
            _ => {}
        }
    }
    let score = scores.get(&member.hotkey).cloned().unwrap_or_default();
    let weights = |record: &Record| {
        if let Event::WeightsSet { weights, .. } = &record.event {
            share(member.uid, weights.iter().map(|(uid, w)| (uid.0, *w)))
        } else {
            None
        }
    };
    let all: Vec<f64> = inputs.records.iter().filter_map(weights).collect();
    MinerReport {
        hotkey: member.hotkey,
        uid: member.uid,
        kind: if member.uid as usize == inputs.members.len() - 1 { "poison" } else { "honest" },
        deltas: objects.len(),
        accepted,
        skipped,
        local_loss: score.local.map(|average| average.value),
        global_loss: score.global.map(|average| average.value),
        weight: share(member.uid, inputs.weights.iter().copied()).unwrap_or_default(),
        mean_weight: all.iter().sum::<f64>() / all.len().max(1) as f64,
    }
}

/// What part of the `weights` is this neuron's; `None` if there are none.
fn share(uid: u16, weights: impl Iterator<Item = (u16, u16)>) -> Option<f64> {
    let (own, all) = weights.fold((0.0, 0.0), |(own, all), (of, weight)| {
        let weight = f64::from(weight);
        (own + if of == uid { weight } else { 0.0 }, all + weight)
    });
    (all > 0.0).then(|| own / all)
}
