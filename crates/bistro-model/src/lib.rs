//! The Llama that a network trains: the same tensors, names and `config.json` as Hugging Face's `LlamaForCausalLM`,
//! computed by libtorch. The only crate of the workspace that links it.
//!
//! # Layout
//! - [`config`]: `config.json` read, bounded and checked; the presets; the list of tensors
//! - [`llama`]: the whole forward pass, in reading order
//! - [`loss`]: cross-entropy fused with the output head, never holding all logits
//! - [`adamw`]: the optimizer
//! - [`learner`]: all of it behind `bistro_core`'s `Learner` port
//! - [`init`]: a new model from a seed, the same bits on every machine
//! - [`device`]: `cpu`, `cuda`, `cuda:N`
//! - [`hf`]: model folders that `transformers` loads
//! - [`mkl`]: makes MKL use the fast path on AMD
//! - [`error`]: what can go wrong
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod adamw;
pub mod config;
pub mod device;
pub mod error;
pub mod hf;
pub mod init;
pub mod learner;
pub mod llama;
pub mod loss;
pub mod mkl;

pub use config::LlamaConfig;
pub use error::ModelError;
pub use learner::{LlamaLearner, TrainOptions};

/// libtorch's own types, for those who call [`llama`] or [`loss`] directly.
pub use tch;
