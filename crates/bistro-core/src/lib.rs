//! The pure part of Bistro: it reads no file, no clock, no network and draws no randomness of its own, so it cannot fail
//! for reasons outside its arguments.
//!
//! # Layout
//! - [`ids`]: block, uid, netuid, hotkey, content hash: one type each, none interchangeable.
//! - [`params`]: named f32 tensors: a model's weights, or the difference of two.
//! - [`tokens`]: packed token sequences, the unit that a model trains and is judged on.
//! - [`mechanism`]: moving averages, scores, weights, acceptance, selection: who is paid, and which delta is kept.
//! - [`pages`]: which pages of the dataset belong to a miner at a block.
//! - [`rules`]: everything that miners and validators must agree on, in one document with a digest.
//! - [`protocol`]: what lies in the buckets: object names, signed manifests, the lineage of masters.
//! - [`skip`]: why a miner's delta was passed over. A miner's fault is a value, never an error.
//! - [`events`]: what a validator saw and decided, one record a fact.
//! - [`ledger`]: what those records make of scores, threshold and weights: for the validator itself and for whoever replays.
//! - [`logline`]: the lines of its log: chained by hash, signed.
//! - [`ports`]: the traits through which the loops reach chain, buckets, pages, model and clock.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod events;
pub mod ids;
pub mod ledger;
pub mod logline;
pub mod mechanism;
pub mod pages;
pub mod params;
pub mod ports;
pub mod protocol;
pub mod rules;
pub mod skip;
pub mod tokens;
