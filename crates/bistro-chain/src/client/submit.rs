//! Sending one transaction and learning what became of it.

use std::time::Duration;

use bistro_core::ids::Block;
use subxt::client::OnlineClientAtBlockImpl;
use subxt::config::{DefaultExtrinsicParams, DefaultExtrinsicParamsBuilder, SubstrateConfig};
use subxt::error::{ExtrinsicError, TransactionEventsError};
use subxt::transactions::{TransactionInBlock, TransactionProgress, TransactionStatus};
use tokio::time::Instant;

use super::calls::Call;
use super::link::{AtBlock, Link};
use crate::error::ChainError;
use crate::identity::Keypair;

type Client = OnlineClientAtBlockImpl<SubstrateConfig>;
type Progress = TransactionProgress<SubstrateConfig, Client>;
type InBlock = TransactionInBlock<SubstrateConfig, Client>;

/// Blocks for which a transaction is valid.
const LIFE: u64 = 64;

/// How long a transaction is waited for.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// Until its first block.
    pub(super) inclusion: Duration,
    /// From there to finality; what has stood that long without counts as settled.
    pub(super) settle: Duration,
}

/// Signs `payload` at the best block, sends it once, and waits until its block stays. Returns the block it was signed at.
///
/// Four outcomes: it succeeded, it was refused (by the pool or in its block), its block was taken back
/// ([`ChainError::TakenBack`]), or nobody knows ([`ChainError::Unacknowledged`]). In the last two cases the transaction may still be
/// included while it is valid, and the client hands it over even later if the connection was down. The nonce, which is that of the
/// best block and not of the pool, makes sure that it or its repetition counts, and never both.
pub(super) async fn submit(
    link: &Link,
    key: &Keypair,
    call: &'static str,
    payload: &Call,
    patience: Patience,
) -> Result<Block, ChainError> {
    let at = link.best().await?;
    let life = life(link, &at).await?;
    let sign = async {
        let mut transactions = at.tx();
        let signed = transactions.create_signed(payload, key, life).await;
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
    let mut progress = match link.within(call, send).await {
        Err(error @ ChainError::Timeout { .. }) => return Err(lost(call, &error)),
        progress => progress?,
    };
    let included = tokio::time::timeout(patience.inclusion, included(call, &mut progress)).await;
    let seconds = patience.inclusion.as_secs_f32();
    let (block, final_already) =
        included.unwrap_or_else(|_| Err(lost(call, &format!("it was in no block after {seconds} s"))))?;
    if !final_already {
        settle(link, call, progress, block, patience.settle).await?;
    }
    Ok(Block(at.block_number()))
}

/// How long the transaction is valid, counted from the newest final block: one that is bound to a block that a reorganisation takes
/// back would be void with it.
async fn life(link: &Link, at: &AtBlock) -> Result<DefaultExtrinsicParams<SubstrateConfig>, ChainError> {
    let (number, hash) = link.finalized().await?;
    let builder = DefaultExtrinsicParamsBuilder::new();
    // Where finality stands still its block is too old to begin with, and subxt takes the best block.
    let young = at.block_number().saturating_sub(number) <= LIFE / 2;
    Ok(if young { builder.mortal_from_unchecked(LIFE, number, hash) } else { builder.mortal(LIFE) }.build())
}

/// Waits for the first block with the transaction in it, and whether that is final.
async fn included(call: &'static str, progress: &mut Progress) -> Result<(InBlock, bool), ChainError> {
    while let Some(status) = progress.next().await {
        let (block, is_final) = match status.map_err(|e| lost(call, &e))? {
            TransactionStatus::InBestBlock(block) => (block, false),
            TransactionStatus::InFinalizedBlock(block) => (block, true),
            TransactionStatus::Error { message }
            | TransactionStatus::Invalid { message }
            | TransactionStatus::Dropped { message } => return Err(lost(call, &message)),
            TransactionStatus::Validated | TransactionStatus::Broadcasted | TransactionStatus::NoLongerInBestBlock => {
                continue;
            }
        };
        outcome(call, &block, is_final).await?;
        return Ok((block, is_final));
    }
    Err(lost(call, &"the node stopped reporting"))
}

/// Follows the transaction until its block is final. A block that has stood for `patience` without that is taken for settled.
async fn settle(
    link: &Link,
    call: &'static str,
    mut progress: Progress,
    mut block: InBlock,
    patience: Duration,
) -> Result<(), ChainError> {
    if patience.is_zero() {
        return Ok(());
    }
    let until = Instant::now() + patience;
    // What cannot be told keeps the success that was seen: the call was in a block.
    while let Ok(Some(Ok(status))) = tokio::time::timeout_at(until, progress.next()).await {
        match status {
            TransactionStatus::InFinalizedBlock(last) => return outcome(call, &last, true).await,
            TransactionStatus::InBestBlock(next) => {
                tracing::warn!(call, block = ?next.block_hash(), "its block was replaced; it is in another");
                outcome(call, &next, false).await?;
                block = next;
            }
            TransactionStatus::Error { .. } | TransactionStatus::Invalid { .. } | TransactionStatus::Dropped { .. } => {
                break;
            }
            TransactionStatus::Validated | TransactionStatus::Broadcasted | TransactionStatus::NoLongerInBestBlock => {}
        }
    }
    match link.has_block(block.block_hash()).await {
        Ok(false) => Err(ChainError::TakenBack { call }),
        Ok(true) => Ok(()),
        Err(error) => {
            tracing::warn!(call, %error, "it was in a block; whether that block stays was not seen");
            Ok(())
        }
    }
}

/// Success or refusal, from the events of the block.
async fn outcome(call: &'static str, block: &InBlock, is_final: bool) -> Result<(), ChainError> {
    match block.wait_for_success().await {
        Ok(_) => {
            let stage = if is_final { "in a block that is final" } else { "in a block that is not final yet" };
            tracing::info!(call, block = ?block.block_hash(), "{stage}");
            Ok(())
        }
        Err(TransactionEventsError::ExtrinsicFailed(error)) => Err(ChainError::from_dispatch(call, &error)),
        Err(error) => Err(lost(call, &error)),
    }
}

fn lost(call: &'static str, why: &impl ToString) -> ChainError {
    ChainError::Unacknowledged { call, why: why.to_string() }
}
