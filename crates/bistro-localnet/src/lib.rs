//! The embedded default: a local subtensor chain and a local S3 in one process, for the demo, tests and CI.
//!
//! # Layout
//! - [`chain`]: a subtensor node: real FRAME pallets run natively, behind JSON-RPC.
//! - [`s3`]: an S3 server with one account a bucket and public reads.
//! - [`network`]: both, with wallets, registered and staked neurons, and buckets.
//! - [`poison`]: a miner that uploads poison.
//! - [`smoke`]: whether any node serves Bistro: reads, writes and refusals of one hotkey.
//! - [`simulate`]: whole networks in virtual time, seed by seed.
//! - [`demo`]: a whole network of separate processes, and the proof that it trained.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod chain;
pub mod demo;
pub mod network;
pub mod poison;
pub mod s3;
pub mod simulate;
pub mod smoke;
