//! Model folders as `transformers` reads and writes them: `config.json` and `model.safetensors`, or several files of weights
//! with `model.safetensors.index.json`.

use bistro_core::params::Params;

use crate::config::LlamaConfig;
use crate::error::ModelError;

mod dtype;
mod read;
mod write;

pub use dtype::StoredAs;
pub use read::{config, import};
pub use write::{ExportOptions, export, export_with};

/// File of the settings.
pub const CONFIG: &str = "config.json";
/// File of the weights.
pub const WEIGHTS: &str = "model.safetensors";
/// Where each weight lies, if there are several files.
pub const INDEX: &str = "model.safetensors.index.json";
/// File of the tokenizer.
pub const TOKENIZER: &str = "tokenizer.json";

/// A model: what it is, and its weights in f32.
pub type Model = (LlamaConfig, Params);

fn wrong(file: &std::path::Path, why: &dyn std::fmt::Display) -> ModelError {
    ModelError::File { file: file.display().to_string(), why: why.to_string() }
}
