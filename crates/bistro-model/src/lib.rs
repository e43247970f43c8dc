//! The Llama that a network trains: the same tensors, names and `config.json` as Hugging Face's `LlamaForCausalLM`,
//! computed by libtorch. The only crate of the workspace that links it.
//!
//! # Layout
//! - [`config`]: `config.json` read, bounded and checked; the presets; the list of tensors
//! - [`llama`]: the whole forward pass, in reading order; [`rope`]: its rotary positions
//! - [`loss`]: cross-entropy fused with the output head, never holding all logits
//! - [`gradients`]: a micro-batch's way forward and back
//! - [`optimizer`]: AdamW and Adafactor; [`schedule`]: the learning rate
//! - [`learner`]: all of it behind `bistro_core`'s `Learner` port; [`options`]: how it trains and computes
//! - [`trial`]: master + scale · delta on the device with the least traffic
//! - [`memory`]: the plan that chooses the micro-batch
//! - [`init`]: a new model from a seed, the same bits on every machine
//! - [`device`]: `cpu`, `cuda`, `cuda:N`
//! - [`hf`]: model folders that `transformers` loads
//! - [`sample`]: tokens that follow a prompt
//! - [`kernels`]: the C++ beside this crate, in `csrc`
//! - [`mkl`]: makes MKL use the fast path on AMD; [`heap`]: keeps freed memory from piling up in threads
//! - [`error`]: what can go wrong
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
pub mod device;
pub mod error;
pub mod gradients;
pub mod heap;
pub mod hf;
pub mod init;
pub mod kernels;
pub mod learner;
pub mod llama;
pub mod loss;
pub mod memory;
pub mod mkl;
pub mod optimizer;
pub mod options;
pub mod rope;
pub mod sample;
pub mod schedule;
pub mod trial;

pub use config::LlamaConfig;
pub use error::ModelError;
pub use learner::LlamaLearner;
pub use options::TrainOptions;

/// libtorch's own types, for those who call [`llama`] or [`loss`] directly.
pub use tch;
