//! What a local chain starts with.

use super::{
    beacon,
    runtime::{
        AccountId, Balance, Runtime, SPEC_VERSION, SlotDuration, SpecVersion, SubtensorModule,
        drand::{self, BeaconConfiguration},
        subtensor as pallet,
    },
};
use frame_support::traits::BuildGenesisConfig;
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

/// Rao of one TAO.
pub const TAO: Balance = 1_000_000_000;

/// A neuron of the first block. It has waited out every rate limit.
#[derive(Clone, Debug)]
pub struct GenesisNeuron {
    /// Owner.
    pub coldkey: AccountId,
    /// The neuron's key.
    pub hotkey: AccountId,
    /// Rao staked on it.
    pub stake: Balance,
}

/// Settings of a local chain; [`Default`] is one subnet with mainnet's numbers, without commit-reveal.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches, set by name")]
pub struct LocalChainConfig {
    /// Where to listen; port 0 takes a free one. Anyone who reaches it may use the chain.
    pub listen: SocketAddr,
    /// Time between blocks.
    pub block_time: Duration,
    /// Also make a block at once when a transaction arrives.
    pub seal_on_transaction: bool,
    /// Make a block every `block_time`; without it, blocks come with transactions and on request only.
    pub clock: bool,
    /// Blocks that finality is behind the newest block; 0: every block is final at once. A chain that makes blocks from transactions
    /// only stays that far behind until the next one.
    pub finality_lag: u32,
    /// Let [`super::LocalChain::faults`] and the `bistro_*` methods make connections fail.
    pub faults: bool,
    /// The one subnet.
    pub netuid: u16,
    /// Blocks between epochs, less one.
    pub tempo: u16,
    /// Blocks between two `set_weights` of a neuron.
    pub weights_rate_limit: u64,
    /// The fewest weights a validator may set.
    pub min_allowed_weights: u16,
    /// The largest share of one weight, of 65535.
    pub max_weights_limit: u16,
    /// Version key that weights must at least have; 0 takes any.
    pub weights_version: u64,
    /// Most neurons.
    pub max_uids: u16,
    /// Blocks in which a new neuron is not deregistered while an older one can be.
    pub immunity_period: u16,
    /// Most validators with a permit.
    pub max_validators: u16,
    /// The least stake for setting weights, rao.
    pub stake_threshold: Balance,
    /// Rao that `burned_register` costs.
    pub burn: Balance,
    /// Whether weights must be committed before they are revealed.
    pub commit_reveal: bool,
    /// Epochs between commitment and reveal.
    pub reveal_period: u64,
    /// Seconds between two rounds of the chain's [`super::beacon`].
    pub beacon_period: u32,
    /// Accounts and their rao.
    pub endowed: Vec<(AccountId, Balance)>,
    /// Neurons from the first block on, in the order of their uids.
    pub neurons: Vec<GenesisNeuron>,
    /// The runtime's spec version.
    pub spec_version: u32,
}

impl Default for LocalChainConfig {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            block_time: Duration::from_secs(12),
            seal_on_transaction: false,
            clock: true,
            finality_lag: 2,
            faults: false,
            netuid: 1,
            tempo: 360,
            weights_rate_limit: 100,
            min_allowed_weights: 1,
            max_weights_limit: u16::MAX,
            weights_version: 0,
            max_uids: 256,
            immunity_period: 4096,
            max_validators: 64,
            stake_threshold: 0,
            burn: TAO / 10,
            commit_reveal: false,
            reveal_period: 1,
            beacon_period: 3,
            endowed: Vec::new(),
            neurons: Vec::new(),
            spec_version: SPEC_VERSION,
        }
    }
}

impl LocalChainConfig {
    /// Writes the first state; runs inside the runtime.
    pub(crate) fn build_genesis(&self) {
        SpecVersion::set(&self.spec_version);
        SlotDuration::set(&u64::try_from(self.block_time.as_millis()).unwrap_or(u64::MAX));
        frame_system::GenesisConfig::<Runtime>::default().build();
        pallet_balances::GenesisConfig::<Runtime> { balances: self.endowed.clone(), dev_accounts: None }.build();
        pallet_transaction_payment::GenesisConfig::<Runtime>::default().build();

        let n = self.netuid;
        let owner = AccountId::new([0; 32]);
        SubtensorModule::add_network(n, &owner);
        pallet::Tempo::<Runtime>::insert(n, self.tempo);
        pallet::WeightsSetRateLimit::<Runtime>::insert(n, self.weights_rate_limit);
        pallet::MinAllowedWeights::<Runtime>::insert(n, self.min_allowed_weights);
        pallet::MaxWeightsLimit::<Runtime>::insert(n, self.max_weights_limit);
        pallet::WeightsVersionKey::<Runtime>::insert(n, self.weights_version);
        pallet::MaxAllowedUids::<Runtime>::insert(n, self.max_uids);
        pallet::ImmunityPeriod::<Runtime>::insert(n, self.immunity_period);
        pallet::MaxAllowedValidators::<Runtime>::insert(n, self.max_validators);
        pallet::Burn::<Runtime>::insert(n, self.burn);
        pallet::CommitRevealWeightsEnabled::<Runtime>::insert(n, self.commit_reveal);
        pallet::RevealPeriodEpochs::<Runtime>::insert(n, self.reveal_period);
        let local = BeaconConfiguration::of(&beacon::beacon(self.beacon_period), "bistro-localnet");
        drand::BeaconConfig::<Runtime>::put(local);
        pallet::StakeThreshold::<Runtime>::put(self.stake_threshold);
        // Where two coldkeys claim a hotkey, and where the subnet is full, the later one is not there.
        let neurons = self.neurons.iter().map(|n| (n.coldkey.clone(), n.hotkey.clone(), n.stake));
        SubtensorModule::populate(n, neurons);
        SubtensorModule::recompute_permits(n);
    }
}
