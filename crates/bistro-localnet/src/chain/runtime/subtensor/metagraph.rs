//! A subnet in one answer, whole or in part, as `SubnetInfoRuntimeApi` gives it: subtensor's fields, in its order and types.

use super::*;
use codec::Compact;

/// What a subnet says about itself; unused here.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct SubnetIdentityV3 {
    pub subnet_name: Vec<u8>,
    pub github_repo: Vec<u8>,
    pub subnet_contact: Vec<u8>,
    pub subnet_url: Vec<u8>,
    pub discord: Vec<u8>,
    pub description: Vec<u8>,
    pub logo_url: Vec<u8>,
    pub additional: Vec<u8>,
}

/// What a neuron's owner says about itself; unused here.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct ChainIdentityV2 {
    pub name: Vec<u8>,
    pub url: Vec<u8>,
    pub github_repo: Vec<u8>,
    pub image: Vec<u8>,
    pub discord: Vec<u8>,
    pub description: Vec<u8>,
    pub additional: Vec<u8>,
}

/// A signed number of 96 whole and 32 fractional bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct FixedI128 {
    pub bits: i128,
}

/// Makes the two structs of the same fields, in subtensor's order: a field's place is the number by which it is asked for.
macro_rules! metagraph {
    ($($(#[$doc:meta])* $field:ident: $type:ty,)*) => {
        /// A subnet.
        #[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
        pub struct Metagraph<AccountId: TypeInfo + codec::Codec> {
            /// Subnet.
            pub netuid: Compact<u16>,
            $($(#[$doc])* pub $field: $type,)*
        }

        /// The fields of a subnet that were asked for.
        #[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
        pub struct SelectiveMetagraph<AccountId: TypeInfo + codec::Codec> {
            /// Subnet; 0 unless it was asked for.
            pub netuid: Compact<u16>,
            $($(#[$doc])* pub $field: Option<$type>,)*
            /// Not known here.
            pub validators: Option<Vec<Compact<u16>>>,
            /// Not known here.
            pub commitments: Option<Vec<(AccountId, Vec<Compact<u8>>)>>,
        }

        impl<AccountId: TypeInfo + codec::Codec> Metagraph<AccountId> {
            /// The fields in the places `wanted`, counted from 0.
            fn only(self, wanted: &[u16]) -> SelectiveMetagraph<AccountId> {
                let mut place = 0;
                let mut next_is_wanted = || {
                    place += 1;
                    wanted.contains(&place)
                };
                SelectiveMetagraph {
                    netuid: if wanted.contains(&0) { self.netuid } else { Compact(0) },
                    $($field: next_is_wanted().then_some(self.$field),)*
                    validators: None,
                    commitments: None,
                }
            }
        }
    };
}

metagraph! {
    name: Vec<Compact<u8>>,
    symbol: Vec<Compact<u8>>,
    identity: Option<SubnetIdentityV3>,
    network_registered_at: Compact<u64>,
    owner_hotkey: AccountId,
    owner_coldkey: AccountId,
    /// Height at which this was read.
    block: Compact<u64>,
    tempo: Compact<u16>,
    last_step: Compact<u64>,
    blocks_since_last_step: Compact<u64>,
    subnet_emission: Compact<u64>,
    alpha_in: Compact<u64>,
    alpha_out: Compact<u64>,
    tao_in: Compact<u64>,
    alpha_out_emission: Compact<u64>,
    alpha_in_emission: Compact<u64>,
    tao_in_emission: Compact<u64>,
    pending_alpha_emission: Compact<u64>,
    pending_root_emission: Compact<u64>,
    subnet_volume: Compact<u128>,
    /// Price of alpha in rao; 1 here.
    moving_price: FixedI128,
    rho: Compact<u16>,
    kappa: Compact<u16>,
    min_allowed_weights: Compact<u16>,
    max_weights_limit: Compact<u16>,
    weights_version: Compact<u64>,
    weights_rate_limit: Compact<u64>,
    activity_cutoff: Compact<u16>,
    max_validators: Compact<u16>,
    num_uids: Compact<u16>,
    max_uids: Compact<u16>,
    burn: Compact<u64>,
    difficulty: Compact<u64>,
    registration_allowed: bool,
    pow_registration_allowed: bool,
    immunity_period: Compact<u16>,
    min_difficulty: Compact<u64>,
    max_difficulty: Compact<u64>,
    min_burn: Compact<u64>,
    max_burn: Compact<u64>,
    adjustment_alpha: Compact<u64>,
    adjustment_interval: Compact<u16>,
    target_regs_per_interval: Compact<u16>,
    max_regs_per_block: Compact<u16>,
    serving_rate_limit: Compact<u64>,
    commit_reveal_weights_enabled: bool,
    commit_reveal_period: Compact<u64>,
    liquid_alpha_enabled: bool,
    alpha_high: Compact<u16>,
    alpha_low: Compact<u16>,
    bonds_moving_avg: Compact<u64>,
    /// Hotkey of each uid; all vectors below follow it.
    hotkeys: Vec<AccountId>,
    /// Its owner.
    coldkeys: Vec<AccountId>,
    identities: Vec<Option<ChainIdentityV2>>,
    axons: Vec<AxonInfo>,
    /// Set weights within the activity cutoff.
    active: Vec<bool>,
    /// May set weights on others.
    validator_permit: Vec<bool>,
    pruning_score: Vec<Compact<u16>>,
    /// Block of the last weights, or of the registration.
    last_update: Vec<Compact<u64>>,
    emission: Vec<Compact<u64>>,
    dividends: Vec<Compact<u16>>,
    incentives: Vec<Compact<u16>>,
    consensus: Vec<Compact<u16>>,
    trust: Vec<Compact<u16>>,
    rank: Vec<Compact<u16>>,
    block_at_registration: Vec<Compact<u64>>,
    /// Rao.
    alpha_stake: Vec<Compact<u64>>,
    /// Rao; 0 here, there is no stake on the root.
    tao_stake: Vec<Compact<u64>>,
    /// What permits and thresholds go by, rao.
    total_stake: Vec<Compact<u64>>,
    tao_dividends_per_hotkey: Vec<(AccountId, Compact<u64>)>,
    alpha_dividends_per_hotkey: Vec<(AccountId, Compact<u64>)>,
}

impl<T: Config> Pallet<T> {
    /// The fields of subnet `netuid` that are asked for by their places.
    pub fn get_selective_metagraph(netuid: u16, wanted: &[u16]) -> Option<SelectiveMetagraph<T::AccountId>> {
        Self::get_metagraph(netuid).map(|whole| whole.only(wanted))
    }

    /// Subnet `netuid` as it stands, or `None` where there is none.
    pub fn get_metagraph(netuid: u16) -> Option<Metagraph<T::AccountId>> {
        if !NetworksAdded::<T>::get(netuid) {
            return None;
        }
        let neurons = SubnetworkN::<T>::get(netuid);
        let hotkeys: Vec<T::AccountId> = (0..neurons).map(|uid| Keys::<T>::get(netuid, uid)).collect();
        let stakes: Vec<u64> = hotkeys.iter().map(|hotkey| TotalHotkeyAlpha::<T>::get(hotkey, netuid)).collect();
        let staked: u64 = stakes.iter().sum();
        let zeros = || vec![Compact(0_u16); usize::from(neurons)];
        let compact = |values: &[u64]| values.iter().copied().map(Compact).collect::<Vec<_>>();
        let born: Vec<u64> = (0..neurons).map(|uid| BlockAtRegistration::<T>::get(netuid, uid)).collect();
        Some(Metagraph {
            netuid: Compact(netuid),
            name: b"bistro".iter().copied().map(Compact).collect(),
            symbol: TokenSymbol::<T>::get(netuid).into_iter().map(Compact).collect(),
            identity: None,
            network_registered_at: Compact(NetworkRegisteredAt::<T>::get(netuid)),
            owner_hotkey: SubnetOwnerHotkey::<T>::get(netuid),
            owner_coldkey: SubnetOwner::<T>::get(netuid),
            block: Compact(Self::current_block()),
            tempo: Compact(Tempo::<T>::get(netuid)),
            last_step: Compact(LastMechansimStepBlock::<T>::get(netuid)),
            blocks_since_last_step: Compact(BlocksSinceLastStep::<T>::get(netuid)),
            subnet_emission: Compact(0),
            alpha_in: Compact(staked),
            alpha_out: Compact(staked),
            tao_in: Compact(staked),
            alpha_out_emission: Compact(0),
            alpha_in_emission: Compact(0),
            tao_in_emission: Compact(0),
            pending_alpha_emission: Compact(0),
            pending_root_emission: Compact(0),
            subnet_volume: Compact(0),
            moving_price: FixedI128 { bits: 1 << 32 },
            rho: Compact(10),
            kappa: Compact(u16::MAX / 2),
            min_allowed_weights: Compact(MinAllowedWeights::<T>::get(netuid)),
            max_weights_limit: Compact(MaxWeightsLimit::<T>::get(netuid)),
            weights_version: Compact(WeightsVersionKey::<T>::get(netuid)),
            weights_rate_limit: Compact(WeightsSetRateLimit::<T>::get(netuid)),
            activity_cutoff: Compact(ActivityCutoff::<T>::get(netuid)),
            max_validators: Compact(MaxAllowedValidators::<T>::get(netuid)),
            num_uids: Compact(neurons),
            max_uids: Compact(MaxAllowedUids::<T>::get(netuid)),
            burn: Compact(Burn::<T>::get(netuid)),
            difficulty: Compact(0),
            registration_allowed: NetworkRegistrationAllowed::<T>::get(netuid),
            pow_registration_allowed: false,
            immunity_period: Compact(ImmunityPeriod::<T>::get(netuid)),
            min_difficulty: Compact(0),
            max_difficulty: Compact(0),
            min_burn: Compact(Burn::<T>::get(netuid)),
            max_burn: Compact(Burn::<T>::get(netuid)),
            adjustment_alpha: Compact(0),
            adjustment_interval: Compact(AdjustmentInterval::<T>::get(netuid)),
            target_regs_per_interval: Compact(TargetRegistrationsPerInterval::<T>::get(netuid)),
            max_regs_per_block: Compact(TargetRegistrationsPerInterval::<T>::get(netuid)),
            serving_rate_limit: Compact(ServingRateLimit::<T>::get(netuid)),
            commit_reveal_weights_enabled: CommitRevealWeightsEnabled::<T>::get(netuid),
            commit_reveal_period: Compact(RevealPeriodEpochs::<T>::get(netuid)),
            liquid_alpha_enabled: false,
            alpha_high: Compact(0),
            alpha_low: Compact(0),
            bonds_moving_avg: Compact(900_000),
            coldkeys: hotkeys.iter().map(Owner::<T>::get).collect(),
            identities: vec![None; usize::from(neurons)],
            axons: hotkeys.iter().map(|hotkey| Axons::<T>::get(netuid, hotkey).unwrap_or_default()).collect(),
            active: Active::<T>::get(netuid),
            validator_permit: ValidatorPermit::<T>::get(netuid),
            pruning_score: zeros(),
            last_update: compact(&LastUpdate::<T>::get(netuid)),
            emission: vec![Compact(0); usize::from(neurons)],
            dividends: zeros(),
            incentives: Incentive::<T>::get(netuid).into_iter().map(Compact).collect(),
            consensus: zeros(),
            trust: zeros(),
            rank: zeros(),
            block_at_registration: compact(&born),
            alpha_stake: compact(&stakes),
            tao_stake: vec![Compact(0); usize::from(neurons)],
            total_stake: compact(&stakes),
            tao_dividends_per_hotkey: Vec::new(),
            alpha_dividends_per_hotkey: Vec::new(),
            hotkeys,
        })
    }
}
