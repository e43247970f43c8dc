//! `chain_*`: blocks and headers.

use super::{Answer, Bytes, Module, follow, next, only_hash};
use crate::chain::{error::ChainError, ledger::Sealed, node::Node, runtime::BlockNumber};
use serde::Deserialize;
use serde_json::{Value, json};
use sp_core::{H256, U256};
use std::sync::Arc;
use tokio::sync::broadcast::Receiver;

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
    module.register_method("chain_getFinalizedHead", |_, node, _| Answer::Ok(node.finalized().hash))?;
    module.register_alias("chain_getFinalisedHead", "chain_getFinalizedHead")?;

    // Every block is the best one when it is made, so the first two differ in their names only.
    heads(module, ["chain_subscribeNewHeads", "chain_newHead", "chain_unsubscribeNewHeads"], |node| {
        (node.heads(), node.head())
    })?;
    heads(module, ["chain_subscribeAllHeads", "chain_allHead", "chain_unsubscribeAllHeads"], |node| {
        (node.heads(), node.head())
    })?;
    let names = ["chain_subscribeFinalizedHeads", "chain_finalizedHead", "chain_unsubscribeFinalizedHeads"];
    heads(module, names, |node| (node.finalized_heads(), node.finalized()))?;
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

/// Blocks to come, and the newest of them that is there.
type Heads = (Receiver<Arc<Sealed>>, Arc<Sealed>);

/// A subscription to headers: the newest, then every new one. `names` are those of subscribing, notifying and unsubscribing.
fn heads(module: &mut Module, names: [&'static str; 3], from: fn(&Node) -> Heads) -> Result<(), ChainError> {
    let [subscribe, notification, unsubscribe] = names;
    module.register_subscription(
        subscribe,
        notification,
        unsubscribe,
        move |_, pending, node: Arc<Arc<Node>>, _| async move {
            let (heads, newest) = from(&node);
            follow(pending, heads, newest.header.clone(), |head| Some(head.header.clone())).await;
        },
    )?;
    Ok(())
}
