//! The two loops of Bistro, through ports only: nothing here knows S3, subtensor or libtorch.
//!
//! # Layout
//! - [`validator`]: the validator's loop, held against the README's pseudo-code line by line.
//! - [`miner`]: the miner's loop.
//! - [`parts`]: the ports that a loop runs on, and how it builds what depends on the run's rules.
//! - [`leader`]: whose master everybody follows, and how it is read.
//! - [`master`]: a master, and the way from one to the next.
//! - [`pulse`]: what a loop is doing and since when, so that one that stands still is noticed.
//! - [`publish`]: how a master reaches the bucket: objects first, pointer last.
//! - `retention`: what stays in the own bucket.
//! - [`fetch`]: a miner's delta, from commitment to checked tensors; every refusal a named reason.
//! - [`gather`]: pages into one batch, whatever becomes of single ones.
//! - [`weights`]: sets the newest weights when the chain allows it, never blocking the loop.
//! - [`audit`]: a published lineage, recomputed from its objects.
//! - [`files`]: the data folder: one process at a time, files replaced whole.
//! - [`log`]: the validator's log: signed lines chained by hash, on the disk and in the bucket.
//! - [`replay`]: anybody's log, followed once more: whether verdicts, scores and weights follow.
//! - [`judgements`]: what validators say of a miner, by their published logs.
//! - [`status`]: what the program is doing, for everything that shows it.
//! - [`compute`]: long computations off the async threads, and how much of the time they take.
//! - [`error`]: what ends a loop.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod audit;
pub mod compute;
pub mod error;
pub mod fetch;
pub mod files;
pub mod gather;
pub mod judgements;
pub mod leader;
pub mod log;
pub mod master;
pub mod miner;
pub mod parts;
pub mod publish;
pub mod pulse;
pub mod replay;
mod retention;
pub mod status;
pub mod validator;
pub mod weights;

pub use error::NodeError;
pub use parts::{Build, Parts};
pub use pulse::Pulse;
