//! Who takes part in a simulation, for how long, under which rules and faults.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bistro_core::rules::{Mechanism, SHIPPED};
use serde::{Deserialize, Serialize};

use crate::kinds::Kind;

/// A simulation, but for its seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// The mechanism: `recommended`, `readme`, or a file.
    pub rules: String,
    /// Blocks of 12 seconds.
    pub blocks: u64,
    /// Share of all calls that meet a fault.
    pub faults: f64,
    /// How often each program is killed without warning, and started again.
    pub kills: usize,
    /// How often another branch of the chain wins, and what is not final is gone.
    pub reorganisations: usize,
    /// Whether everybody's wall clock is set back and forth by days.
    pub clock_jumps: bool,
    /// Stake of each validator.
    pub validators: Vec<u64>,
    /// Stake of each validator that copies the others' weights.
    pub weight_copiers: Vec<u64>,
    /// Blocks after which weights are revealed, and count; 0 for weights that all see at once.
    pub commit_reveal: u64,
    /// Kind of each miner.
    pub miners: Vec<Kind>,
    /// Seconds for all computing with one page.
    pub page_seconds: f64,
}

impl Default for Scenario {
    /// Two honest miners among four who are not, everything failing one time in ten; long enough for weights to be set.
    fn default() -> Self {
        Self {
            rules: "recommended".into(),
            blocks: 100,
            faults: 0.1,
            kills: 2,
            reorganisations: 4,
            clock_jumps: false,
            validators: vec![1000, 400],
            weight_copiers: Vec::new(),
            commit_reveal: 0,
            miners: vec![Kind::Honest, Kind::Honest, Kind::NotANumber, Kind::Copy, Kind::Replay, Kind::Withheld],
            page_seconds: 3.0,
        }
    }
}

impl Scenario {
    /// The default without faults, kills and reorganisations.
    pub fn calm() -> Self {
        Self { faults: 0.0, kills: 0, reorganisations: 0, ..Self::default() }
    }

    /// Reads a scenario from a TOML file; what it leaves out is the default's.
    pub fn from_toml(text: &str) -> Result<Self> {
        let scenario: Self = toml::from_str(text)?;
        ensure!((0.0..=0.9).contains(&scenario.faults), "faults is {}, it must lie in 0..=0.9", scenario.faults);
        ensure!((1..=100_000).contains(&scenario.blocks), "blocks is {}, it must lie in 1..=100000", scenario.blocks);
        ensure!(scenario.page_seconds > 0.0, "page_seconds must be above 0, or time stands still");
        ensure!(!scenario.validators.is_empty(), "a run needs a validator");
        ensure!(scenario.neurons() <= 200, "at most 200 neurons");
        let most = scenario.validators.iter().max().copied().unwrap_or_default();
        let copies = scenario.weight_copiers.iter().all(|stake| (1..most).contains(stake));
        ensure!(copies, "a weight copier's stake must lie in 1..{most}: the validator with the most leads");
        Ok(scenario)
    }

    /// All who hold a uid: validators, weight copiers, miners, in this order.
    pub fn neurons(&self) -> usize {
        self.validators.len() + self.weight_copiers.len() + self.miners.len()
    }

    /// The mechanism that [`Self::rules`] names.
    pub fn mechanism(&self) -> Result<Mechanism> {
        if let Some((_, text)) = SHIPPED.iter().find(|(name, _)| *name == self.rules) {
            return Ok(Mechanism::from_toml(text)?);
        }
        let path = Path::new(&self.rules);
        let text = fs_err::read_to_string(path).context("rules is neither a shipped name nor a file")?;
        Ok(Mechanism::from_toml(&text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_file_is_checked() {
        let scenario = Scenario::from_toml("blocks = 9\nminers = [\"honest\", \"noisy_copy\"]").unwrap();
        assert_eq!((scenario.blocks, scenario.miners.len(), scenario.faults), (9, 2, 0.1));
        let bad = ["faults = 1.0", "blocks = 0", "miners = [\"angel\"]", "page_seconds = 0.0", "speed = 1"];
        for bad in bad.into_iter().chain(["weight_copiers = [1000]", "weight_copiers = [0]", "validators = []"]) {
            assert!(Scenario::from_toml(bad).is_err(), "{bad}");
        }
    }
}
