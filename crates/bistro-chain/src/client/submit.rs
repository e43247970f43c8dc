//! Sending one transaction and learning what became of it.

use std::time::Duration;

use bistro_core::ids::Block;
use subxt::client::OnlineClientAtBlockImpl;
use subxt::config::{DefaultExtrinsicParams, SubstrateConfig};
use subxt::error::{ExtrinsicError, TransactionEventsError};
use subxt::transactions::{TransactionInBlock, TransactionProgress, TransactionStatus};

use super::calls::Call;
use super::link::Link;
use crate::error::ChainError;
use crate::identity::Keypair;

type Client = OnlineClientAtBlockImpl<SubstrateConfig>;

/// Signs `payload` at the best block, sends it once, and waits until it is in a block. Returns the block it was signed at.
///
/// Three outcomes: it succeeded, it was refused (by the pool or in its block), or nobody knows
/// ([`ChainError::Unacknowledged`]). In the last case the transaction may still be included: it is valid for 32 blocks, and
/// the client hands it over even later if the connection was down. The nonce makes sure that it counts once at most.
pub(super) async fn submit(
    link: &Link,
    key: &Keypair,
    call: &'static str,
    payload: &Call,
    inclusion: Duration,
) -> Result<Block, ChainError> {
    let at = link.best().await?;
    let sign = async {
        let mut transactions = at.tx();
        let signed = transactions.create_signed(payload, key, DefaultExtrinsicParams::default()).await;
        signed.map_err(|e| ChainError::from_read("signing a transaction", e))
    };
    let signed = link.within("signing a transaction", sign).await?;
    tracing::debug!(call, block = at.block_number(), hash = ?signed.hash(), "sending");
    let send = async {
        signed.submit_and_watch().await.map_err(|error| match &error {
            ExtrinsicError::ErrorSubmittingTransaction(backend) => ChainError::from_submission(call, backend),
            other => lost(call, other),
        })
    };
    let progress = match link.within(call, send).await {
        Err(error @ ChainError::Timeout { .. }) => return Err(lost(call, &error)),
        progress => progress?,
    };
    match tokio::time::timeout(inclusion, watch(call, progress)).await {
        Ok(outcome) => outcome.map(|()| Block(at.block_number())),
        Err(_) => Err(lost(call, &format!("it was in no block after {} s", inclusion.as_secs_f32()))),
    }
}

async fn watch(
    call: &'static str,
    mut progress: TransactionProgress<SubstrateConfig, Client>,
) -> Result<(), ChainError> {
    while let Some(status) = progress.next().await {
        match status.map_err(|e| lost(call, &e))? {
            TransactionStatus::InBestBlock(block) | TransactionStatus::InFinalizedBlock(block) => {
                return outcome(call, &block).await;
            }
            TransactionStatus::Error { message }
            | TransactionStatus::Invalid { message }
            | TransactionStatus::Dropped { message } => return Err(lost(call, &message)),
            TransactionStatus::Validated | TransactionStatus::Broadcasted | TransactionStatus::NoLongerInBestBlock => {}
        }
    }
    Err(lost(call, &"the node stopped reporting"))
}

/// Success or refusal, from the events of the block.
async fn outcome(call: &'static str, block: &TransactionInBlock<SubstrateConfig, Client>) -> Result<(), ChainError> {
    match block.wait_for_success().await {
        Ok(_) => {
            tracing::info!(call, block = ?block.block_hash(), "in a block");
            Ok(())
        }
        Err(TransactionEventsError::ExtrinsicFailed(error)) => Err(ChainError::from_dispatch(call, &error)),
        Err(error) => Err(lost(call, &error)),
    }
}

fn lost(call: &'static str, why: &impl ToString) -> ChainError {
    ChainError::Unacknowledged { call, why: why.to_string() }
}
