//! Everything that miners and validators must agree on, in one document with a digest. The publishing validator puts it
//! into its bucket; a miner takes its rules from there.

use serde::{Deserialize, Serialize};

use crate::ids::{Hash, NetUid};
use crate::mechanism::{AcceptanceRules, PayRules, ScoringRules};
use crate::pages::{DatasetIndex, Window};
use crate::protocol::Encoding;
use crate::tokens::Packing;

/// Largest rules document that is read, bytes.
pub const MAX_RULES_BYTES: u64 = 1024 * 1024;

/// Longest name of a tokenizer.
const MAX_TOKENIZER_NAME: usize = 100;

/// The mechanism's numbers: what `config/rules/*.toml` hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mechanism {
    /// Verdicts to scores.
    pub scoring: ScoringRules,
    /// The window of local pages.
    pub window: Window,
    /// What an evaluation reads.
    pub evaluation: EvaluationRules,
    /// Which delta is kept.
    pub acceptance: AcceptanceRules,
    /// Which deltas are looked at.
    pub deltas: DeltaRules,
    /// What a miner does.
    pub miner: MinerRules,
}

/// What one evaluation reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationRules {
    /// Local pages drawn from the miner's window. The original's is 1.
    pub local_pages: usize,
    /// Global pages. The original's is 1.
    pub global_pages: usize,
}

/// Bounds on a delta.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeltaRules {
    /// Encodings that are read.
    pub encodings: Vec<Encoding>,
    /// Largest norm of a delta, as a share of the master's norm.
    pub max_norm_ratio: f64,
    /// How many masters ago a delta's base may be.
    pub max_base_age: u64,
    /// Largest cosine between a delta and an earlier one of another hotkey; 1 lets all but exact copies pass.
    pub max_cosine: f64,
    /// Blocks for which a hotkey that was caught copying is not judged.
    pub copy_suspends: u64,
}

/// What a miner does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinerRules {
    /// Pages between two uploads. The original's is 1.
    pub pages_per_epoch: usize,
    /// What becomes of unmerged work at a new master.
    pub on_new_master: OnNewMaster,
}

/// What becomes of a miner's unmerged work at a new master.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OnNewMaster {
    /// It is thrown away, and the optimizer starts anew: the original's.
    Reset,
    /// The model moves by what the master moved, less its own accepted part, and goes on.
    Rebase {
        /// Share of the unmerged work that stays where the master took others' deltas: they hold some of the same.
        keep: f32,
    },
}

/// The whole document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Version of this document's form: 1.
    pub version: u32,
    /// Subnet.
    pub netuid: NetUid,
    /// The model's `config.json` as Hugging Face writes it. Opaque here; checked by whoever builds the model.
    pub model: serde_json::Value,
    /// The tokenizer: `gpt2`, or `json:` and the BLAKE3 of a `tokenizer.json` in hex.
    pub tokenizer: String,
    /// Tokens of a sequence.
    pub sequence_length: usize,
    /// How documents become sequences.
    #[serde(default)]
    pub packing: Packing,
    /// The dataset, pinned.
    pub dataset: DatasetIndex,
    /// The mechanism's numbers.
    pub mechanism: Mechanism,
}

/// What is wrong with a set of rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Not such a document.
    #[error("not a rules document: {0}")]
    Form(String),
    /// A number outside its bounds.
    #[error("rule `{0}` {1}")]
    Bounds(&'static str, String),
}

/// Both rule files that ship with the programs: name, text.
pub const SHIPPED: [(&str, &str); 2] = [
    ("readme", include_str!("../../../config/rules/readme.toml")),
    ("recommended", include_str!("../../../config/rules/recommended.toml")),
];

impl Mechanism {
    /// Reads a file of `config/rules/`, and checks it.
    pub fn from_toml(text: &str) -> Result<Self, RulesError> {
        let mechanism: Self = toml::from_str(text).map_err(|e| RulesError::Form(e.to_string()))?;
        mechanism.check()?;
        Ok(mechanism)
    }

