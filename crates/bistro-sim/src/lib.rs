//! A whole network in one process: the real loops and mechanism on a simulated chain, buckets in memory and a toy language,
//! in virtual time. One seed decides everything that is drawn, the faults too, so a run that breaks a promise can be run
//! again.
//!
//! # Layout
//! - [`scenario`]: who takes part, for how long, under which rules and faults.
//! - [`mod@run`]: a scenario and a seed, from the first block to what came of it.
//! - [`batch`]: many of them on all cores.
//! - [`course`]: how one went, for plots.
//! - [`attackers`]: what each kind of attacker earns against honest miners.
//! - [`plot`], [`report`]: what came of it, for people.
//! - [`promises`]: whether what must always hold did.
//! - [`chain`]: the simulated chain: neurons, commitments, weights, and what they earn.
//! - [`faults`]: what goes wrong between a program and the world.
//! - [`kinds`]: miners of each kind, honest and not, and a validator that is not.
//! - [`scaling`]: how much faster a network trains than one trainer alone.
//! - [`subject`]: what is trained: a model, and text for it.
//! - [`toy`]: a small language and a small model with real gradients.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod attackers;
pub mod batch;
pub mod chain;
pub mod course;
pub mod faults;
pub mod kinds;
pub mod plot;
pub mod promises;
pub mod report;
pub mod run;
pub mod scaling;
pub mod scenario;
pub mod subject;
pub mod toy;

pub use run::{Outcome, run};
pub use scenario::Scenario;
