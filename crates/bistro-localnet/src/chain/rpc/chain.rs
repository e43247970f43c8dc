//! `chain_*`: blocks and headers.

use super::{Answer, Bytes, Module, block_at, follow, next, only_hash};
use crate::chain::{error::ChainError, node::Node, runtime::BlockNumber};
use serde::Deserialize;
use serde_json::{Value, json};
use sp_core::{H256, U256};
use std::sync::Arc;

/// A number of a block, as a number or in hexadecimal.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    Hex(U256),
}

impl Number {
    /// Hash of the block, or null.
    fn hash(&self, node: &Node) -> Option<H256> {
        let number = match self {
            Self::Plain(n) => *n,
            Self::Hex(n) => u64::try_from(*n).ok()?,
        };
        node.hash_of(BlockNumber::try_from(number).ok()?)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Numbers {
    One(Number),
    Many(Vec<Number>),
}

pub(super) fn register(module: &mut Module) -> Result<(), ChainError> {
    module.register_method("chain_getBlockHash", |params, node, _| -> Answer<Value> {
        Ok(match next::<Numbers>(&mut params.sequence())? {
            None => json!(node.head().hash),
            Some(Numbers::One(number)) => json!(number.hash(node)),
            Some(Numbers::Many(numbers)) => json!(numbers.iter().map(|n| n.hash(node)).collect::<Vec<_>>()),
        })
    })?;
    module.register_alias("chain_getHead", "chain_getBlockHash")?;
    module.register_method("chain_getHeader", |params, node, _| -> Answer<Value> {
        Ok(json!(node.block(only_hash(&params)?).map(|block| block.header.clone())))
    })?;
    module.register_method("chain_getBlock", |params, node, _| -> Answer<Value> {
        let Some(block) = node.block(only_hash(&params)?) else { return Ok(Value::Null) };
        let extrinsics: Vec<Bytes> = block.body.iter().cloned().map(Bytes).collect();
        Ok(json!({ "block": { "header": block.header, "extrinsics": extrinsics }, "justifications": null }))
    })?;
    module.register_method("chain_getFinalizedHead", |_, node, _| Answer::Ok(node.head().hash))?;
    module.register_alias("chain_getFinalisedHead", "chain_getFinalizedHead")?;

    // Every block is best and final at once, so the three differ in their names only.
    heads(module, "chain_subscribeNewHeads", "chain_newHead", "chain_unsubscribeNewHeads")?;
    heads(module, "chain_subscribeAllHeads", "chain_allHead", "chain_unsubscribeAllHeads")?;
    heads(module, "chain_subscribeFinalizedHeads", "chain_finalizedHead", "chain_unsubscribeFinalizedHeads")?;
    for (alias, method) in [
        ("chain_subscribeNewHead", "chain_subscribeNewHeads"),
        ("subscribe_newHead", "chain_subscribeNewHeads"),
        ("chain_unsubscribeNewHead", "chain_unsubscribeNewHeads"),
        ("unsubscribe_newHead", "chain_unsubscribeNewHeads"),
        ("chain_subscribeFinalisedHeads", "chain_subscribeFinalizedHeads"),
        ("chain_unsubscribeFinalisedHeads", "chain_unsubscribeFinalizedHeads"),
    ] {
        module.register_alias(alias, method)?;
    }
    Ok(())
}

/// A subscription to headers: the newest, then every new one.
fn heads(
    module: &mut Module,
    subscribe: &'static str,
    notification: &'static str,
    unsubscribe: &'static str,
) -> Result<(), ChainError> {
    module.register_subscription(
        subscribe,
        notification,
        unsubscribe,
        |_, pending, node: Arc<Arc<Node>>, _| async move {
            let heads = node.heads();
            let first = block_at(&node, None).map(|head| head.header.clone()).ok();
            follow(pending, heads, first, |head| Some(Some(head.header.clone()))).await;
        },
    )?;
    Ok(())
}
