//! Pallet 7: subnets, their neurons, stake and weights.
//!
//! # Layout
//! - this file: storage, events, errors and calls, by subtensor's names
//! - `weights`: `set_weights` and its checks, in subtensor's order
//! - `neurons`: registration, stake, axons
//! - `timelock`: committed weights and their reveal
//! - `epoch`: what happens every tempo
//! - [`metagraph`]: a subnet in one answer

mod epoch;
pub mod metagraph;
mod neurons;
mod timelock;
mod weights;

pub use pallet::*;
pub use timelock::{Ciphertext, Commit, MAX_COMMIT_BYTES};

use crate::chain::runtime::drand;
use codec::{Decode, DecodeWithMemTracking, Encode};
use scale_info::TypeInfo;

/// The root subnet, on which weights are not set.
pub const ROOT_NETUID: u16 = 0;
/// Blocks without weights after which a neuron counts as inactive.
pub const ACTIVITY_CUTOFF: u16 = 5000;

/// Where a neuron says it can be reached.
#[derive(Clone, Default, Encode, Decode, DecodeWithMemTracking, TypeInfo, PartialEq, Eq, Debug)]
pub struct AxonInfo {
    /// Block of the announcement.
    pub block: u64,
    /// Version of the neuron's software.
    pub version: u32,
    /// Address, IPv4 in the low 32 bits.
    pub ip: u128,
    /// Port.
    pub port: u16,
    /// 4 or 6.
    pub ip_type: u8,
    /// Protocol of the axon.
    pub protocol: u8,
    /// Unused.
    pub placeholder1: u8,
    /// Unused.
    pub placeholder2: u8,
}

#[frame_support::pallet]
pub mod pallet {
    use super::*;
    use frame_support::{
        dispatch::Pays,
        pallet_prelude::*,
        traits::fungible::{Inspect, Mutate},
    };
    use frame_system::pallet_prelude::*;
    use sp_core::H256;
    use sp_runtime::traits::TrailingZeroInput;
    use std::collections::VecDeque;

