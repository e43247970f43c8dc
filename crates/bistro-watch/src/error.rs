//! What can go wrong.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a program cannot be watched, in words for its operator.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The address is taken, or not this machine's.
    #[error("--http {address}: {error}: give another port, or end the program that has this one")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// The system's word.
        error: std::io::Error,
    },
    /// The address can be reached from other machines.
    #[error(
        "--http {0} can be reached from other machines, and whoever reaches it sees everything: give a loopback address \
         (127.0.0.1:{port}), or say --http.public if this is what you want",
        port = .0.port()
    )]
    Public(SocketAddr),
    /// The socket in the data folder.
    #[error("{path}: {error}", path = path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// The system's word.
        error: std::io::Error,
    },
    /// Nothing answers.
    #[error("no program runs with the data folder {}", .0.display())]
    NotRunning(PathBuf),
    /// Something answers, but not as this version does.
    #[error("what runs with this data folder does not answer as this version does: {0}")]
    BadAnswer(String),
}
