//! The runtime: FRAME's own pallets, compiled natively, with subtensor's pallets at subtensor's indices.
//!
//! What clients see of subtensor is here with its real names, indices, hashers and value types: the calls, storage and errors that
//! a miner or a validator meets, `SubnetInfoRuntimeApi` and the transaction extensions in their order. Swaps, emission, EVM and
//! governance are not: a stake of one rao is one alpha, and an epoch only recomputes permits and a plain stake-weighted incentive.
//!
//! # Layout
//! - [`subtensor`]: pallet 7, registration, stake, weights, epochs, the metagraph
//! - [`commitments`]: pallet 18, what a neuron publishes about itself
//! - [`drand`]: pallet 26, the beacon whose rounds open committed weights
//! - [`aura`]: pallet 3, only the constant `SlotDuration`, which clients read as the block time
//! - [`extensions`]: `CheckNonce`, `SubtensorTransactionExtension` and `CheckMetadataHash`
//! - [`apis`]: what `state_call` answers
//! - `metadata`: the runtime's description of itself, under subtensor's names
#![allow(missing_docs, reason = "FRAME's macros generate undocumented items; what is written by hand is documented")]
#![allow(
    unexpected_cfgs,
    reason = "FRAME's macros ask for a feature `std`, which a runtime in a native program does not have"
)]
#![allow(
    clippy::pedantic,
    clippy::too_many_arguments,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "FRAME's macros expand to code that our lints were not written for"
)]

pub mod apis;
pub mod aura;
pub mod commitments;
pub mod drand;
pub mod extensions;
mod metadata;
pub mod subtensor;

use frame_support::{
    derive_impl, parameter_types,
    traits::{ConstU16, ConstU32, ConstU64, Get},
    weights::{Weight, WeightToFee},
};
use frame_system::limits::{BlockLength, BlockWeights};
use sp_runtime::{AccountId32, MultiAddress, MultiSignature, Perbill, generic, traits::BlakeTwo256};
use sp_version::RuntimeVersion;

/// Account: the 32 bytes of a public key.
pub type AccountId = AccountId32;
/// Rao: one TAO is 10⁹.
pub type Balance = u64;
/// Height of a block.
pub type BlockNumber = u32;
/// Number of transactions of an account so far.
pub type Nonce = u32;
/// BLAKE2b-256.
pub type Hash = sp_core::H256;
/// Head of a block.
pub type Header = generic::Header<BlockNumber, BlakeTwo256>;
/// What a signed transaction carries between the signature and the call, in subtensor's order.
pub type TxExtension = (
    frame_system::CheckNonZeroSender<Runtime>,
    frame_system::CheckSpecVersion<Runtime>,
    frame_system::CheckTxVersion<Runtime>,
    frame_system::CheckGenesis<Runtime>,
    frame_system::CheckMortality<Runtime>,
    extensions::CheckNonce<Runtime>,
    frame_system::CheckWeight<Runtime>,
    pallet_transaction_payment::ChargeTransactionPayment<Runtime>,
    extensions::SubtensorTransactionExtension<Runtime>,
    extensions::CheckMetadataHash<Runtime>,
);
/// A transaction or inherent as it travels.
pub type UncheckedExtrinsic =
    generic::UncheckedExtrinsic<MultiAddress<AccountId, ()>, RuntimeCall, MultiSignature, TxExtension>;
/// A block.
pub type Block = generic::Block<Header, UncheckedExtrinsic>;
/// FRAME's block execution over the pallets below.
pub type Executive =
    frame_executive::Executive<Runtime, Block, frame_system::ChainContext<Runtime>, Runtime, AllPalletsWithSystem>;

/// Spec version that a new chain starts with: mainnet's when this was written.
pub const SPEC_VERSION: u32 = 365;
/// Version of the transaction format.
pub const TRANSACTION_VERSION: u32 = 1;
/// The smallest balance an account may keep, rao.
pub const EXISTENTIAL_DEPOSIT: Balance = 500;

