//! What both programs share above the loops.
//!
//! # Layout
//! - [`args`]: the flags, in the spellings that Bittensor's users type.
//! - [`settings`]: flags, variables and files, laid over each other.
//! - [`training`]: the flags of training.
//! - [`connect`]: the real parts: wallet, chain, buckets, clock.
//! - [`doctor`]: what could keep a program from its work, found out before it begins.
//! - [`observer`]: chain and public buckets, for who only reads.
//! - [`data`]: the operator's dataset, tokenizer and cache of pages.
//! - [`watch`]: how a running program is seen; [`heartbeat`]: a line a minute; [`progress`]: bars at a terminal.
//! - [`workshop`]: what the run's rules decide: the dataset and the model.
//! - [`run_rules`]: the rules with which a validator begins a run.
//! - [`commands`]: the subcommands besides the loop.
//! - [`program`]: from `main` to the loop and back: runtime, logs, Ctrl-C.
//! - [`exit`]: what an exit status means.
//! - [`service`]: what systemd is told.
//! - [`watchdog`]: ends a process whose loop stands still.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod args;
pub mod commands;
pub mod connect;
pub mod data;
pub mod doctor;
pub mod exit;
pub mod heartbeat;
pub mod observer;
pub mod program;
pub mod progress;
pub mod run_rules;
pub mod service;
pub mod settings;
pub mod training;
pub mod watch;
pub mod watchdog;
pub mod workshop;
