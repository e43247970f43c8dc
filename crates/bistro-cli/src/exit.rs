//! Exit statuses: what a program's end means to whoever starts it.
//!
//! | status | meaning | start again? |
//! |---|---|---|
//! | 0 | ended in order | as you like |
//! | 2 | a mistake in flags, files or set-up; the message says which | after mending it |
//! | 3 | `doctor` found something that fails, or `status` no program that runs well | after mending it |
//! | 4 | the chain has no place for this hotkey: not registered, or the endpoint belongs to another network | after registering |
//! | 75 | a failure that may be gone at the next start (`EX_TEMPFAIL`) | yes, at once or after a pause |
//! | 130 | ended at once, at the second Ctrl-C | as you like |

use bistro_chain::ChainError;
use bistro_core::ports::{PortError, Retry};
use bistro_node::NodeError;

/// A mistake in flags, files or set-up, or a refusal that only an operator can mend.
pub const REFUSED: u8 = 2;
/// `doctor` found something that fails, or `status` no program that runs well.
pub const UNHEALTHY: u8 = 3;
/// The chain has no place for this hotkey.
pub const NO_PLACE: u8 = 4;
/// A failure that may be gone at the next start (`EX_TEMPFAIL`).
pub const TEMPORARY: u8 = 75;
/// Ended at the second Ctrl-C.
pub const INTERRUPTED: i32 = 130;

/// Names of refusals that mean: this hotkey is not of this subnet, or this chain not the one that was named.
const OF_PLACE: [&str; 6] = [
    "NotRegistered",
    "HotKeyNotRegisteredInSubNet",
    "HotKeyNotRegisteredInNetwork",
    "AccountNotAllowedCommit",
    "UidNotFound",
    "WrongGenesis",
];

/// An end with a status of its own; what there is to say is said, or is the message.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Ended {
    /// The exit status.
    pub status: u8,
    /// What to say.
    pub message: String,
}

/// The status that `error` ends a program with.
pub fn status(error: &anyhow::Error) -> u8 {
    if let Some(ended) = error.downcast_ref::<Ended>() {
        return ended.status;
    }
    match error.downcast_ref::<NodeError>() {
        Some(NodeError::NotRegistered { .. }) => return NO_PLACE,
        Some(NodeError::Port(port)) => return of_port(port),
        Some(other) => return if other.is_temporary() { TEMPORARY } else { REFUSED },
        None => {}
    }
    let chain = error.chain().find_map(|cause| cause.downcast_ref::<ChainError>());
    let port = error.chain().find_map(|cause| cause.downcast_ref::<PortError>());
    match (chain, port) {
        (Some(error), _) => of(error.name(), error.retry()),
        (None, Some(error)) => of_port(error),
        (None, None) => REFUSED,
    }
}

/// The status of a port's failure.
pub fn of_port(error: &PortError) -> u8 {
    of(&error.name, error.retry)
}

fn of(name: &str, retry: Retry) -> u8 {
    match retry {
        _ if OF_PLACE.contains(&name) => NO_PLACE,
        Retry::Never => REFUSED,
        _ => TEMPORARY,
    }
}

#[cfg(test)]
mod tests {
    use bistro_core::ids::{Hotkey, NetUid};

    use super::*;

    #[test]
    fn each_end_has_its_status() {
        let port = |name: &str, retry| PortError { name: name.to_owned(), message: "x".into(), retry };
        let unregistered = NodeError::NotRegistered { hotkey: Hotkey([0; 32]), netuid: NetUid(1) };
        let wrong = ChainError::WrongGenesis {
            endpoint: "ws://a".into(),
            network: "test".into(),
            found: "b".into(),
            wanted: "c".into(),
        };
        let cases: [(anyhow::Error, u8); 8] = [
            (unregistered.into(), NO_PLACE),
            (NodeError::Port(port("AccountNotAllowedCommit", Retry::Never)).into(), NO_PLACE),
            (NodeError::Port(port("Unreachable", Retry::Soon)).into(), TEMPORARY),
            (NodeError::Port(port("OtherDataset", Retry::Never)).into(), REFUSED),
            (NodeError::RulesDiffer(vec![]).into(), REFUSED),
            (anyhow::Error::from(wrong).context("connecting"), NO_PLACE),
            (Ended { status: UNHEALTHY, message: "2 checks failed".into() }.into(), UNHEALTHY),
            (anyhow::anyhow!("--bucket is missing"), REFUSED),
        ];
        for (error, wanted) in cases {
            assert_eq!(status(&error), wanted, "{error:#}");
        }
    }
}
