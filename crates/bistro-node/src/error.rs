//! What ends a loop. A miner's fault never does: that is a [`bistro_core::skip::Skip`].

use std::path::PathBuf;

use bistro_core::ids::{Hotkey, NetUid};
use bistro_core::ports::PortError;

/// Why a program stops, in words for its operator.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Chain, bucket, pages or model failed for good.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The hotkey holds no uid.
    #[error(
        "hotkey {hotkey} is not registered on netuid {netuid}: register it \
         (`btcli subnets register --netuid {netuid} --wallet.name … --wallet.hotkey …`) and start again"
    )]
    NotRegistered {
        /// The own hotkey.
        hotkey: Hotkey,
        /// The subnet.
        netuid: NetUid,
    },
    /// The operator's rules are not those of the run.
    #[error("your rules differ from those of the run:\n{}\nUse the run's (drop `--rules`), or follow another run", .0.join("\n"))]
    RulesDiffer(Vec<String>),
    /// A published master cannot be rebuilt.
    #[error("master {seq} of {hotkey} cannot be rebuilt: {why}")]
    Lineage {
        /// Its publisher.
        hotkey: Hotkey,
        /// Its number.
        seq: u64,
        /// What does not fit.
        why: String,
    },
    /// A published log is not what was written.
    #[error("the log of {hotkey} breaks at record {seq}: {why}")]
    Log {
        /// Whose.
        hotkey: Hotkey,
        /// The record.
        seq: u64,
        /// What does not fit.
        why: String,
    },
    /// A file of the data folder.
    #[error("{path}: {why}", path = path.display())]
    State {
        /// Which.
        path: PathBuf,
        /// What is wrong, and how to mend it.
        why: String,
    },
    /// A file could not be read or written; the message names it.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl NodeError {
    /// Whether starting the program again, unchanged, may help.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Port(error) => error.retry != bistro_core::ports::Retry::Never,
            Self::Lineage { .. } | Self::Log { .. } | Self::Io(_) => true,
            Self::NotRegistered { .. } | Self::RulesDiffer(_) | Self::State { .. } => false,
        }
    }
}