frame_support::construct_runtime!(
    pub enum Runtime {
        System: frame_system = 0,
        Timestamp: pallet_timestamp = 2,
        Aura: aura = 3,
        Balances: pallet_balances = 5,
        TransactionPayment: pallet_transaction_payment = 6,
        SubtensorModule: subtensor = 7,
        Commitments: commitments = 18,
        Drand: drand = 26,
    }
);

parameter_types! {
    /// In storage, so that a chain can be upgraded while it runs.
    pub storage SpecVersion: u32 = SPEC_VERSION;
    /// Milliseconds between blocks, as clients read them from `Aura.SlotDuration`.
    pub storage SlotDuration: u64 = 12_000;
    pub RuntimeBlockWeights: BlockWeights = BlockWeights::with_sensible_defaults(
        Weight::from_parts(4_000_000_000_000, u64::MAX),
        Perbill::from_percent(75),
    );
    pub RuntimeBlockLength: BlockLength = BlockLength::builder().max_length(5 * 1024 * 1024).build();
}

/// The runtime's version, with the spec version taken from storage.
pub struct Version;

impl Get<RuntimeVersion> for Version {
    fn get() -> RuntimeVersion {
        RuntimeVersion {
            spec_name: "node-subtensor".into(),
            impl_name: "node-subtensor".into(),
            authoring_version: 1,
            spec_version: SpecVersion::get(),
            impl_version: 1,
            apis: apis::RUNTIME_API_VERSIONS,
            transaction_version: TRANSACTION_VERSION,
            system_version: 1,
        }
    }
}

#[derive_impl(frame_system::config_preludes::SolochainDefaultConfig)]
impl frame_system::Config for Runtime {
    type Block = Block;
    type AccountData = pallet_balances::AccountData<Balance>;
    type BlockHashCount = ConstU32<2400>;
    type BlockLength = RuntimeBlockLength;
    type BlockWeights = RuntimeBlockWeights;
    type Nonce = Nonce;
    type SS58Prefix = ConstU16<42>;
    type Version = Version;
}

impl pallet_timestamp::Config for Runtime {
    type Moment = u64;
    type OnTimestampSet = Drand;
    type MinimumPeriod = ConstU64<0>;
    type WeightInfo = ();
}

impl aura::Config for Runtime {
    type SlotDuration = SlotDuration;
}

#[derive_impl(pallet_balances::config_preludes::TestDefaultConfig)]
impl pallet_balances::Config for Runtime {
    type Balance = Balance;
    type AccountStore = System;
    type ExistentialDeposit = ConstU64<EXISTENTIAL_DEPOSIT>;
}

/// A fee that is visible in a balance and affordable on a local chain.
pub struct SmallFee;

impl WeightToFee for SmallFee {
    type Balance = Balance;

    fn weight_to_fee(weight: &Weight) -> Balance {
        weight.ref_time() / 20_000
    }
}

/// One rao a byte.
pub struct ByteFee;

impl WeightToFee for ByteFee {
    type Balance = Balance;

    fn weight_to_fee(length: &Weight) -> Balance {
        length.ref_time()
    }
}

#[derive_impl(pallet_transaction_payment::config_preludes::TestDefaultConfig)]
impl pallet_transaction_payment::Config for Runtime {
    type OnChargeTransaction = pallet_transaction_payment::FungibleAdapter<Balances, ()>;
    type OperationalFeeMultiplier = frame_support::traits::ConstU8<5>;
    type WeightToFee = SmallFee;
    type LengthToFee = ByteFee;
}

impl drand::Config for Runtime {
    type Waiting = SubtensorModule;
}

impl subtensor::Config for Runtime {
    type Currency = Balances;
}

impl commitments::Config for Runtime {
    type MaxFields = ConstU32<3>;
    type InitialDeposit = ConstU64<0>;
    type FieldDeposit = ConstU64<0>;
    type Membership = SubtensorModule;
}
