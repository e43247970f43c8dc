//! The subtensor chain, as Bistro's miners and validators meet it.
//!
//! [`SubtensorChain`] implements [`bistro_core::ports::Chain`] through subxt's dynamic API: names are looked up in the
//! metadata of the very block that is read, so a runtime upgrade needs neither a rebuild nor a restart. Everything the
//! chain answers is bounded and checked; every call has a deadline; a write whose acknowledgement is lost is looked up
//! on the chain, never sent again.
//!
//! # Layout
//! - [`network`]: names of networks, their endpoints and genesis hashes
//! - [`wallet`]: Bittensor's wallet folder: opening and creating keys
//! - [`identity`]: the own key: signatures for manifests and for transactions
//! - [`timelock`]: encryption until a round of drand, and the round of a subnet's reveal
//! - [`client`]: the connection and the port's methods
//! - [`error`]: what can fail, by the chain's own name, and whether to try again
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod client;
pub mod error;
pub mod identity;
pub mod network;
pub mod timelock;
pub mod wallet;

pub use client::{Deadlines, SubtensorChain};
pub use error::ChainError;
pub use identity::Keypair;
pub use network::Network;
pub use wallet::{KeySource, Wallet, WalletError};
