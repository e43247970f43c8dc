//! The flags of wallet and chain that all programs share, in the spellings that Bittensor's users type.
//!
//! # Layout
//! - [`names`]: all spellings of a flag, and the variables that set it.
//! - [`wallet`]: wallet and hotkey, and opening them with a password from the environment or a prompt.
//! - [`subtensor`]: network, endpoints and subnet.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod names;
pub mod subtensor;
pub mod wallet;

pub use names::spelled;
pub use subtensor::SubtensorArgs;
pub use wallet::WalletArgs;

/// An environment variable's value; an empty one counts as none.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