    /// Checks every number's bounds: the document may be a stranger's.
    pub fn check(&self) -> Result<(), RulesError> {
        let within = |name, value: f64, low: f64, high: f64| {
            let ok = value >= low && value <= high;
            let fault = || RulesError::Bounds(name, format!("is {value}, it must lie between {low} and {high}"));
            if ok { Ok(()) } else { Err(fault()) }
        };
        match self.scoring.pay {
            PayRules::Loss { temperature } => within("scoring.pay.loss.temperature", temperature, 0.0, 1e6)?,
            PayRules::Improvement { half_life, proof_pages, page_cap } => {
                within("scoring.pay.improvement.page_cap", page_cap.unwrap_or(1.0), 0.1, 1e6)?;
                within("scoring.pay.improvement.half_life", half_life, 1.0, 1e7)?;
                within("scoring.pay.improvement.proof_pages", proof_pages as f64, 1.0, 64.0)?;
            }
        }
        within("scoring.local_share", self.scoring.local_share, 0.0, 1.0)?;
        within("scoring.base_alpha", self.scoring.base_alpha, 0.0, 1.0)?;
        within("window.pages", self.window.pages as f64, 1.0, 10_000.0)?;
        within("window.pages_per_block", self.window.pages_per_block as f64, 0.0, 10_000.0)?;
        within("window.look_ahead", self.window.look_ahead as f64, 0.0, 1e6)?;
        within("evaluation.local_pages", self.evaluation.local_pages as f64, 1.0, 64.0)?;
        within("evaluation.global_pages", self.evaluation.global_pages as f64, 1.0, 64.0)?;
        within("miner.pages_per_epoch", self.miner.pages_per_epoch as f64, 1.0, 10_000.0)?;
        within("deltas.max_norm_ratio", self.deltas.max_norm_ratio, 1e-9, 1e6)?;
        within("deltas.max_base_age", self.deltas.max_base_age as f64, 0.0, crate::protocol::MAX_CHAIN as f64)?;
        within("deltas.max_cosine", self.deltas.max_cosine, 0.0, 1.0)?;
        within("deltas.copy_suspends", self.deltas.copy_suspends as f64, 0.0, 1e7)?;
        within("deltas.encodings", self.deltas.encodings.len() as f64, 1.0, 16.0)?;
        if let OnNewMaster::Rebase { keep } = self.miner.on_new_master {
            within("miner.on_new_master.keep", f64::from(keep), 0.0, 1.0)?;
        }
        match &self.acceptance {
            AcceptanceRules::Readme { threshold_factor } => {
                within("acceptance.threshold_factor", *threshold_factor, 0.0, 2.0)
            }
            AcceptanceRules::Paired { scales, margin } => {
                within("acceptance.scales", scales.len() as f64, 1.0, 16.0)?;
                within("acceptance.margin", *margin, 0.0, 10.0)?;
                scales.iter().try_for_each(|s| within("acceptance.scales", f64::from(*s), 1e-6, 100.0))
            }
        }
    }
}

impl Rules {
    /// The document as it is published; its BLAKE3 is the run's digest.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// The digest that every manifest of the run names.
    pub fn digest(&self) -> Hash {
        Hash::of(&self.to_json())
    }

    /// Reads a stranger's document and checks all bounds except the model's.
    pub fn from_json(bytes: &[u8]) -> Result<Self, RulesError> {
        let rules: Self = serde_json::from_slice(bytes).map_err(|e| RulesError::Form(e.to_string()))?;
        rules.check()?;
        Ok(rules)
    }

    /// Checks all bounds except the model's.
    pub fn check(&self) -> Result<(), RulesError> {
        if self.version != 1 {
            let found = format!("is {}; this program knows version 1", self.version);
            return Err(RulesError::Bounds("version", found));
        }
        if !(2..=131_072).contains(&self.sequence_length) {
            let found = format!("is {}, it must lie between 2 and 131072", self.sequence_length);
            return Err(RulesError::Bounds("sequence_length", found));
        }
        if self.tokenizer.len() > MAX_TOKENIZER_NAME || !self.tokenizer.bytes().all(|b| b.is_ascii_graphic()) {
            let found = format!("is no name of up to {MAX_TOKENIZER_NAME} ASCII characters");
            return Err(RulesError::Bounds("tokenizer", found));
        }
        self.dataset.check().map_err(|e| RulesError::Bounds("dataset", e.to_string()))?;
        self.mechanism.check()
    }

    /// Where `self` and `other` differ, as `path: ours → theirs` lines; empty if they agree.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let value = |rules: &Self| serde_json::to_value(rules).unwrap_or_default();
        let mut lines = Vec::new();
        collect_differences("", &value(self), &value(other), &mut lines);
        lines
    }
}

