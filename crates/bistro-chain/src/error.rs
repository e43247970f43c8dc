//! What can fail between us and the chain: one enum, with the chain's own names, what to do, and whether to try again.

use std::time::Duration;

use bistro_core::ids::{Block, Hotkey, NetUid};
use bistro_core::ports::{PortError, Retry};
use subxt::error::{BackendError, DispatchError, RpcError};

mod advice;
mod pool;
mod refusal;

pub use refusal::Refusal;

/// A failure of the chain or of the way to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A network name that is not known.
    #[error("there is no network `{name}`: use one of {known}, or the address of a node (ws://…, wss://…)")]
    UnknownNetwork {
        /// What was asked for.
        name: String,
        /// The known names.
        known: String,
    },
    /// No node of the network could be reached.
    #[error("cannot connect to {endpoint}: {why}; check the address, and that the node runs and accepts WebSockets")]
    Unreachable {
        /// The last address that was tried.
        endpoint: String,
        /// What the connection said.
        why: String,
    },
    /// The node belongs to another chain.
    #[error("{endpoint} is not a node of {network}: its chain begins with {found}, wanted {wanted}")]
    WrongGenesis {
        /// The address.
        endpoint: String,
        /// The network asked for.
        network: String,
        /// The genesis hash found, and its network's name if it is a known one.
        found: String,
        /// The genesis hash of the network.
        wanted: String,
    },
    /// A call took longer than its deadline.
    #[error("{what} took longer than {} s; the node is slow or gone", after.as_secs_f32())]
    Timeout {
        /// What was done.
        what: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// The connection or the node failed while reading.
    #[error("{what} failed: {why}")]
    Connection {
        /// What was done.
        what: &'static str,
        /// What the connection or the node said.
        why: String,
    },
    /// The chain answered something that this program does not understand, or that contradicts itself.
    #[error("{what}: the chain's answer makes no sense: {why}; a runtime this program does not know?")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// No block came in time.
    #[error("no block after {after} within {} s; the node is syncing, or the chain stands still", waited.as_secs_f32())]
    NoNewBlock {
        /// The newest block known.
        after: Block,
        /// How long was waited.
        waited: Duration,
    },
    /// The subnet does not exist.
    #[error("subnet {0} does not exist on this chain; check --netuid and --subtensor.network")]
    NoSubnet(NetUid),
    /// A write without a key.
    #[error("{call} needs a hotkey, and this connection has none: open a wallet first")]
    NoKey {
        /// The call.
        call: &'static str,
    },
    /// An argument that no chain takes.
    #[error("{call} was not sent: {why}")]
    Unsendable {
        /// The call.
        call: &'static str,
        /// What is wrong with the argument.
        why: String,
    },
    /// The subnet takes weights by commit-reveal only, and reveals none.
    #[error(
        "subnet {0} takes weights by commit-reveal, but its tempo and reveal period lead to no reveal: ask its owner"
    )]
    NoReveal(NetUid),
    /// The key holds no slot of the subnet.
    #[error("{hotkey} is not registered on subnet {netuid}: {}", refusal::NOT_REGISTERED)]
    NotRegistered {
        /// The key.
        hotkey: Hotkey,
        /// The subnet.
        netuid: NetUid,
    },
    /// The chain refused a call, before or in a block.
    #[error("the chain refused {call}: {refusal}")]
    Refused {
        /// The call.
        call: &'static str,
        /// By which name, and what to do about it.
        refusal: Refusal,
    },
    /// The block with a call in it was replaced by another without it.
    #[error(
        "{call} was in a block that a reorganisation of the chain took back, and it is in no other yet; it was not sent again"
    )]
    TakenBack {
        /// The call.
        call: &'static str,
    },
    /// A call was sent, and neither success nor failure is known. It was not sent again.
    #[error("{call} was sent but not acknowledged ({why}); the chain does not show it yet, and it was not sent again")]
    Unacknowledged {
        /// The call.
        call: &'static str,
        /// How the acknowledgement was lost.
        why: String,
    },
}

impl ChainError {
    /// The chain's own name of the refusal where there is one, otherwise this program's.
    pub fn name(&self) -> &str {
        match self {
            Self::Refused { refusal, .. } => &refusal.name,
            Self::UnknownNetwork { .. } => "UnknownNetwork",
            Self::Unreachable { .. } => "Unreachable",
            Self::WrongGenesis { .. } => "WrongGenesis",
            Self::Timeout { .. } => "Timeout",
            Self::Connection { .. } => "Connection",
            Self::Malformed { .. } => "Malformed",
            Self::NoNewBlock { .. } => "NoNewBlock",
            Self::NoSubnet(_) => "SubnetNotExists",
            Self::NoKey { .. } => "NoKey",
            Self::Unsendable { .. } => "Unsendable",
            Self::NoReveal(_) => "NoReveal",
            Self::NotRegistered { .. } => "HotKeyNotRegisteredInSubNet",
            Self::TakenBack { .. } => "TakenBack",
            Self::Unacknowledged { .. } => "Unacknowledged",
        }
    }

