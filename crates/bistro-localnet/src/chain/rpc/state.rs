//! `state_*`: storage, runtime calls and versions.

use super::{Answer, Bytes, Module, block_at, errors, follow, next, only_hash};
use crate::chain::{
    error::ChainError,
    ledger::Sealed,
    node::{Node, RuntimeAnswer, hex_json},
    runtime::Version,
};
use codec::Decode;
use frame_support::traits::Get;
use jsonrpsee::types::Params;
use serde::{Serialize, Serializer};
use serde_json::{Value, json, value::RawValue};
use sp_runtime::traits::{BlakeTwo256, Hash as _};
use sp_version::RuntimeVersion;
use std::{collections::HashMap, sync::Arc};

/// Keys that one answer may hold.
const MOST_KEYS: u32 = 1000;

pub(super) fn register(module: &mut Module) -> Result<(), ChainError> {
    values(module)?;
    keys(module)?;
    runtime(module)?;
    subscriptions(module)
}

/// A runtime's answer as `0x…`. What it looks like is made once, by the node: serde's own way through megabytes of text is long in a
/// development build.
#[derive(Clone)]
struct Written(Arc<RuntimeAnswer>);

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.hex().serialize(serializer)
    }
}

/// One storage value, as parameters `key, at`.
fn value(params: &Params<'_>, node: &Node) -> Answer<Option<Vec<u8>>> {
    let mut rest = params.sequence();
    let key: Bytes = rest.next()?;
    let block = block_at(node, next(&mut rest)?)?;
    Ok(node.storage(&block, &key))
}

fn values(module: &mut Module) -> Result<(), ChainError> {
    module.register_method("state_getStorage", |params, node, _| Answer::Ok(value(&params, node)?.map(Bytes)))?;
    module.register_alias("state_getStorageAt", "state_getStorage")?;
    module.register_method("state_getStorageHash", |params, node, _| {
        Answer::Ok(value(&params, node)?.map(|v| BlakeTwo256::hash(&v)))
    })?;
    module.register_method("state_getStorageSize", |params, node, _| {
        Answer::Ok(value(&params, node)?.map(|v| v.len()))
    })?;
    module.register_method("state_queryStorageAt", |params, node, _| -> Answer<Value> {
        let mut rest = params.sequence();
        let keys: Vec<Bytes> = rest.next()?;
        let block = block_at(node, next(&mut rest)?)?;
        Ok(json!([change_set(node, &block, &keys)]))
    })?;
    Ok(())
}

fn change_set(node: &Node, block: &Sealed, keys: &[Bytes]) -> Value {
    let changes: Vec<_> = keys.iter().map(|key| (key, node.storage(block, key).map(Bytes))).collect();
    json!({ "block": block.hash, "changes": changes })
}

fn keys(module: &mut Module) -> Result<(), ChainError> {
    module.register_method("state_getKeysPaged", |params, node, _| -> Answer<Vec<Bytes>> {
        let mut rest = params.sequence();
        let prefix: Option<Bytes> = next(&mut rest)?;
        let count: u32 = rest.next()?;
        let start: Option<Bytes> = next(&mut rest)?;
        let block = block_at(node, next(&mut rest)?)?;
        let prefix = prefix.map(|p| p.0).unwrap_or_default();
        let count = count.min(MOST_KEYS) as usize;
        let pairs = node.pairs(&block, &prefix, start.as_deref(), count);
        Ok(pairs.into_iter().map(|(key, _)| Bytes(key)).collect())
    })?;
    module.register_alias("state_getKeysPagedAt", "state_getKeysPaged")?;
    module.register_method("state_getPairs", |params, node, _| -> Answer<Vec<(Bytes, Bytes)>> {
        let mut rest = params.sequence();
        let prefix: Bytes = rest.next()?;
        let block = block_at(node, next(&mut rest)?)?;
        let pairs = node.pairs(&block, &prefix, None, usize::MAX);
        Ok(pairs.into_iter().map(|(key, value)| (Bytes(key), Bytes(value))).collect())
    })?;
    Ok(())
}

fn runtime(module: &mut Module) -> Result<(), ChainError> {
    module.register_blocking_method("state_call", |params, node, _| -> Answer<Written> {
        let mut rest = params.sequence();
        let method: String = rest.next()?;
        let arguments: Bytes = rest.next()?;
        let block = block_at(&node, next(&mut rest)?)?;
        let answer = node.call(&block, &method, &arguments)?;
        answer.map(Written).ok_or_else(|| errors::execution(&format!("Exported method {method} is not found")))
    })?;
    module.register_alias("state_callAt", "state_call")?;
    module.register_blocking_method("state_getMetadata", |params, node, _| -> Answer<Box<RawValue>> {
        let block = block_at(&node, only_hash(&params)?)?;
        let answer = node.call(&block, "Metadata_metadata", &[])?;
        let answer = answer.ok_or_else(|| errors::execution("the runtime has no metadata"))?;
        // The runtime's answer is bytes within bytes.
        let metadata = Vec::<u8>::decode(&mut &answer.bytes[..]).map_err(|e| errors::execution(&e.to_string()))?;
        Ok(hex_json(&metadata))
    })?;
    module.register_method("state_getRuntimeVersion", |params, node, _| -> Answer<RuntimeVersion> {
        let block = block_at(node, only_hash(&params)?)?;
        Ok(node.query(&block, Version::get)?)
    })?;
    module.register_alias("chain_getRuntimeVersion", "state_getRuntimeVersion")?;
    Ok(())
}

fn subscriptions(module: &mut Module) -> Result<(), ChainError> {
    module.register_subscription(
        "state_subscribeRuntimeVersion",
        "state_runtimeVersion",
        "state_unsubscribeRuntimeVersion",
        |_, pending, node, _| async move {
            let heads = node.heads();
            let head = node.head();
            let mut known = head.spec_version;
            let first = node.query(&head, Version::get).ok();
            follow(pending, heads, first, |head| {
                let changed = std::mem::replace(&mut known, head.spec_version) != known;
                changed.then(|| node.query(head, Version::get).ok())
            })
            .await;
        },
    )?;
    module.register_alias("chain_subscribeRuntimeVersion", "state_subscribeRuntimeVersion")?;
    module.register_alias("chain_unsubscribeRuntimeVersion", "state_unsubscribeRuntimeVersion")?;
    module.register_subscription(
        "state_subscribeStorage",
        "state_storage",
        "state_unsubscribeStorage",
        |params, pending, node, _| async move {
            let keys = match next::<Vec<Bytes>>(&mut params.sequence()) {
                Ok(keys) => keys.unwrap_or_default(),
                Err(error) => return pending.reject(error).await,
            };
            follow_storage(pending, &node, keys).await;
        },
    )?;
    Ok(())
}

/// The values of `keys`, then those that changed with each block.
async fn follow_storage(pending: jsonrpsee::PendingSubscriptionSink, node: &Arc<Node>, keys: Vec<Bytes>) {
    let heads = node.heads();
    let head = node.head();
    let mut known: HashMap<Vec<u8>, Option<Vec<u8>>> =
        keys.iter().map(|key| (key.to_vec(), node.storage(&head, key))).collect();
    let first = change_set(node, &head, &keys);
    follow(pending, heads, first, |head| {
        let mut changed = Vec::new();
        for key in &keys {
            let value = node.storage(head, key);
            if known.insert(key.to_vec(), value.clone()) != Some(value) {
                changed.push(key.clone());
            }
        }
        (!changed.is_empty()).then(|| change_set(node, head, &changed))
    })
    .await;
}
