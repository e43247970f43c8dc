//! What survives a restart: one small file, replaced whole after every turn.

use std::collections::BTreeMap;

use bistro_core::ids::{Hash, Hotkey};
use bistro_core::ledger::Ledger;
use bistro_core::skip::{Reason, Skip};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::NodeError;
use crate::fetch::Memory;
use crate::files::DataDir;
use crate::master::Master;

/// The file's name in the data folder.
pub const FILE: &str = "validator-state.json";

/// Version of its form.
pub const VERSION: u32 = 7;

/// Scores, threshold, and what is remembered of deltas. The master itself lies in the bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// [`VERSION`].
    pub version: u32,
    /// Digest of the rules under which all of this was measured.
    pub rules: Hash,
    /// Scores and threshold.
    pub ledger: Ledger,
    /// The log's next record: all before it are in the ledger.
    pub log: u64,
    /// The newest master of this validator's own making.
    pub master_seq: u64,
    /// Its hash.
    pub master: Hash,
    /// What is remembered of deltas.
    pub memory: Memory,
    /// The last skip of each hotkey, so that one that repeats is told once.
    pub told: BTreeMap<Hotkey, (Reason, Option<Hash>)>,
}

impl State {
    /// Before the first turn on `master`.
    pub fn new(rules: Hash, master: &Master, rng: &mut impl Rng) -> Self {
        let mut secret = Hash([0; 32]);
        rng.fill_bytes(&mut secret.0);
        Self {
            version: VERSION,
            rules,
            ledger: Ledger::default(),
            log: 0,
            master_seq: master.seq,
            master: master.hash,
            memory: Memory::new(secret),
            told: BTreeMap::new(),
        }
    }

    /// The state file, if there is one. One of another version is refused: what it remembers was measured otherwise.
    pub fn load(data: &DataDir) -> Result<Option<Self>, NodeError> {
        data.load_version(FILE, VERSION)
    }

    /// Forgets hotkeys that `keep` does not name: those that left the subnet. The ledger forgets by itself.
    pub fn retain(&mut self, keep: impl Fn(&Hotkey) -> bool) {
        self.memory.retain(&keep);
        self.told.retain(|hotkey, _| keep(hotkey));
    }

    /// Takes note of a skip; whether it is news: another reason, or another object, than the last of this hotkey.
    pub fn told(&mut self, hotkey: &Hotkey, skip: &Skip, object: Option<Hash>) -> bool {
        let last = (skip.reason, object);
        self.told.insert(*hotkey, last) != Some(last)
    }
}

#[cfg(test)]
mod tests {
    use bistro_core::params::Params;
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_state_comes_back_and_one_of_another_version_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        assert_eq!(State::load(&data).unwrap(), None);
        let master = Master::new(3, Params { tensors: BTreeMap::new() });
        let mut state = State::new(Hash([1; 32]), &master, &mut rand_chacha::ChaCha8Rng::seed_from_u64(1));
        state.ledger.acceptance.min_loss = Some(6.2);
        data.save(FILE, &state).unwrap();
        assert_eq!(State::load(&data).unwrap().unwrap(), state);
        for version in [2, 3, 9] {
            data.save(FILE, &serde_json::json!({"version": version, "more": 1})).unwrap();
            let error = State::load(&data).unwrap_err();
            assert!(!error.is_temporary() && error.to_string().contains(&format!("version {version}")), "{error}");
        }
    }
}
