//! Refusals with Substrate's codes, messages and data, since clients look at all three.

use crate::chain::{error::ChainError, pool::SubmitError};
use jsonrpsee::types::ErrorObjectOwned;
use sp_core::H256;
use sp_runtime::transaction_validity::InvalidTransaction;

/// A fault of the state: unknown block, failed runtime call.
const CLIENT: i32 = 4003;

/// No block, or no state of it any more.
pub(super) fn unknown_block(at: Option<H256>) -> ErrorObjectOwned {
    let message = format!("Client error: UnknownBlock: State already discarded for {:?}", at.unwrap_or_default());
    ErrorObjectOwned::owned(CLIENT, message, None::<()>)
}

/// A runtime call that failed.
pub(super) fn execution(why: &str) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(CLIENT, format!("Client error: Execution failed: {why}"), None::<()>)
}

impl From<ChainError> for ErrorObjectOwned {
    fn from(error: ChainError) -> Self {
        execution(&error.to_string())
    }
}

impl From<SubmitError> for ErrorObjectOwned {
    fn from(error: SubmitError) -> Self {
        let message = error.to_string();
        let (code, data) = match error {
            SubmitError::BadFormat(_) => (1001, None),
            SubmitError::Runtime(_) => (1002, None),
            SubmitError::Invalid(InvalidTransaction::Custom(n)) => (1010, Some(format!("Custom error: {n}"))),
            SubmitError::Invalid(why) => (1010, Some(<&'static str>::from(why).to_owned())),
            SubmitError::Unknown(why) => (1011, Some(<&'static str>::from(why).to_owned())),
            SubmitError::Banned => (1012, None),
            SubmitError::AlreadyImported(hash) => (1013, Some(format!("{hash:?}"))),
            SubmitError::TooLowPriority { .. } => {
                let data = "The transaction has too low priority to replace another transaction already in the pool.";
                (1014, Some(data.to_owned()))
            }
            SubmitError::Full => {
                let data = "The transaction couldn't enter the pool because of the limit";
                (1016, Some(data.to_owned()))
            }
        };
        ErrorObjectOwned::owned(code, message, data)
    }
}
