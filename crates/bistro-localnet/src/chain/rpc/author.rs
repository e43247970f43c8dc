//! `author_*`: transactions on their way into a block.

use super::{Answer, Bytes, Module, block_at, errors, next, send};
use crate::chain::error::ChainError;
use codec::{Decode, Encode};
use pallet_transaction_payment::RuntimeDispatchInfo;
use sp_core::H256;

pub(super) fn register(module: &mut Module) -> Result<(), ChainError> {
    module.register_blocking_method("author_submitExtrinsic", |params, node, _| -> Answer<H256> {
        let transaction: Bytes = params.sequence().next()?;
        if let Some(refusal) = node.whims().refusal() {
            return Err(refusal);
        }
        let (hash, _) = node.submit(&transaction)?;
        Ok(hash)
    })?;
    module.register_method("author_pendingExtrinsics", |_, node, _| {
        node.pending().into_iter().map(Bytes).collect::<Vec<_>>()
    })?;
    module.register_subscription(
        "author_submitAndWatchExtrinsic",
        "author_extrinsicUpdate",
        "author_unwatchExtrinsic",
        |params, pending, node, _| async move {
            if let Some(refusal) = node.whims().refusal() {
                return pending.reject(refusal).await;
            }
            let submitted = match params.sequence().next::<Bytes>() {
                Ok(transaction) => node.submit(&transaction).map_err(Into::into),
                Err(error) => Err(error),
            };
            if node.whims().swallows() {
                // An answer that never comes, for as long as the client cares to wait.
                return std::future::pending().await;
            }
            let mut fate = match submitted {
                Ok((_, fate)) => fate,
                Err(error) => return pending.reject(error).await,
            };
            let Ok(sink) = pending.accept().await else { return };
            while let Some(status) = fate.recv().await {
                if !send(&sink, &status).await || status.is_last() {
                    return;
                }
            }
        },
    )?;
    module.register_blocking_method("payment_queryInfo", |params, node, _| -> Answer<RuntimeDispatchInfo<u64>> {
        let mut rest = params.sequence();
        let transaction: Bytes = rest.next()?;
        let block = block_at(&node, next(&mut rest)?)?;
        let mut arguments = transaction.to_vec();
        (transaction.len() as u32).encode_to(&mut arguments);
        let answer = node.call(&block, "TransactionPaymentApi_query_info", &arguments)?;
        let answer = answer.ok_or_else(|| errors::execution("the runtime tells no fees"))?;
        RuntimeDispatchInfo::decode(&mut &answer.bytes[..]).map_err(|e| errors::execution(&e.to_string()))
    })?;
    Ok(())
}
