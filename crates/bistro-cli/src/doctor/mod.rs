//! Preflight: what could keep a program from its work, found out before it begins.
//!
//! The command `doctor` makes every check; a program that starts makes the quick ones, with the same words. A check is one
//! verdict, one sentence, and one command that mends it.
//!
//! # Layout
//! - this file: checks and their report.
//! - [`subject`]: who is examined: flags, wallet, connections.
//! - [`run`]: all checks at the same time, each within its deadline.
//! - `chain`, `bucket`, `data`, `machine`, `wallet`, `release`: the checks.

mod bucket;
mod chain;
mod data;
mod machine;
pub mod release;
pub mod run;
pub mod subject;
mod wallet;

use std::fmt::Write as _; // into a string, which never fails

use serde_json::{Value, json};

use crate::exit;

/// Every check: its number, its name, and what it is about.
pub const CHECKS: [(&str, &str, &str); 21] = [
    ("D01", "settings", "files, variables and flags are understood"),
    ("D02", "hotkey", "the hotkey's file is there, is whole, and is nobody else's to read"),
    ("D03", "coldkey", "the coldkey is not on this machine"),
    ("D04", "clock", "this machine's clock agrees with the bucket's server and the chain"),
    ("D05", "node", "the chain's node answers, is of the network asked for, and is at its head"),
    ("D06", "subnet", "the subnet exists"),
    ("D07", "registration", "the hotkey holds a slot"),
    ("D08", "immunity", "for how long the slot is safe"),
    ("D09", "weights", "a validator's weights will be taken: permit, stake, and the subnet's terms"),
    ("D10", "commitment", "the chain names the bucket, or has room for its name"),
    ("D11", "bucket", "the bucket is there, and the keys open it"),
    ("D12", "own_keys", "the keys can write, read, list and delete, in parts as well"),
    ("D13", "public", "the public can read `bistro/v1/`, and do nothing else"),
    ("D14", "upload", "how long a delta takes to upload"),
    ("D15", "dataset", "the dataset is there, and is the run's"),
    ("D16", "tokenizer", "the tokenizer is there, and is the run's"),
    ("D17", "device", "libtorch is the one this program is made for, and computes on the device"),
    ("D18", "memory", "the model fits"),
    ("D19", "disk", "state and cache fit"),
    ("D20", "limits", "the program may open enough files, and its web page's port is free"),
    ("D21", "release", "whether a newer release is there, if it is asked for"),
];

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it must be.
    Pass,
    /// The program works, but not as well or as safely as it could.
    Warn,
    /// The program does not work.
    Fail,
    /// Not examined: it does not concern this program, or something before it failed.
    Skip,
}

impl Verdict {
    /// In capitals, four letters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
            Self::Skip => "SKIP",
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub verdict: Verdict,
    /// One sentence.
    pub says: String,
    /// What mends it: one command where there is one.
    pub mend: Option<String>,
    /// The exit status of a program that cannot begin for this.
    pub status: u8,
}

impl Outcome {
    fn pass(says: impl Into<String>) -> Self {
        Self { verdict: Verdict::Pass, says: says.into(), mend: None, status: 0 }
    }

    fn skip(says: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skip, ..Self::pass(says) }
    }

    fn warn(says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, mend: Some(mend.into()), ..Self::pass(says) }
    }

    /// A failure for the operator to mend.
    fn fail(says: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, status: exit::REFUSED, ..Self::warn(says, mend) }
    }

    /// The same outcome, for which a program ends with `status`.
    fn ending(self, status: u8) -> Self {
        Self { status, ..self }
    }
}

/// A check that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Its number: `D07`.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it found.
    pub outcome: Outcome,
}

/// All checks, by number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

impl Report {
    fn of(found: Vec<(&'static str, Outcome)>) -> Self {
        let mut checks: Vec<_> = found
            .into_iter()
            .filter_map(|(id, outcome)| {
                let (id, name, _) = CHECKS.iter().find(|known| known.0 == id)?;
                Some(Check { id, name, outcome })
            })
            .collect();
        checks.sort_by_key(|check| check.id);
        Self { checks }
    }

    /// Those of a verdict.
    pub fn with(&self, verdict: Verdict) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(move |check| check.outcome.verdict == verdict)
    }

    /// Whether nothing failed.
    pub fn holds(&self) -> bool {
        self.with(Verdict::Fail).next().is_none()
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let Outcome { verdict, says, mend, .. } = &check.outcome;
            let _ = writeln!(text, "{}  {} {:<13} {says}", verdict.word(), check.id, check.name);
            if let Some(mend) = mend {
                let _ = writeln!(text, "{:25}→ {mend}", "");
            }
        }
        let count = |verdict| self.with(verdict).count();
        let _ = writeln!(
            text,
            "\n{} passed, {} warned, {} failed, {} skipped",
            count(Verdict::Pass),
            count(Verdict::Warn),
            count(Verdict::Fail),
            count(Verdict::Skip)
        );
        text
    }

    /// The report as one document. Its schema, version 1, does not change but by new fields and new checks.
    pub fn json(&self, program: &str) -> Value {
        let one = |check: &Check| {
            let Outcome { verdict, says, mend, .. } = &check.outcome;
            json!({"id": check.id, "name": check.name, "verdict": verdict.word(), "says": says, "mend": mend})
        };
        let checks: Vec<_> = self.checks.iter().map(one).collect();
        json!({"version": 1, "program": program, "ok": self.holds(), "checks": checks})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let fail = Outcome::fail("hotkey 5F… is not registered", "btcli subnets register").ending(exit::NO_PLACE);
        Report::of(vec![("D07", fail), ("D03", Outcome::warn("it is here", "move it")), ("D01", Outcome::pass("fine"))])
    }

    #[test]
    fn numbers_are_in_order_and_unique() {
        let ids: Vec<_> = CHECKS.iter().map(|check| check.0).collect();
        let wanted: Vec<_> = (1..=CHECKS.len()).map(|n| format!("D{n:02}")).collect();
        assert_eq!(ids, wanted);
    }

    #[test]
    fn a_report_is_by_number_with_what_mends_below() {
        let text = report().text();
        let wanted = "PASS  D01 settings      fine\nWARN  D03 coldkey       it is here\n                         → move it\n\
                      FAIL  D07 registration  hotkey 5F… is not registered\n                         → btcli subnets register\n\n\
                      1 passed, 1 warned, 1 failed, 0 skipped\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn the_document_has_the_fields_that_scripts_rely_on() {
        let json = report().json("bistro-miner");
        assert_eq!(
            (&json["version"], &json["ok"], &json["program"]),
            (&json!(1), &json!(false), &json!("bistro-miner"))
        );
        let last = json!({"id": "D07", "name": "registration", "verdict": "FAIL", "says": "hotkey 5F… is not registered",
            "mend": "btcli subnets register"});
        assert_eq!(json["checks"][2], last);
        assert_eq!(json["checks"][0]["mend"], Value::Null);
    }
}
