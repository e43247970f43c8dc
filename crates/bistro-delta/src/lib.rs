//! Deltas and masters as safetensors files: exact writing, and reading of files that strangers wrote.
//!
//! Pure functions from bytes to [`bistro_core::params::Params`] and back, without files or clocks, on all cores. A file is
//! judged in a fixed order, each step before anything that rests on it, and nothing is allocated beyond the size of the
//! model: whatever a stranger uploads ends in a named [`bistro_core::skip::Skip`], never in a panic.
//!
//! # Layout
//! - [`delta`]: a miner's delta with its metadata, the order of the checks, and how large an object may be.
//! - [`master`]: a validator's master, which `transformers` opens as it is.
//! - [`packed`]: a delta as it came, added to a master without its values ever standing in memory.
//! - [`codec`]: named tensors to bytes and back, in each encoding.
//! - `tensor`: one tensor of a file, read by all cores.
//! - `blocks`: exact floats, bfloat16, absmax integers, the largest values of a block.
//! - `coded`: low rank and an adaptive range coder, for deltas far below a bit a parameter.
//! - [`header`]: the JSON header of a safetensors file, read strictly.
//! - [`bf16`]: rounding to bfloat16.
//! - [`norm`]: the bound on a delta's size against the master's.
//! - [`error`]: what can be wrong with a file.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bf16;
mod blocks;
pub mod codec;
mod coded;
pub mod delta;
pub mod error;
pub mod header;
pub mod master;
pub mod norm;
pub mod packed;
mod tensor;

pub use codec::{read, write};
pub use delta::{DeltaMeta, decode_delta, encode_delta, encode_with_values, max_object_size};
pub use error::DeltaError;
pub use master::{max_master_size, read_master, write_master};
pub use norm::check_norm;
pub use packed::Packed;
