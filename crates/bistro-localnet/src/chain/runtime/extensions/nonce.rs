//! Replay protection by account nonce, in subtensor's version.

use codec::{Decode, DecodeWithMemTracking, Encode};
use frame_support::{
    dispatch::{DispatchInfo, Pays},
    pallet_prelude::{TransactionSource, Weight},
};
use frame_system::Config;
use scale_info::TypeInfo;
use sp_runtime::{
    traits::{
        AsSystemOriginSigner, DispatchInfoOf, DispatchOriginOf, Dispatchable, One, TransactionExtension,
        ValidateResult, Zero,
    },
    transaction_validity::{InvalidTransaction, TransactionLongevity, TransactionValidityError, ValidTransaction},
};

/// The signer's nonce. FRAME's extension of this name refuses every account that nothing provides for; subtensor's refuses it only when
/// the call costs a fee, so that a hotkey without any balance can set weights and commit.
#[derive(Encode, Decode, DecodeWithMemTracking, Clone, Eq, PartialEq, TypeInfo)]
#[scale_info(skip_type_params(T))]
pub struct CheckNonce<T: Config>(#[codec(compact)] pub T::Nonce);

impl<T: Config> core::fmt::Debug for CheckNonce<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "CheckNonce({:?})", self.0)
    }
}

impl<T: Config> TransactionExtension<T::RuntimeCall> for CheckNonce<T>
where
    T::RuntimeCall: Dispatchable<Info = DispatchInfo>,
    DispatchOriginOf<T::RuntimeCall>: AsSystemOriginSigner<T::AccountId> + Clone,
{
    const IDENTIFIER: &'static str = "CheckNonce";
    type Implicit = ();
    /// The signer, where there is one.
    type Val = Option<T::AccountId>;
    type Pre = ();

    fn weight(&self, _: &T::RuntimeCall) -> Weight {
        Weight::zero()
    }

    fn validate(
        &self,
        origin: DispatchOriginOf<T::RuntimeCall>,
        _call: &T::RuntimeCall,
        info: &DispatchInfoOf<T::RuntimeCall>,
        _len: usize,
        _implicit: (),
        _implication: &impl Encode,
        _source: TransactionSource,
    ) -> ValidateResult<Self::Val, T::RuntimeCall> {
        let Some(who) = origin.as_system_origin_signer().cloned() else {
            return Ok((ValidTransaction::default(), None, origin));
        };
        let account = frame_system::Account::<T>::get(&who);
        let provided = !account.providers.is_zero() || !account.sufficients.is_zero();
        if info.pays_fee == Pays::Yes && !provided {
            return Err(InvalidTransaction::Payment.into());
        }
        if self.0 < account.nonce {
            return Err(InvalidTransaction::Stale.into());
        }
        let requires = if account.nonce < self.0 { vec![(&who, self.0 - One::one()).encode()] } else { vec![] };
        let validity = ValidTransaction {
            priority: 0,
            requires,
            provides: vec![(&who, self.0).encode()],
            longevity: TransactionLongevity::MAX,
            propagate: true,
        };
        Ok((validity, Some(who), origin))
    }

    fn prepare(
        self,
        who: Self::Val,
        _origin: &DispatchOriginOf<T::RuntimeCall>,
        _call: &T::RuntimeCall,
        _info: &DispatchInfoOf<T::RuntimeCall>,
        _len: usize,
    ) -> Result<(), TransactionValidityError> {
        let Some(who) = who else { return Ok(()) };
        frame_system::Account::<T>::try_mutate(&who, |account| {
            // `validate` has refused the smaller ones.
            if self.0 > account.nonce {
                return Err(InvalidTransaction::Future.into());
            }
            account.nonce += One::one();
            Ok(())
        })
    }
}
