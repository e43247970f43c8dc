//! What `state_call` answers: the runtime APIs by their names on subtensor.
//!
//! `AccountNonceApi`, `TaggedTransactionQueue` and `TransactionPaymentApi` are declared here under FRAME's names rather than taken from
//! three more crates; a client sees no difference.

use super::{
    metadata::with_subtensor_paths,
    subtensor::metagraph::{Metagraph, SelectiveMetagraph},
    *,
};
use pallet_transaction_payment::{FeeDetails, RuntimeDispatchInfo};
use sp_core::OpaqueMetadata;
use sp_inherents::{CheckInherentsResult, InherentData};
use sp_runtime::{
    ApplyExtrinsicResult, ExtrinsicInclusionMode,
    traits::Block as BlockT,
    transaction_validity::{TransactionSource, TransactionValidity},
};

sp_api::decl_runtime_apis! {
    /// Whether a transaction may enter the pool.
    #[api_version(3)]
    pub trait TaggedTransactionQueue {
        /// Validates `tx` on top of `block_hash`.
        fn validate_transaction(
            source: TransactionSource,
            tx: <Block as BlockT>::Extrinsic,
            block_hash: Block::Hash,
        ) -> TransactionValidity;
    }

    /// Nonces.
    pub trait AccountNonceApi {
        /// The next nonce of `account`.
        fn account_nonce(account: AccountId) -> Nonce;
    }

    /// Fees.
    #[api_version(4)]
    pub trait TransactionPaymentApi {
        /// The weight and fee of a transaction of `len` bytes.
        fn query_info(uxt: <Block as BlockT>::Extrinsic, len: u32) -> RuntimeDispatchInfo<Balance>;
        /// The parts of its fee.
        fn query_fee_details(uxt: <Block as BlockT>::Extrinsic, len: u32) -> FeeDetails<Balance>;
        /// The fee of a weight.
        fn query_weight_to_fee(weight: Weight) -> Balance;
        /// The fee of a length.
        fn query_length_to_fee(length: u32) -> Balance;
    }

    /// Subnets.
    pub trait SubnetInfoRuntimeApi {
        /// A subnet and all its neurons.
        fn get_metagraph(netuid: u16) -> Option<Metagraph<AccountId>>;
        /// The fields of a subnet in these places of the whole, counted from 0.
        fn get_selective_metagraph(netuid: u16, metagraph_indexes: Vec<u16>) -> Option<SelectiveMetagraph<AccountId>>;
    }
}

sp_api::impl_runtime_apis! {
    impl sp_api::Core<Block> for Runtime {
        fn version() -> RuntimeVersion {
            Version::get()
        }

        fn execute_block(block: <Block as BlockT>::LazyBlock) {
            Executive::execute_block(block);
        }

        fn initialize_block(header: &<Block as BlockT>::Header) -> ExtrinsicInclusionMode {
            Executive::initialize_block(header)
        }
    }

    impl sp_api::Metadata<Block> for Runtime {
        fn metadata() -> OpaqueMetadata {
            with_subtensor_paths(OpaqueMetadata::new(Runtime::metadata().into()))
        }

        fn metadata_at_version(version: u32) -> Option<OpaqueMetadata> {
            Runtime::metadata_at_version(version).map(with_subtensor_paths)
        }

        fn metadata_versions() -> Vec<u32> {
            Runtime::metadata_versions()
        }
    }

    impl sp_block_builder::BlockBuilder<Block> for Runtime {
        fn apply_extrinsic(extrinsic: <Block as BlockT>::Extrinsic) -> ApplyExtrinsicResult {
            Executive::apply_extrinsic(extrinsic)
        }

        fn finalize_block() -> <Block as BlockT>::Header {
            Executive::finalize_block()
        }

        fn inherent_extrinsics(data: InherentData) -> Vec<<Block as BlockT>::Extrinsic> {
            data.create_extrinsics()
        }

        fn check_inherents(block: <Block as BlockT>::LazyBlock, data: InherentData) -> CheckInherentsResult {
            data.check_extrinsics(&block)
        }
    }

    impl self::TaggedTransactionQueue<Block> for Runtime {
        fn validate_transaction(
            source: TransactionSource,
            tx: <Block as BlockT>::Extrinsic,
            block_hash: <Block as BlockT>::Hash,
        ) -> TransactionValidity {
            Executive::validate_transaction(source, tx, block_hash)
        }
    }

    impl self::AccountNonceApi<Block> for Runtime {
        fn account_nonce(account: AccountId) -> Nonce {
            System::account_nonce(account)
        }
    }

    impl self::TransactionPaymentApi<Block> for Runtime {
        fn query_info(uxt: <Block as BlockT>::Extrinsic, len: u32) -> RuntimeDispatchInfo<Balance> {
            TransactionPayment::query_info(uxt, len)
        }

        fn query_fee_details(uxt: <Block as BlockT>::Extrinsic, len: u32) -> FeeDetails<Balance> {
            TransactionPayment::query_fee_details(uxt, len)
        }

        fn query_weight_to_fee(weight: Weight) -> Balance {
            TransactionPayment::weight_to_fee(weight)
        }

        fn query_length_to_fee(length: u32) -> Balance {
            TransactionPayment::length_to_fee(length)
        }
    }

    impl self::SubnetInfoRuntimeApi<Block> for Runtime {
        fn get_metagraph(netuid: u16) -> Option<Metagraph<AccountId>> {
            SubtensorModule::get_metagraph(netuid)
        }

        fn get_selective_metagraph(netuid: u16, metagraph_indexes: Vec<u16>) -> Option<SelectiveMetagraph<AccountId>> {
            SubtensorModule::get_selective_metagraph(netuid, &metagraph_indexes)
        }
    }
}
