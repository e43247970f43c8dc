//! What can go wrong with the chain as a whole; refusals of transactions are `SubmitError`.

use std::{io, net::SocketAddr};

/// A fault of the local chain.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The address could not be listened on.
    #[error("the local chain cannot listen on {addr}: {source}; choose another port, or 0 for any")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The RPC methods could not be set up.
    #[error("the local chain's RPC could not be set up: {0}")]
    Rpc(#[from] jsonrpsee::core::RegisterMethodError),
    /// The runtime panicked; the state is as before.
    #[error("the local chain's runtime panicked: {0}")]
    Panicked(String),
    /// The pallet refused, by the name of its error.
    #[error("the local chain refused it: {0}")]
    Refused(String),
    /// A reorganisation would take back final blocks, or none.
    #[error("{depth} blocks cannot be replaced: the newest {most} are not final yet (--finality-lag)")]
    Depth {
        /// Blocks to be replaced.
        depth: u32,
        /// Blocks that are not final.
        most: usize,
    },
    /// The sealing thread was stopped in the middle.
    #[error("the local chain has stopped")]
    Stopped,
}
