//! Deltas and masters as safetensors files: exact writing, and reading of files that strangers wrote.
//!
//! Pure functions from bytes to [`bistro_core::params::Params`] and back, without files, clocks or threads. A file is
//! judged in a fixed order, each step before anything that rests on it, and nothing is allocated beyond the size of the
//! model: whatever a stranger uploads ends in a named [`bistro_core::skip::Skip`], never in a panic.
//!
//! # Layout
//! - [`delta`]: a miner's delta with its metadata, the order of the checks, and how large an object may be.
//! - [`master`]: a validator's master, which `transformers` opens as it is.
//! - [`codec`]: named tensors to bytes and back, in each encoding.
//! - [`header`]: the JSON header of a safetensors file, read strictly.
//! - [`bf16`]: rounding to bfloat16.
//! - [`norm`]: the bound on a delta's size against the master's.
//! - [`error`]: what can be wrong with a file.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bf16;
pub mod codec;
pub mod delta;
pub mod error;
pub mod header;
pub mod master;
pub mod norm;

pub use codec::{read, write};
pub use delta::{DeltaMeta, decode_delta, encode_delta, max_object_size};
pub use error::DeltaError;
pub use master::{max_master_size, read_master, write_master};
pub use norm::check_norm;
