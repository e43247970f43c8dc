//! Pallet 18: the few bytes a neuron publishes about itself, here the name of its bucket.

mod data;

pub use data::{BigRawLimit, Data};
pub use pallet::*;

use codec::{Decode, DecodeWithMemTracking, Encode};
use frame_support::{BoundedVec, traits::Get};
use scale_info::TypeInfo;

/// Each commitment counts as at least this many bytes of its epoch's space.
pub const MIN_CHARGE: u64 = 100;

/// What a neuron commits: up to `MaxFields` fields.
#[derive(Encode, Decode, DecodeWithMemTracking, TypeInfo)]
#[codec(mel_bound())]
#[scale_info(skip_type_params(MaxFields))]
pub struct CommitmentInfo<MaxFields: Get<u32>> {
    /// The fields, as given.
    pub fields: BoundedVec<Data, MaxFields>,
}

impl<M: Get<u32>> Clone for CommitmentInfo<M> {
    fn clone(&self) -> Self {
        Self { fields: self.fields.clone() }
    }
}

impl<M: Get<u32>> PartialEq for CommitmentInfo<M> {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}

impl<M: Get<u32>> Eq for CommitmentInfo<M> {}

impl<M: Get<u32>> core::fmt::Debug for CommitmentInfo<M> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("CommitmentInfo").field("fields", &self.fields).finish()
    }
}

/// A commitment as it is stored.
#[derive(Encode, Decode, TypeInfo)]
#[codec(mel_bound())]
#[scale_info(skip_type_params(MaxFields))]
pub struct Registration<Balance, MaxFields: Get<u32>, BlockNumber> {
    /// Rao held; 0 on subtensor.
    pub deposit: Balance,
    /// Block of the commitment.
    pub block: BlockNumber,
    /// What was committed.
    pub info: CommitmentInfo<MaxFields>,
}

/// Bytes a neuron has committed in one epoch.
#[derive(Clone, Copy, Default, Encode, Decode, TypeInfo, PartialEq, Eq, Debug)]
pub struct UsageTracker {
    /// Index of the epoch that `used_space` counts.
    pub last_epoch: u64,
    /// Bytes charged in it.
    pub used_space: u64,
}

/// Who may commit, and which epoch it is.
pub trait Membership<AccountId> {
    /// Whether `who` is registered in subnet `netuid`.
    fn is_member(netuid: u16, who: &AccountId) -> bool;
    /// Index of the epoch of subnet `netuid` at `block`.
    fn epoch_index(netuid: u16, block: u64) -> u64;
}

#[frame_support::pallet]
pub mod pallet {
    use super::*;
    use frame_support::{dispatch::Pays, pallet_prelude::*};
    use frame_system::pallet_prelude::*;
    use sp_runtime::SaturatedConversion;

    #[pallet::pallet]
    #[pallet::without_storage_info]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: frame_system::Config<RuntimeEvent: From<Event<Self>>> {
        /// The most fields of one commitment.
        #[pallet::constant]
        type MaxFields: Get<u32> + 'static;
        /// Rao held for a commitment.
        #[pallet::constant]
        type InitialDeposit: Get<u64>;
        /// Rao held for each of its fields.
        #[pallet::constant]
        type FieldDeposit: Get<u64>;
        /// The subnets' members.
        type Membership: Membership<Self::AccountId>;
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A commitment was set.
        Commitment {
            /// Subnet.
            netuid: u16,
            /// Hotkey.
            who: T::AccountId,
        },
        /// A timelocked commitment was set.
        TimelockCommitment {
            /// Subnet.
            netuid: u16,
            /// Hotkey.
            who: T::AccountId,
            /// Drand round from which it can be read.
            reveal_round: u64,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// More fields than `MaxFields`.
        TooManyFieldsInCommitmentInfo,
        /// The signer is not a hotkey of this subnet.
        AccountNotAllowedCommit,
        /// The epoch's space is used up.
        SpaceLimitExceeded,
        /// Never here: deposits are zero.
        UnexpectedUnreserveLeftover,
    }

    #[pallet::type_value]
    pub fn DefaultMaxSpace() -> u32 {
        3100
    }

    #[pallet::storage]
    pub type CommitmentOf<T: Config> = StorageDoubleMap<
        _,
        Identity,
        u16,
        Twox64Concat,
        T::AccountId,
        Registration<u64, T::MaxFields, BlockNumberFor<T>>,
        OptionQuery,
    >;

    #[pallet::storage]
    pub type LastCommitment<T: Config> =
        StorageDoubleMap<_, Identity, u16, Twox64Concat, T::AccountId, BlockNumberFor<T>, OptionQuery>;

    #[pallet::storage]
    pub type UsedSpaceOf<T: Config> =
        StorageDoubleMap<_, Identity, u16, Twox64Concat, T::AccountId, UsageTracker, OptionQuery>;

    /// What became readable of timelocked commitments. Empty: this chain opens none, but clients of Bittensor read it.
    #[pallet::storage]
    pub type RevealedCommitments<T: Config> =
        StorageDoubleMap<_, Identity, u16, Twox64Concat, T::AccountId, Vec<(Vec<u8>, u64)>, OptionQuery>;

    #[pallet::storage]
    pub type MaxSpace<T: Config> = StorageValue<_, u32, ValueQuery, DefaultMaxSpace>;

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Replaces what the signing hotkey commits in subnet `netuid`.
        #[pallet::call_index(0)]
        #[pallet::weight((Weight::from_parts(33_480_000, 0), DispatchClass::Operational, Pays::No))]
        pub fn set_commitment(
            origin: OriginFor<T>,
            netuid: u16,
            info: Box<CommitmentInfo<T::MaxFields>>,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            ensure!(T::Membership::is_member(netuid, &who), Error::<T>::AccountNotAllowedCommit);
            ensure!(info.fields.len() as u32 <= T::MaxFields::get(), Error::<T>::TooManyFieldsInCommitmentInfo);

            let block = frame_system::Pallet::<T>::block_number();
            Self::charge_space(netuid, &who, block.saturated_into(), &info)?;
            for field in &info.fields {
                if let Data::TimelockEncrypted { reveal_round, .. } = field {
                    let (who, reveal_round) = (who.clone(), *reveal_round);
                    Self::deposit_event(Event::TimelockCommitment { netuid, who, reveal_round });
                }
            }

            CommitmentOf::<T>::insert(netuid, &who, Registration { deposit: 0, block, info: *info });
            LastCommitment::<T>::insert(netuid, &who, block);
            Self::deposit_event(Event::Commitment { netuid, who });
            Ok(())
        }
    }

    impl<T: Config> Pallet<T> {
        /// Counts the commitment against the epoch's space, or refuses it.
        fn charge_space(
            netuid: u16,
            who: &T::AccountId,
            block: u64,
            info: &CommitmentInfo<T::MaxFields>,
        ) -> DispatchResult {
            let needed: u64 = info.fields.iter().map(Data::len_for_rate_limit).sum();
            let needed = needed.max(MIN_CHARGE);
            let epoch = T::Membership::epoch_index(netuid, block);
            let mut usage = UsedSpaceOf::<T>::get(netuid, who).unwrap_or_default();
            if usage.last_epoch != epoch {
                usage = UsageTracker { last_epoch: epoch, used_space: 0 };
            }
            usage.used_space = usage.used_space.saturating_add(needed);
            ensure!(usage.used_space <= u64::from(MaxSpace::<T>::get()), Error::<T>::SpaceLimitExceeded);
            UsedSpaceOf::<T>::insert(netuid, who, usage);
            Ok(())
        }
    }
}
