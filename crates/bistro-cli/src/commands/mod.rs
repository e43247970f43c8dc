//! The subcommands: what an operator does besides running the loop. Each file has its flags and its one entry, `run`.
//!
//! What a command answers goes to standard output, what it reports on the way to standard error. Its exit status is 0, or
//! that of [`crate::program`] when it fails.

pub mod bucket;
pub mod config;
pub mod dataset;
pub mod doctor;
pub mod manual;
pub mod model;
pub mod pages;
pub mod replay;
pub mod status;