    /// Whether to try again. An operator has to act on `Never`.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Refused { refusal, .. } => refusal.retry,
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Connection { .. }
            | Self::NoNewBlock { .. }
            | Self::TakenBack { .. }
            | Self::Unacknowledged { .. } => Retry::Soon,
            Self::UnknownNetwork { .. }
            | Self::WrongGenesis { .. }
            | Self::Malformed { .. }
            | Self::NoSubnet(_)
            | Self::NoKey { .. }
            | Self::Unsendable { .. }
            | Self::NoReveal(_)
            | Self::NotRegistered { .. } => Retry::Never,
        }
    }

    /// A read that failed inside subxt: the connection's fault unless the metadata lacks a name or bytes do not decode.
    pub(crate) fn from_read(what: &'static str, error: impl Into<subxt::Error>) -> Self {
        let error = error.into();
        let why = describe(&error);
        if speaks_of_metadata(&error) { Self::Malformed { what, why } } else { Self::Connection { what, why } }
    }

    /// A dispatch error of `call`, named through the metadata of its block.
    pub(crate) fn from_dispatch(call: &'static str, error: &DispatchError) -> Self {
        let name = match error {
            DispatchError::Module(module) => match module.details() {
                Ok(details) => details.variant.name.clone(),
                Err(_) => format!("Module{}Error{}", module.pallet_index(), module.error_index()),
            },
            DispatchError::Token(token) => format!("{token:?}"),
            DispatchError::Arithmetic(arithmetic) => format!("{arithmetic:?}"),
            DispatchError::Transactional(transactional) => format!("{transactional:?}"),
            plain => format!("{plain:?}"),
        };
        Self::Refused { call, refusal: Refusal::named(name) }
    }

    /// A submission that the node answered with an error: a refusal of the pool where it is one. Anything else leaves open
    /// whether the node has the transaction.
    pub(crate) fn from_submission(call: &'static str, error: &BackendError) -> Self {
        if let BackendError::Rpc(RpcError::ClientError(subxt_rpcs::Error::User(user))) = error {
            let data = user.data.as_ref().map(|data| data.get());
            let refusal = pool::refusal(call, user.code, &user.message, data);
            // A transaction that the node has already is not refused: it waits for its block.
            if pool::is_refusal(user.code) && refusal.name != pool::ALREADY_IMPORTED {
                return Self::Refused { call, refusal };
            }
        }
        Self::Unacknowledged { call, why: error.to_string() }
    }
}

impl From<ChainError> for PortError {
    fn from(error: ChainError) -> Self {
        Self { name: error.name().to_owned(), message: error.to_string(), retry: error.retry() }
    }
}

/// subxt's message, with the node's own data where it has some (subxt leaves that out).
fn describe(error: &subxt::Error) -> String {
    use subxt::error::{AccountNonceError, ExtrinsicError, RuntimeApiError, StorageError};
    let backend = match error {
        subxt::Error::RuntimeApiError(RuntimeApiError::CannotCallApi(backend))
        | subxt::Error::StorageError(StorageError::CannotFetchValue(backend))
        | subxt::Error::ExtrinsicError(ExtrinsicError::AccountNonceError {
            reason: AccountNonceError::CouldNotRetrieve(backend),
            ..
        }) => Some(backend),
        _ => None,
    };
    match backend {
        Some(BackendError::Rpc(RpcError::ClientError(subxt_rpcs::Error::User(user)))) => {
            let data = user.data.as_ref().map_or("", |data| data.get());
            format!("{user} {data}").trim_end().to_owned()
        }
        Some(backend) => backend.to_string(),
        None => error.to_string(),
    }
}

/// Whether the fault lies in what the runtime offers, not in the way to it: trying again does not help.
fn speaks_of_metadata(error: &subxt::Error) -> bool {
    use subxt::error::{OnlineClientAtBlockError as AtBlock, RuntimeApiError, StorageError};
    match error {
        subxt::Error::RuntimeApiError(e) => !matches!(e, RuntimeApiError::CannotCallApi(_)),
        subxt::Error::StorageError(e) => {
            !matches!(e, StorageError::CannotFetchValue(_) | StorageError::StreamFailure(_))
        }
        subxt::Error::OnlineClientAtBlockError(e) => matches!(
            e,
            AtBlock::CannotDecodeSpecVersion { .. }
                | AtBlock::UnsupportedMetadataVersion { .. }
                | AtBlock::MissingLegacyTypes
                | AtBlock::CannotConvertModernMetadata { .. }
        ),
        subxt::Error::StorageValueError(_)
        | subxt::Error::ConstantError(_)
        | subxt::Error::DispatchErrorDecodeError(_)
        | subxt::Error::OtherCodecError(_) => true,
        subxt::Error::ExtrinsicError(e) => {
            use subxt::error::ExtrinsicError as X;
            matches!(
                e,
                X::EncodeError(_)
                    | X::PalletNameNotFound(_)
                    | X::CallNameNotFound { .. }
                    | X::UnsupportedVersion
                    | X::Params(_)
            )
        }
        _ => false,
    }
}
