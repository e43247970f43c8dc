//! What can be wrong with a file of tensors.

use bistro_core::ids::Hash;
use bistro_core::skip::{Reason, Skip};

/// What is wrong with a file. Texts may quote a stranger's file: [`Skip::new`] bounds and cleans them.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DeltaError {
    /// Larger than any such file of this model can be.
    #[error("{size} bytes, where this model's file has at most {max}")]
    TooLarge {
        /// Length of the file, bytes.
        size: u64,
        /// Longest possible, bytes.
        max: u64,
    },
    /// Not a safetensors file, or one whose data do not fit its header.
    #[error("not a sound safetensors file: {0}")]
    Malformed(String),
    /// Names, types or shapes are not the model's.
    #[error("not this model's tensors: {0}")]
    WrongShape(String),
    /// A value is NaN or infinite.
    #[error("value {index} of tensor `{tensor}` is {value}")]
    NotFinite {
        /// Which tensor.
        tensor: String,
        /// Where in it, row-major.
        index: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// Sound, but other weights than were asked for.
    #[error("the weights' hash is {found}, where {expected} was expected: fetch the file again")]
    WrongHash {
        /// Asked for.
        expected: Hash,
        /// Found.
        found: Hash,
    },
}

impl DeltaError {
    /// The reason under which a delta with this fault is passed over.
    pub fn reason(&self) -> Reason {
        match self {
            Self::TooLarge { .. } => Reason::TooLarge,
            Self::Malformed(_) => Reason::Malformed,
            Self::WrongShape(_) => Reason::WrongShape,
            Self::NotFinite { .. } => Reason::NotFinite,
            Self::WrongHash { .. } => Reason::WrongHash,
        }
    }
}

impl From<DeltaError> for Skip {
    fn from(error: DeltaError) -> Self {
        Self::new(error.reason(), error)
    }
}