    #[pallet::pallet]
    #[pallet::without_storage_info]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: frame_system::Config<RuntimeEvent: From<Event<Self>>> + drand::Config {
        /// TAO.
        type Currency: Inspect<Self::AccountId, Balance = u64> + Mutate<Self::AccountId>;
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A subnet was made: netuid, mechanism.
        #[codec(index = 0)]
        NetworkAdded(u16, u16),
        /// Stake was added: coldkey, hotkey, rao, alpha, netuid, fee.
        #[codec(index = 2)]
        StakeAdded(T::AccountId, T::AccountId, u64, u64, u16, u64),
        /// Weights were set: storage index of the subnet and mechanism, uid.
        #[codec(index = 5)]
        WeightsSet(u16, u16),
        /// A neuron was registered: netuid, uid, hotkey.
        #[codec(index = 6)]
        NeuronRegistered(u16, u16, T::AccountId),
        /// An axon was announced: netuid, hotkey.
        #[codec(index = 28)]
        AxonServed(u16, T::AccountId),
        /// Encrypted weights were committed: hotkey, storage index, hash of the commitment, round that opens it.
        #[codec(index = 101)]
        TimelockedWeightsCommitted(T::AccountId, u16, H256, u64),
        /// Committed weights were opened and set: storage index, hotkey.
        #[codec(index = 102)]
        TimelockedWeightsRevealed(u16, T::AccountId),
    }

    #[pallet::error]
    pub enum Error<T> {
        /// `ip_type` is neither 4 nor 6.
        InvalidIpType,
        /// The address is no address that others can reach.
        InvalidIpAddress,
        /// The port is 0.
        InvalidPort,
        /// The hotkey is not registered in this subnet.
        HotKeyNotRegisteredInSubNet,
        /// No one owns this hotkey.
        HotKeyAccountNotExists,
        /// The hotkey is registered in no subnet.
        HotKeyNotRegisteredInNetwork,
        /// Another coldkey owns this hotkey.
        NonAssociatedColdKey,
        /// The hotkey's stake is below `StakeThreshold`.
        NotEnoughStakeToSetWeights,
        /// The coldkey's balance does not cover the amount.
        NotEnoughBalanceToStake,
        /// The neuron may set no weights but its own.
        NeuronNoValidatorPermit,
        /// As many weights as uids are needed.
        WeightVecNotEqualSize,
        /// A uid stands twice.
        DuplicateUids,
        /// A uid is not in the subnet.
        UidVecContainInvalidOne,
        /// Fewer weights than `MinAllowedWeights`.
        WeightVecLengthIsLow,
        /// Too many registrations in this block.
        TooManyRegistrationsThisBlock,
        /// The hotkey is in this subnet already.
        HotKeyAlreadyRegisteredInSubNet,
        /// One weight is a larger share than `MaxWeightsLimit`.
        MaxWeightExceeded,
        /// Fewer blocks than `WeightsSetRateLimit` since the last weights.
        SettingWeightsTooFast,
        /// The chain asks for a newer version of the software.
        IncorrectWeightVersionKey,
        /// The axon was announced a moment ago.
        ServingRateLimitExceeded,
        /// More uids than the subnet has.
        UidsLengthExceedUidsInSubNet,
        /// The subnet takes no registrations.
        SubNetRegistrationDisabled,
        /// Too many registrations in this interval.
        TooManyRegistrationsThisInterval,
        /// The root subnet takes no registrations of this kind.
        RegistrationNotPermittedOnRootSubnet,
        /// The root subnet takes no weights.
        CanNotSetRootNetworkWeights,
        /// Every neuron is immune.
        NoNeuronIdAvailable,
        /// The subnet takes committed weights only.
        CommitRevealEnabled,
        /// The subnet takes plain weights only.
        CommitRevealDisabled,
        /// The subnet takes another version of commitments.
        IncorrectCommitRevealVersion,
        /// Fewer blocks than `WeightsSetRateLimit` since the last commitment.
        CommittingWeightsTooFast,
        /// Ten commitments of this hotkey wait already.
        TooManyUnrevealedCommits,
        /// The mechanism does not exist.
        MechanismDoesNotExist,
        /// The subnet does not exist.
        SubnetNotExists,
        /// Below the least amount.
        AmountTooLow,
    }

    /// The account of 32 zero bytes, which no one holds.
    #[pallet::type_value]
    pub fn DefaultAccount<T: Config>() -> T::AccountId {
        T::AccountId::decode(&mut TrailingZeroInput::zeroes()).expect("an account is a fixed number of bytes; qed")
    }
    #[pallet::type_value]
    pub fn DefaultTempo() -> u16 {
        360
    }
    #[pallet::type_value]
    pub fn DefaultTokenSymbol() -> Vec<u8> {
        "τ".into()
    }
    #[pallet::type_value]
    pub fn DefaultMaxAllowedUids() -> u16 {
        256
    }
    #[pallet::type_value]
    pub fn DefaultImmunityPeriod() -> u16 {
        4096
    }
    #[pallet::type_value]
    pub fn DefaultActivityCutoff() -> u16 {
        ACTIVITY_CUTOFF
    }
    #[pallet::type_value]
    pub fn DefaultMaxWeightsLimit() -> u16 {
        u16::MAX
    }
    #[pallet::type_value]
    pub fn DefaultMinAllowedWeights() -> u16 {
        1
    }
    #[pallet::type_value]
    pub fn DefaultMaxAllowedValidators() -> u16 {
        64
    }
    #[pallet::type_value]
    pub fn DefaultWeightsSetRateLimit() -> u64 {
        100
    }
    #[pallet::type_value]
    pub fn DefaultServingRateLimit() -> u64 {
        50
    }
    #[pallet::type_value]
    pub fn DefaultBurn() -> u64 {
        100_000_000
    }
    #[pallet::type_value]
    pub fn DefaultTargetRegistrations() -> u16 {
        64
    }
    #[pallet::type_value]
    pub fn DefaultAdjustmentInterval() -> u16 {
        100
    }
    #[pallet::type_value]
    pub fn DefaultTrue() -> bool {
        true
    }
    #[pallet::type_value]
    pub fn DefaultRevealPeriod() -> u64 {
        1
    }
    #[pallet::type_value]
    pub fn DefaultCommitRevealVersion() -> u16 {
        4
    }

    // Subnets.
    #[pallet::storage]
    pub type TotalNetworks<T: Config> = StorageValue<_, u16, ValueQuery>;
    #[pallet::storage]
    pub type NetworksAdded<T: Config> = StorageMap<_, Identity, u16, bool, ValueQuery>;
    #[pallet::storage]
    pub type NetworkRegisteredAt<T: Config> = StorageMap<_, Identity, u16, u64, ValueQuery>;
    #[pallet::storage]
    pub type NetworkRegistrationAllowed<T: Config> = StorageMap<_, Identity, u16, bool, ValueQuery, DefaultTrue>;
    /// What a subnet's alpha is called; clients of Bittensor read all of them when they connect.
    #[pallet::storage]
    pub type TokenSymbol<T: Config> = StorageMap<_, Identity, u16, Vec<u8>, ValueQuery, DefaultTokenSymbol>;
    #[pallet::storage]
    pub type SubnetOwner<T: Config> = StorageMap<_, Identity, u16, T::AccountId, ValueQuery, DefaultAccount<T>>;
    #[pallet::storage]
    pub type SubnetOwnerHotkey<T: Config> = StorageMap<_, Identity, u16, T::AccountId, ValueQuery, DefaultAccount<T>>;
    #[pallet::storage]
    pub type SubnetworkN<T: Config> = StorageMap<_, Identity, u16, u16, ValueQuery>;
    #[pallet::storage]
    pub type MaxAllowedUids<T: Config> = StorageMap<_, Identity, u16, u16, ValueQuery, DefaultMaxAllowedUids>;
    #[pallet::storage]
    pub type MaxAllowedValidators<T: Config> =
        StorageMap<_, Identity, u16, u16, ValueQuery, DefaultMaxAllowedValidators>;
    #[pallet::storage]
    pub type Tempo<T: Config> = StorageMap<_, Identity, u16, u16, ValueQuery, DefaultTempo>;
    #[pallet::storage]
    pub type BlocksSinceLastStep<T: Config> = StorageMap<_, Identity, u16, u64, ValueQuery>;
    /// Spelt as on subtensor.
    #[pallet::storage]
    pub type LastMechansimStepBlock<T: Config> = StorageMap<_, Identity, u16, u64, ValueQuery>;
    #[pallet::storage]
    pub type ImmunityPeriod<T: Config> = StorageMap<_, Identity, u16, u16, ValueQuery, DefaultImmunityPeriod>;
    #[pallet::storage]
    pub type ActivityCutoff<T: Config> = StorageMap<_, Identity, u16, u16, ValueQuery, DefaultActivityCutoff>;
    #[pallet::storage]
    pub type MinAllowedWeights<T: Config> = StorageMap<_, Identity, u16, u16, ValueQuery, DefaultMinAllowedWeights>;
    #[pallet::storage]
    pub type MaxWeightsLimit<T: Config> = StorageMap<_, Identity, u16, u16, ValueQuery, DefaultMaxWeightsLimit>;
    #[pallet::storage]
    pub type WeightsVersionKey<T: Config> = StorageMap<_, Identity, u16, u64, ValueQuery>;
    #[pallet::storage]
    pub type WeightsSetRateLimit<T: Config> = StorageMap<_, Identity, u16, u64, ValueQuery, DefaultWeightsSetRateLimit>;
    #[pallet::storage]
    pub type ServingRateLimit<T: Config> = StorageMap<_, Identity, u16, u64, ValueQuery, DefaultServingRateLimit>;
    #[pallet::storage]
    pub type CommitRevealWeightsEnabled<T: Config> = StorageMap<_, Identity, u16, bool, ValueQuery>;
    #[pallet::storage]
    pub type RevealPeriodEpochs<T: Config> = StorageMap<_, Twox64Concat, u16, u64, ValueQuery, DefaultRevealPeriod>;
    #[pallet::storage]
    pub type CommitRevealWeightsVersion<T: Config> = StorageValue<_, u16, ValueQuery, DefaultCommitRevealVersion>;
    #[pallet::storage]
    pub type Burn<T: Config> = StorageMap<_, Identity, u16, u64, ValueQuery, DefaultBurn>;
    #[pallet::storage]
    pub type AdjustmentInterval<T: Config> = StorageMap<_, Identity, u16, u16, ValueQuery, DefaultAdjustmentInterval>;
    #[pallet::storage]
    pub type TargetRegistrationsPerInterval<T: Config> =
        StorageMap<_, Identity, u16, u16, ValueQuery, DefaultTargetRegistrations>;
    #[pallet::storage]
    pub type RegistrationsThisInterval<T: Config> = StorageMap<_, Identity, u16, u16, ValueQuery>;

    // Neurons.
    #[pallet::storage]
    pub type Keys<T: Config> =
        StorageDoubleMap<_, Identity, u16, Identity, u16, T::AccountId, ValueQuery, DefaultAccount<T>>;
    #[pallet::storage]
    pub type Uids<T: Config> = StorageDoubleMap<_, Identity, u16, Blake2_128Concat, T::AccountId, u16, OptionQuery>;
    #[pallet::storage]
    pub type IsNetworkMember<T: Config> =
        StorageDoubleMap<_, Blake2_128Concat, T::AccountId, Identity, u16, bool, ValueQuery>;
    #[pallet::storage]
    pub type BlockAtRegistration<T: Config> = StorageDoubleMap<_, Identity, u16, Identity, u16, u64, ValueQuery>;
    #[pallet::storage]
    pub type Axons<T: Config> =
        StorageDoubleMap<_, Identity, u16, Blake2_128Concat, T::AccountId, AxonInfo, OptionQuery>;
    #[pallet::storage]
    pub type Weights<T: Config> = StorageDoubleMap<_, Identity, u16, Identity, u16, Vec<(u16, u16)>, ValueQuery>;
    #[pallet::storage]
    pub type LastUpdate<T: Config> = StorageMap<_, Identity, u16, Vec<u64>, ValueQuery>;
    #[pallet::storage]
    pub type ValidatorPermit<T: Config> = StorageMap<_, Identity, u16, Vec<bool>, ValueQuery>;
    #[pallet::storage]
    pub type Active<T: Config> = StorageMap<_, Identity, u16, Vec<bool>, ValueQuery>;
    #[pallet::storage]
    pub type Incentive<T: Config> = StorageMap<_, Identity, u16, Vec<u16>, ValueQuery>;

    // Committed weights, by storage index and epoch.
    #[pallet::storage]
    pub type TimelockedWeightCommits<T: Config> =
        StorageDoubleMap<_, Twox64Concat, u16, Twox64Concat, u64, VecDeque<Commit<T::AccountId>>, ValueQuery>;

    // Stake.
    #[pallet::storage]
    pub type Owner<T: Config> =
        StorageMap<_, Blake2_128Concat, T::AccountId, T::AccountId, ValueQuery, DefaultAccount<T>>;
    #[pallet::storage]
    pub type OwnedHotkeys<T: Config> = StorageMap<_, Blake2_128Concat, T::AccountId, Vec<T::AccountId>, ValueQuery>;
    #[pallet::storage]
    pub type TotalHotkeyAlpha<T: Config> =
        StorageDoubleMap<_, Blake2_128Concat, T::AccountId, Identity, u16, u64, ValueQuery>;
    #[pallet::storage]
    pub type StakeThreshold<T: Config> = StorageValue<_, u64, ValueQuery>;

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_initialize(_: BlockNumberFor<T>) -> Weight {
            Self::block_step();
            Weight::zero()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Sets the signing hotkey's weights in subnet `netuid`.
        #[pallet::call_index(0)]
        #[pallet::weight((Weight::from_parts(15_540_000_000, 0), DispatchClass::Normal, Pays::No))]
        pub fn set_weights(
            origin: OriginFor<T>,
            netuid: u16,
            dests: Vec<u16>,
            weights: Vec<u16>,
            version_key: u64,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            ensure!(!CommitRevealWeightsEnabled::<T>::get(netuid), Error::<T>::CommitRevealEnabled);
            Self::do_set_weights(&hotkey, netuid, 0, &dests, &weights, version_key)
        }

        /// Moves `amount_staked` rao of the signing coldkey onto `hotkey`.
        #[pallet::call_index(2)]
        #[pallet::weight(Weight::from_parts(340_800_000, 0))]
        pub fn add_stake(
            origin: OriginFor<T>,
            hotkey: T::AccountId,
            netuid: u16,
            amount_staked: u64,
        ) -> DispatchResult {
            let coldkey = ensure_signed(origin)?;
            Self::do_add_stake(&coldkey, &hotkey, netuid, amount_staked)
        }

        /// Announces where the signing hotkey's axon listens.
        #[pallet::call_index(4)]
        #[pallet::weight((Weight::from_parts(33_010_000, 0), DispatchClass::Normal, Pays::No))]
        pub fn serve_axon(
            origin: OriginFor<T>,
            netuid: u16,
            version: u32,
            ip: u128,
            port: u16,
            ip_type: u8,
            protocol: u8,
            placeholder1: u8,
            placeholder2: u8,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            let block = Self::current_block();
            let axon = AxonInfo { block, version, ip, port, ip_type, protocol, placeholder1, placeholder2 };
            Self::do_serve_axon(hotkey, netuid, axon)
        }

        /// Registers `hotkey` in subnet `netuid` for the signing coldkey, who pays the subnet's burn.
        #[pallet::call_index(7)]
        #[pallet::weight(Weight::from_parts(354_200_000, 0))]
        pub fn burned_register(origin: OriginFor<T>, netuid: u16, hotkey: T::AccountId) -> DispatchResult {
            let coldkey = ensure_signed(origin)?;
            Self::do_burned_register(&coldkey, netuid, &hotkey)
        }

        /// Commits the signing hotkey's weights, encrypted until `reveal_round` of the beacon.
        #[pallet::call_index(113)]
        #[pallet::weight((Weight::from_parts(64_530_000, 0), DispatchClass::Normal, Pays::No))]
        pub fn commit_timelocked_weights(
            origin: OriginFor<T>,
            netuid: u16,
            commit: BoundedVec<u8, ConstU32<MAX_COMMIT_BYTES>>,
            reveal_round: u64,
            commit_reveal_version: u16,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_commit_timelocked(hotkey, netuid, 0, commit, reveal_round, commit_reveal_version)
        }

        /// Commits the signing hotkey's weights for mechanism `mecid`; only mechanism 0 exists here.
        #[pallet::call_index(118)]
        #[pallet::weight((Weight::from_parts(84_020_000, 0), DispatchClass::Normal, Pays::No))]
        pub fn commit_timelocked_mechanism_weights(
            origin: OriginFor<T>,
            netuid: u16,
            mecid: u8,
            commit: BoundedVec<u8, ConstU32<MAX_COMMIT_BYTES>>,
            reveal_round: u64,
            commit_reveal_version: u16,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_commit_timelocked(hotkey, netuid, mecid, commit, reveal_round, commit_reveal_version)
        }

        /// Sets the signing hotkey's weights for mechanism `mecid` of subnet `netuid`; only mechanism 0 exists here.
        #[pallet::call_index(119)]
        #[pallet::weight((Weight::from_parts(15_540_000_000, 0), DispatchClass::Normal, Pays::No))]
        pub fn set_mechanism_weights(
            origin: OriginFor<T>,
            netuid: u16,
            mecid: u8,
            dests: Vec<u16>,
            weights: Vec<u16>,
            version_key: u64,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            ensure!(!CommitRevealWeightsEnabled::<T>::get(netuid), Error::<T>::CommitRevealEnabled);
            Self::do_set_weights(&hotkey, netuid, mecid, &dests, &weights, version_key)
        }
    }
}
