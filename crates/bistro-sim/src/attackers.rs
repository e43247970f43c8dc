//! What each kind of attacker earns against honest miners: one network for each kind, three honest miners against it, and the
//! same seeds and rules for all.

use std::fmt::Write as _;

use serde::Serialize;

use crate::kinds::Kind;
use crate::{Outcome, Scenario};

/// Honest miners that an attacker is measured by.
const HONEST: usize = 3;

/// Seconds for a page: two blocks for an epoch's training, or for a verdict.
const PAGE_SECONDS: f64 = 6.0;

/// Hotkeys of sybils.
const SYBILS: usize = 2;

/// A network of three honest miners and of attackers of one `kind`, nothing failing.
pub fn scenario(kind: Kind, rules: &str, blocks: u64) -> Scenario {
    let attackers = if kind == Kind::Sybil { SYBILS } else { 1 };
    let mut miners = vec![Kind::Honest; HONEST];
    miners.extend(vec![kind; attackers]);
    Scenario {
        rules: rules.into(),
        blocks,
        validators: vec![1000],
        miners,
        page_seconds: PAGE_SECONDS,
        ..Scenario::calm()
    }
}

/// A network of two honest validators and one that copies their weights, which all see after `reveal` blocks.
pub fn copied_weights(rules: &str, blocks: u64, reveal: u64) -> Scenario {
    Scenario {
        rules: rules.into(),
        blocks,
        validators: vec![600, 500],
        weight_copiers: vec![400],
        commit_reveal: reveal,
        page_seconds: PAGE_SECONDS,
        miners: vec![Kind::Honest, Kind::Honest, Kind::OnOff, Kind::Zero],
        ..Scenario::calm()
    }
}

/// What attackers of one kind earned under one set of rules, over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The kind's name.
    pub kind: String,
    /// The rules' name.
    pub rules: String,
    /// Mean of what all attackers of the network earned together, in what the mean honest miner beside them earned.
    pub earned: f64,
    /// The lowest and the highest of all seeds.
    pub range: (f64, f64),
    /// Their work together, in what an honest miner worked.
    pub work: f64,
    /// Accepted deltas of all attackers together, mean.
    pub accepted: f64,
    /// The same of one honest miner.
    pub honest_accepted: f64,
    /// How far chance goes: the standard deviation of what the honest miners earned, over their mean; mean of the seeds.
    pub spread: f64,
    /// Loss of the last master, mean, nats a letter.
    pub loss: f64,
}

impl Row {
    /// The row of these outcomes of [`scenario`], one a seed.
    pub fn new(kind: Kind, rules: &str, blocks: u64, outcomes: &[Outcome]) -> Self {
        let miners = |outcome: &Outcome| outcome.neurons[1..].to_vec();
        let sum = |part: &[crate::run::Earner]| part.iter().map(|e| e.earned).sum::<f64>();
        let earned: Vec<f64> = outcomes
            .iter()
            .map(|outcome| {
                let miners = miners(outcome);
                let (honest, attackers) = miners.split_at(HONEST);
                sum(attackers) / (sum(honest) / HONEST as f64)
            })
            .collect();
        let mean = |value: &dyn Fn(&Outcome) -> f64| outcomes.iter().map(value).sum::<f64>() / outcomes.len() as f64;
        let accepted = |part: &[crate::run::Earner]| part.iter().map(|e| e.accepted as f64).sum::<f64>();
        Self {
            kind: kind.name(),
            rules: rules.into(),
            earned: earned.iter().sum::<f64>() / earned.len() as f64,
            range: earned.iter().fold((f64::INFINITY, 0.0), |(low, high), e| (low.min(*e), f64::max(high, *e))),
            work: kind.work(blocks),
            accepted: mean(&|outcome| accepted(&miners(outcome)[HONEST..])),
            honest_accepted: mean(&|outcome| accepted(&miners(outcome)[..HONEST]) / HONEST as f64),
            spread: mean(&|outcome| spread(&miners(outcome)[..HONEST])),
            loss: mean(&|outcome| outcome.loss_end),
        }
    }

    /// What a unit of work earned, in what it earned honest miners; `None` for those that do none.
    pub fn per_work(&self) -> Option<f64> {
        (self.work > 0.0).then(|| self.earned / self.work)
    }

    /// Whether it earned more than its work was worth: more than an honest miner for a unit of work, or anything that is worth
    /// the trouble (a twentieth) for none. Honest miners of one network differ by up to a quarter over 2000 blocks, so that much
    /// is let pass.
    pub fn wins(&self) -> bool {
        self.per_work().map_or(self.earned > 0.05, |per_work| per_work > 1.25)
    }
}

fn spread(honest: &[crate::run::Earner]) -> f64 {
    let mean = honest.iter().map(|e| e.earned).sum::<f64>() / honest.len() as f64;
    let squares = honest.iter().map(|e| (e.earned - mean).powi(2)).sum::<f64>();
    (squares / honest.len() as f64).sqrt() / mean
}

/// The rows as a table of Markdown: a line for each kind, and three columns for each set of rules.
pub fn markdown(rows: &[Row]) -> String {
    let mut rules: Vec<&str> = rows.iter().map(|row| row.rules.as_str()).collect();
    rules.dedup();
    rules.sort_unstable();
    rules.dedup();
    let mut text = String::from("| kind | work |");
    for rules in &rules {
        let _ = write!(text, " {rules}: earned | of a unit of work | accepted |");
    }
    text.push_str("\n|---|---|");
    text.push_str(&"---|---|---|".repeat(rules.len()));
    text.push('\n');
    let mut kinds: Vec<(&str, f64)> = rows.iter().map(|row| (row.kind.as_str(), row.work)).collect();
    kinds.dedup();
    for (kind, work) in kinds {
        let _ = write!(text, "| `{kind}` | {work:.2} |");
        for row in rules.iter().filter_map(|r| rows.iter().find(|row| row.kind == kind && row.rules == *r)) {
            let per_work = row.per_work().map_or_else(|| "–".to_owned(), |per_work| format!("{per_work:.2}"));
            let (mark, (low, high)) = (if row.wins() { "**" } else { "" }, row.range);
            let _ = write!(
                text,
                " {mark}{:.2}{mark} ({low:.2}–{high:.2}) | {per_work} | {:.0} of {:.0} |",
                row.earned, row.accepted, row.honest_accepted
            );
        }
        text.push('\n');
    }
    text
}

/// A sentence on what a validator that copies weights earned, in what the honest validators beside it earned for each stake.
pub fn weight_copier(reveal: u64, outcomes: &[Outcome]) -> String {
    let Scenario { validators, weight_copiers, .. } = copied_weights("recommended", 1, reveal);
    let ratio = |outcome: &Outcome| {
        let (honest, copier) = outcome.neurons.split_at(validators.len());
        let for_stake: f64 = honest.iter().map(|e| e.dividends).sum::<f64>() / validators.iter().sum::<u64>() as f64;
        copier[0].dividends / weight_copiers[0] as f64 / for_stake
    };
    let mean = outcomes.iter().map(ratio).sum::<f64>() / outcomes.len() as f64;
    format!(
        "\nA validator that copies weights, revealed after {reveal} blocks, earned {mean:.3} of what the honest validators did \
         for the same stake.\n"
    )
}
