//! A local subtensor in this process: FRAME's pallets run natively, blocks are sealed on a clock, clients come over JSON-RPC.
//!
//! A client cannot tell it from a subtensor node of the same calls: metadata, SCALE, signatures, nonces, mortality, fees, events and
//! error names are the framework's own. What is missing of subtensor is listed in [`runtime`].
//!
//! # Layout
//! - [`LocalChain`], [`LocalChainConfig`]: starting, administering and stopping it
//! - [`runtime`]: the pallets
//! - [`beacon`]: the rounds that open committed weights
//! - `state`, `ledger`: versions of every storage key, and the blocks over them
//! - `pool`, `node`: transactions, and the clock that seals them
//! - [`faults`]: connections that break, answers that are lost, blocks that are taken back: on demand
//! - `rpc`: what clients may ask

pub mod beacon;
mod config;
mod error;
pub mod faults;
mod ledger;
mod local;
mod node;
mod pool;
mod rpc;
pub mod runtime;
mod state;

pub use config::{GenesisNeuron, LocalChainConfig, TAO};
pub use error::ChainError;
pub use local::LocalChain;
