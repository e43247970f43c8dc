//! Buckets over real HTTP: the conformance suite against the embedded server and an independent one, what strangers may and
//! may not do there, and what servers that misbehave can do to a reader.
//!
//! - `network`: the embedded server with two accounts; `seaweed`: SeaweedFS; `misbehaving`: servers that follow a script.
//! - `objects`, `access`: what a bucket is, for its owner and for strangers.
//! - `hostile`, `pieces`, `writes`: every misbehaviour ends in one named outcome, within its deadline.
//! - `pointers`, `anonymous`: what reads cost, and whom they ask.
//! - `check`: `bucket check` in buckets that are set up rightly and wrongly.
#![allow(clippy::unwrap_used)]

mod access;
mod anonymous;
mod check;
mod hostile;
mod misbehaving;
mod network;
mod objects;
mod pieces;
mod pointers;
mod seaweed;
mod writes;
