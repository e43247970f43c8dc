//! What survives a restart: the model, its base, and a small state file that names both, written last. A crash in between
//! leaves files that do not fit the state's hashes; the miner then begins at the newest master.

use bistro_core::ids::{Block, Hash};
use serde::{Deserialize, Serialize};

use super::Miner;
use crate::NodeError;
use crate::compute::compute;

/// The state file's name in the data folder.
pub const FILE: &str = "miner-state.json";

/// The model's file.
pub const MODEL_FILE: &str = "model.safetensors";

/// The base's file.
pub const BASE_FILE: &str = "base.safetensors";

/// Version of the state file's form.
pub const VERSION: u32 = 1;

/// The small file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// [`VERSION`].
    pub version: u32,
    /// Digest of the run's rules.
    pub rules: Hash,
    /// The newest block seen.
    pub head: Block,
    /// The master that the model was trained from.
    pub base_seq: u64,
    /// Its hash.
    pub base: Hash,
    /// Hash of the model.
    pub model: Hash,
    /// Optimizer steps since the model was last a master, or since the own last merge.
    pub steps: u64,
    /// Tokens likewise.
    pub tokens: u64,
    /// Names of the uploaded deltas, oldest first.
    pub uploaded: Vec<String>,
}

impl Miner {
    /// Saves the base, which changes only at a new master.
    pub(super) fn save_base(&mut self) -> Result<(), NodeError> {
        (self.state.base_seq, self.state.base) = (self.base.seq, self.base.hash);
        compute(|| self.data.replace(BASE_FILE, &bistro_delta::write_master(&self.base.params)))
    }

    /// Saves the model, then the state that names it.
    pub(super) fn checkpoint(&mut self) -> Result<(), NodeError> {
        let params = self.learner.params()?;
        self.state.model = compute(|| {
            self.data.replace(MODEL_FILE, &bistro_delta::write_master(&params))?;
            Ok::<_, NodeError>(params.hash())
        })?;
        self.data.save(FILE, &self.state)
    }
}
