//! The transaction extensions that FRAME does not have, or has otherwise.
//!
//! - [`CheckNonce`]: like FRAME's, but an account without balance may send what costs nothing
//! - [`SubtensorTransactionExtension`]: refuses before inclusion what would surely fail
//! - [`CheckMetadataHash`]: its bytes, with the check itself left off

mod metadata_hash;
mod nonce;
mod subtensor;

pub use metadata_hash::CheckMetadataHash;
pub use nonce::CheckNonce;
pub use subtensor::{CustomTransactionError, SubtensorTransactionExtension};
