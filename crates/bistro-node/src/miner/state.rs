//! What survives a restart: the model, its base, and a small state file that names both, written last. A crash in between
//! leaves files that do not fit the state's hashes; the miner then begins at the newest master.

use std::collections::BTreeSet;

use bistro_core::ids::{Block, Hash};
use serde::{Deserialize, Serialize};

use super::Miner;
use crate::NodeError;
use crate::compute::{aside, joined};

/// The state file's name in the data folder.
pub const FILE: &str = "miner-state.json";

/// The model's file.
pub const MODEL_FILE: &str = "model.safetensors";

/// The base's file.
pub const BASE_FILE: &str = "base.safetensors";

/// Version of the state file's form.
pub const VERSION: u32 = 3;

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
    /// Numbers of the own pages likewise (see [`bistro_core::pages::schedule::page`]), as far as validators still count them.
    pub pages: BTreeSet<u64>,
    /// Numbers of the own pages whose work was merged or thrown away, likewise.
    pub done: BTreeSet<u64>,
}

impl Miner {
    /// Begins to save base, model, and the state that names both. If the last save is still under way, this one is left
    /// out: the next holds the same and more.
    pub(super) async fn checkpoint(&mut self) -> Result<(), NodeError> {
        if self.saving.as_ref().is_some_and(|saving| !saving.is_finished()) {
            return Ok(());
        }
        self.settle().await?;
        let (data, model, mut state) = (self.data.clone(), self.learner.params()?, self.state.clone());
        let base = (!self.base_saved).then(|| self.base.params.clone());
        self.base_saved = true;
        self.saving = Some(aside(move || {
            if let Some(base) = base {
                data.replace(BASE_FILE, &bistro_delta::write_master(&base))?;
            }
            data.replace(MODEL_FILE, &bistro_delta::write_master(&model))?;
            state.model = model.hash();
            data.save(FILE, &state)
        }));
        Ok(())
    }

    /// Waits for the save that is under way. One that the disk did not take is told, and tried again with the next: what the
    /// file holds is only needed by a restart, and validators have what was uploaded.
    pub(super) async fn settle(&mut self) -> Result<(), NodeError> {
        match self.saved().await {
            Err(NodeError::Io(error)) => {
                self.base_saved = false;
                tracing::warn!(%error, data_dir = %self.parts.data_dir.display(),
                    "the work could not be saved: training and uploads go on, and a restart would begin at the last save. \
                     Make room on that disk");
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Waits for the save that is under way.
    pub(super) async fn saved(&mut self) -> Result<(), NodeError> {
        match self.saving.take() {
            Some(saving) => {
                self.parts.pulse.beat("saving the model");
                joined(saving).await
            }
            None => Ok(()),
        }
    }
}