fn collect_differences(path: &str, a: &serde_json::Value, b: &serde_json::Value, lines: &mut Vec<String>) {
    use serde_json::Value::Object;
    if let (Object(a), Object(b)) = (a, b) {
        let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for name in names {
            let null = &serde_json::Value::Null;
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            collect_differences(&path, a.get(name).unwrap_or(null), b.get(name).unwrap_or(null), lines);
        }
    } else if a != b {
        let short = |v: &serde_json::Value| v.to_string().chars().take(120).collect::<String>();
        lines.push(format!("{path}: {} → {}", short(a), short(b)));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::pages::Config;

    /// A run's rules with a shipped mechanism.
    pub(crate) fn rules(name: &str) -> Rules {
        let (_, text) = SHIPPED.iter().find(|(n, _)| *n == name).unwrap();
        Rules {
            version: 1,
            netuid: NetUid(212),
            model: serde_json::json!({"hidden_size": 128}),
            tokenizer: "gpt2".into(),
            sequence_length: 256,
            packing: Packing::Join,
            dataset: DatasetIndex {
                dataset: "test".into(),
                rows_per_page: 8,
                row_bytes: None,
                content: None,
                configs: vec![Config { name: "a".into(), split: "train".into(), rows: 100 }],
            },
            mechanism: Mechanism::from_toml(text).unwrap(),
        }
    }

    #[test]
    fn the_readme_file_has_the_originals_numbers() {
        let m = rules("readme").mechanism;
        assert_eq!((m.window.pages, m.window.pages_per_block, m.window.look_ahead), (100, 4, 100));
        assert_eq!((m.evaluation.local_pages, m.evaluation.global_pages, m.miner.pages_per_epoch), (1, 1, 1));
        assert_eq!(m.acceptance, AcceptanceRules::Readme { threshold_factor: 0.999 });
        assert_eq!(m.miner.on_new_master, OnNewMaster::Reset);
        assert_eq!(m.scoring.pay, PayRules::Loss { temperature: 5.0 });
    }

    #[test]
    fn a_document_survives_its_bytes_and_names_its_differences() {
        let (ours, mut theirs) = (rules("recommended"), rules("recommended"));
        assert_eq!(Rules::from_json(&ours.to_json()).unwrap(), ours);
        theirs.mechanism.scoring.local_share = 0.75;
        theirs.sequence_length = 512;
        let lines = ours.differences(&theirs);
        assert_eq!(lines, ["mechanism.scoring.local_share: 0.0 → 0.75", "sequence_length: 256 → 512"]);
        assert_ne!(ours.digest(), theirs.digest());
    }

    #[test]
    fn numbers_out_of_bounds_are_refused_by_name() {
        fn improvement(half_life: f64, proof_pages: usize, page_cap: Option<f64>) -> PayRules {
            PayRules::Improvement { half_life, proof_pages, page_cap }
        }
        type Damage = fn(&mut Rules);
        let damages: [(&str, Damage); 13] = [
            ("miner.on_new_master.keep", |r| r.mechanism.miner.on_new_master = OnNewMaster::Rebase { keep: 1.01 }),
            ("scoring.pay.loss.temperature", |r| {
                r.mechanism.scoring.pay = PayRules::Loss { temperature: f64::NAN };
            }),
            ("scoring.pay.improvement.half_life", |r| {
                r.mechanism.scoring.pay = improvement(0.0, 1, None);
            }),
            ("scoring.pay.improvement.half_life", |r| {
                r.mechanism.scoring.pay = improvement(f64::NAN, 1, None);
            }),
            ("scoring.pay.improvement.proof_pages", |r| {
                r.mechanism.scoring.pay = improvement(9.0, 0, None);
            }),
            ("scoring.pay.improvement.page_cap", |r| {
                r.mechanism.scoring.pay = improvement(9.0, 1, Some(f64::NAN));
            }),
            ("window.pages", |r| r.mechanism.window.pages = u64::MAX),
            ("evaluation.global_pages", |r| r.mechanism.evaluation.global_pages = 0),
            ("sequence_length", |r| r.sequence_length = 1),
            ("dataset", |r| r.dataset.configs[0].rows = 9),
            ("dataset", |r| r.dataset.rows_per_page = 0),
            ("dataset", |r| r.dataset.rows_per_page = u64::MAX),
            ("tokenizer", |r| r.tokenizer = "gpt2\n".into()),
        ];
        for (name, damage) in damages {
            let mut broken = rules("readme");
            damage(&mut broken);
            assert!(matches!(broken.check(), Err(RulesError::Bounds(n, _)) if n == name), "{name} passed");
        }
    }
}
