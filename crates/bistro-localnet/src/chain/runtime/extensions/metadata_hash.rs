//! The extension by which a signer may bind a transaction to the metadata it was shown.

use codec::{Decode, DecodeWithMemTracking, Encode};
use core::marker::PhantomData;
use frame_support::pallet_prelude::TransactionSource;
use scale_info::TypeInfo;
use sp_runtime::{
    impl_tx_ext_default,
    traits::{DispatchInfoOf, DispatchOriginOf, TransactionExtension, ValidateResult},
    transaction_validity::{TransactionValidityError, UnknownTransaction},
};

/// Whether the metadata's hash is signed too.
#[derive(Clone, Copy, Debug, Encode, Decode, DecodeWithMemTracking, Eq, PartialEq, TypeInfo)]
pub enum Mode {
    /// No; what every client here does.
    Disabled,
    /// Yes. This runtime does not know its metadata's hash, so such a transaction is refused, as by any node built without it.
    Enabled,
}

/// Carries one byte, the mode, and signs `None`.
#[derive(Clone, Encode, Decode, DecodeWithMemTracking, Eq, PartialEq, TypeInfo)]
#[scale_info(skip_type_params(T))]
pub struct CheckMetadataHash<T> {
    _phantom: PhantomData<T>,
    /// Whether a hash was signed.
    pub mode: Mode,
}

impl<T> core::fmt::Debug for CheckMetadataHash<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "CheckMetadataHash({:?})", self.mode)
    }
}

impl<T: frame_system::Config + Send + Sync> TransactionExtension<T::RuntimeCall> for CheckMetadataHash<T> {
    const IDENTIFIER: &'static str = "CheckMetadataHash";
    type Implicit = Option<[u8; 32]>;
    type Val = ();
    type Pre = ();

    fn implicit(&self) -> Result<Self::Implicit, TransactionValidityError> {
        match self.mode {
            Mode::Disabled => Ok(None),
            Mode::Enabled => Err(UnknownTransaction::CannotLookup.into()),
        }
    }

    fn validate(
        &self,
        origin: DispatchOriginOf<T::RuntimeCall>,
        _call: &T::RuntimeCall,
        _info: &DispatchInfoOf<T::RuntimeCall>,
        _len: usize,
        _implicit: Self::Implicit,
        _implication: &impl Encode,
        _source: TransactionSource,
    ) -> ValidateResult<(), T::RuntimeCall> {
        Ok((Default::default(), (), origin))
    }

    impl_tx_ext_default!(T::RuntimeCall; weight prepare);
}
