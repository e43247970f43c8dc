//! Subtensor's own extension: what would surely fail at dispatch is refused before it takes room in a block.

use super::super::{
    drand,
    subtensor::{Call, Config, Error, Pallet},
};
use codec::{Decode, DecodeWithMemTracking, Encode};
use core::marker::PhantomData;
use frame_support::{pallet_prelude::TransactionSource, traits::IsSubType, traits::OriginTrait};
use scale_info::TypeInfo;
use sp_runtime::{
    impl_tx_ext_default,
    traits::{DispatchInfoOf, DispatchOriginOf, TransactionExtension, ValidateResult},
    transaction_validity::{InvalidTransaction, TransactionValidityError},
};

/// The number in `InvalidTransaction::Custom`, which a client sees as `Custom error: n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CustomTransactionError {
    /// The hotkey's stake is below the threshold, or an amount below the minimum.
    StakeAmountTooLow = 1,
    /// The coldkey cannot pay.
    BalanceTooLow = 2,
    /// No such subnet.
    SubnetNotExists = 3,
    /// No one owns this hotkey.
    HotkeyAccountDoesntExist = 4,
    /// Too often.
    RateLimitExceeded = 6,
    /// The hotkey is registered nowhere.
    HotKeyNotRegisteredInNetwork = 10,
    /// The axon's address is no address.
    InvalidIpAddress = 11,
    /// The axon was announced a moment ago.
    ServingRateLimitExceeded = 12,
    /// The axon's port is no port.
    InvalidPort = 13,
    /// The round that opens a commitment is past.
    InvalidRevealRound = 15,
    /// The hotkey is not in this subnet.
    UidNotFound = 19,
    /// Anything else.
    BadRequest = 255,
}

impl<T> From<Error<T>> for CustomTransactionError {
    fn from(error: Error<T>) -> Self {
        match error {
            Error::AmountTooLow | Error::NotEnoughStakeToSetWeights => Self::StakeAmountTooLow,
            Error::NotEnoughBalanceToStake => Self::BalanceTooLow,
            Error::SubnetNotExists => Self::SubnetNotExists,
            Error::HotKeyAccountNotExists => Self::HotkeyAccountDoesntExist,
            Error::TooManyRegistrationsThisInterval => Self::RateLimitExceeded,
            Error::HotKeyNotRegisteredInNetwork => Self::HotKeyNotRegisteredInNetwork,
            Error::InvalidIpAddress => Self::InvalidIpAddress,
            Error::ServingRateLimitExceeded => Self::ServingRateLimitExceeded,
            Error::InvalidPort => Self::InvalidPort,
            Error::HotKeyNotRegisteredInSubNet => Self::UidNotFound,
            _ => Self::BadRequest,
        }
    }
}

impl From<CustomTransactionError> for TransactionValidityError {
    fn from(error: CustomTransactionError) -> Self {
        InvalidTransaction::Custom(error as u8).into()
    }
}

/// Carries no bytes.
#[derive(Clone, Encode, Decode, DecodeWithMemTracking, Eq, PartialEq, TypeInfo)]
#[scale_info(skip_type_params(T))]
pub struct SubtensorTransactionExtension<T>(PhantomData<T>);

impl<T> core::fmt::Debug for SubtensorTransactionExtension<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SubtensorTransactionExtension")
    }
}

impl<T: Config> SubtensorTransactionExtension<T> {
    /// The preconditions that mainnet's runtime checks before inclusion. The rate limit of `set_weights` is not among them at this spec
    /// version: too early a call is included and fails with `SettingWeightsTooFast`.
    fn check(who: &T::AccountId, call: &Call<T>) -> Result<(), CustomTransactionError> {
        match call {
            Call::commit_timelocked_weights { netuid, reveal_round, .. }
            | Call::commit_timelocked_mechanism_weights { netuid, reveal_round, .. } => {
                Pallet::<T>::ensure_weights_min_stake(who, *netuid)?;
                if *reveal_round < drand::LastStoredRound::<T>::get() {
                    return Err(CustomTransactionError::InvalidRevealRound);
                }
                Ok(())
            }
            Call::set_weights { netuid, .. } | Call::set_mechanism_weights { netuid, .. } => {
                Ok(Pallet::<T>::ensure_weights_min_stake(who, *netuid)?)
            }
            Call::add_stake { hotkey, netuid, amount_staked } => {
                Ok(Pallet::<T>::check_add_stake(who, hotkey, *netuid, *amount_staked)?)
            }
            Call::burned_register { netuid, .. } => Ok(Pallet::<T>::check_registration_interval(*netuid)?),
            Call::serve_axon { netuid, ip, ip_type, port, .. } => {
                Ok(Pallet::<T>::check_axon(who, *netuid, *ip, *ip_type, *port)?)
            }
            _ => Ok(()),
        }
    }
}

impl<T> TransactionExtension<T::RuntimeCall> for SubtensorTransactionExtension<T>
where
    T: Config + Send + Sync,
    T::RuntimeCall: IsSubType<Call<T>>,
    DispatchOriginOf<T::RuntimeCall>: OriginTrait<AccountId = T::AccountId>,
{
    const IDENTIFIER: &'static str = "SubtensorTransactionExtension";
    type Implicit = ();
    type Val = ();
    type Pre = ();

    fn validate(
        &self,
        origin: DispatchOriginOf<T::RuntimeCall>,
        call: &T::RuntimeCall,
        _info: &DispatchInfoOf<T::RuntimeCall>,
        _len: usize,
        _implicit: (),
        _implication: &impl Encode,
        _source: TransactionSource,
    ) -> ValidateResult<(), T::RuntimeCall> {
        if let (Some(who), Some(call)) = (origin.as_signer(), call.is_sub_type()) {
            Self::check(who, call)?;
        }
        Ok((Default::default(), (), origin))
    }

    impl_tx_ext_default!(T::RuntimeCall; weight prepare);
}
