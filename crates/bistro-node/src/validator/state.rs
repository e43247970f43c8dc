//! What survives a restart: one small file, replaced whole after every turn.

use std::collections::BTreeMap;

use bistro_core::ids::{Hash, Hotkey};
use bistro_core::mechanism::{Acceptance, Scores};
use bistro_core::skip::{Reason, Skip};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::fetch::Memory;
use crate::master::Master;

/// The file's name in the data folder.
pub const FILE: &str = "validator-state.json";

/// Version of its form.
pub const VERSION: u32 = 3;

/// Scores, threshold, and what is remembered of deltas. The master itself lies in the bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// [`VERSION`].
    pub version: u32,
    /// Digest of the rules under which all of this was measured.
    pub rules: Hash,
    /// What each hotkey is paid by.
    pub scores: Scores,
    /// The threshold of the README's rule.
    pub acceptance: Acceptance,
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
            scores: Scores::default(),
            acceptance: Acceptance::new(),
            master_seq: master.seq,
            master: master.hash,
            memory: Memory::new(secret),
            told: BTreeMap::new(),
        }
    }

    /// Forgets hotkeys that `keep` does not name: those that left the subnet.
    pub fn retain(&mut self, keep: impl Fn(&Hotkey) -> bool) {
        self.scores.retain(&keep);
        self.memory.retain(&keep);
        self.told.retain(|hotkey, _| keep(hotkey));
    }

    /// Takes note of a skip; whether it is news: another reason, or another object, than the last of this hotkey.
    pub fn told(&mut self, hotkey: &Hotkey, skip: &Skip, object: Option<Hash>) -> bool {
        let last = (skip.reason, object);
        self.told.insert(*hotkey, last) != Some(last)
    }
}
