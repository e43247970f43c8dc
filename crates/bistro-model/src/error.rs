//! What can go wrong with a model.

use bistro_core::ports::{PortError, Retry};

/// A failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A `config.json` that is not one of a Llama we can run.
    #[error("model configuration: {0}")]
    Config(String),
    /// A device that cannot be used.
    #[error("device `{device}`: {why}")]
    Device {
        /// As it was asked for.
        device: String,
        /// What is missing and how to mend it.
        why: String,
    },
    /// Weights that do not fit the model.
    #[error("weights: {0}")]
    Weights(String),
    /// A batch that the model cannot take.
    #[error("batch: {0}")]
    Batch(String),
    /// A loss or gradient that is not finite; the weights are as they were before the step.
    #[error("the step's {what} is {value}: the weights are left as they were; a lower learning rate may help")]
    NonFinite {
        /// `loss` or `gradient norm`.
        what: &'static str,
        /// NaN or an infinity.
        value: f64,
    },
    /// Memory that is not there, and what to change.
    #[error("memory: {0}")]
    Memory(String),
    /// A model folder that cannot be read or written.
    #[error("model folder: {0}")]
    Io(#[from] std::io::Error),
    /// A safetensors file that is not a model's.
    #[error("{file}: {why}")]
    File {
        /// Which file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// libtorch refused an operation, for example for lack of memory.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl ModelError {
    /// Whether libtorch found no memory, on the host or on a device.
    pub fn is_out_of_memory(&self) -> bool {
        let Self::Torch(error) = self else { return false };
        let text = error.to_string();
        ["out of memory", "not enough memory", "can't allocate memory"].iter().any(|words| text.contains(words))
    }
}

impl From<ModelError> for PortError {
    fn from(error: ModelError) -> Self {
        let (name, retry) = match &error {
            ModelError::NonFinite { .. } => ("NonFinite", Retry::Soon), // another batch may do
            ModelError::Torch(_) if error.is_out_of_memory() => ("OutOfMemory", Retry::Never),
            ModelError::Memory(_) => ("OutOfMemory", Retry::Never),
            ModelError::Torch(_) => ("Torch", Retry::Never),
            ModelError::Device { .. } => ("Device", Retry::Never),
            ModelError::Batch(_) => ("Batch", Retry::Never),
            _ => ("Model", Retry::Never),
        };
        Self { name: name.into(), message: error.to_string(), retry }
    }
}
