//! JSON-RPC in Substrate's words, as far as clients of subtensor use it.
//!
//! Values travel as Substrate writes them: bytes and hashes as `0x…`, numbers of blocks as numbers or `0x…`, headers as FRAME's own type.
//!
//! # Layout
//! - [`chain`]: blocks and headers, and their subscriptions
//! - [`state`]: storage, runtime calls, versions
//! - [`author`]: transactions on their way into a block
//! - [`system`]: the node itself
//! - [`faults`]: what no node should do, on demand

mod author;
mod chain;
mod errors;
mod faults;
mod state;
mod system;

use super::{error::ChainError, faults::Faults, ledger::Sealed, node::Node};
use jsonrpsee::{
    PendingSubscriptionSink, RpcModule, SubscriptionMessage, SubscriptionSink,
    types::{ErrorObjectOwned, Params},
};
use serde::Serialize;
use sp_core::Bytes;
use std::sync::Arc;
use tokio::sync::broadcast::{Receiver, error::RecvError};

type Module = RpcModule<Arc<Node>>;
type Answer<T> = Result<T, ErrorObjectOwned>;

/// All methods.
pub(super) fn module(node: Arc<Node>, faults: Option<Faults>) -> Result<Module, ChainError> {
    let mut module = RpcModule::new(node);
    chain::register(&mut module)?;
    state::register(&mut module)?;
    author::register(&mut module)?;
    system::register(&mut module)?;
    if let Some(faults) = faults {
        module.merge(faults::module(faults)?)?;
    }
    let mut methods: Vec<&'static str> = module.method_names().collect();
    methods.push("rpc_methods");
    methods.sort_unstable();
    module.register_method("rpc_methods", move |_, _, _| serde_json::json!({ "methods": methods }))?;
    Ok(module)
}

/// The parameter at the head of the rest, or its default where it is missing or null.
fn next<'a, T: serde::Deserialize<'a>>(rest: &mut jsonrpsee::types::ParamsSequence<'a>) -> Answer<Option<T>> {
    rest.optional_next()
}

/// The block that the first parameter names, the newest where it names none.
fn block_at(node: &Node, at: Option<sp_core::H256>) -> Answer<Arc<Sealed>> {
    node.block(at).ok_or_else(|| errors::unknown_block(at))
}

/// One optional hash as the only parameter.
fn only_hash(params: &Params<'_>) -> Answer<Option<sp_core::H256>> {
    next(&mut params.sequence())
}

/// Sends `first`, then what `then` makes of each new block, until the client goes.
async fn follow<T: Serialize>(
    pending: PendingSubscriptionSink,
    mut heads: Receiver<Arc<Sealed>>,
    first: T,
    mut then: impl FnMut(&Sealed) -> Option<T>,
) {
    let Ok(sink) = pending.accept().await else { return };
    if !send(&sink, &first).await {
        return;
    }
    loop {
        let head = tokio::select! {
            () = sink.closed() => return,
            head = heads.recv() => head,
        };
        match head {
            Ok(head) => {
                if let Some(item) = then(&head)
                    && !send(&sink, &item).await
                {
                    return;
                }
            }
            // Subscribers are told of newer blocks rather than of all.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Whether the client is still there.
async fn send<T: Serialize>(sink: &SubscriptionSink, item: &T) -> bool {
    match SubscriptionMessage::from_json(item) {
        Ok(message) => sink.send(message).await.is_ok(),
        Err(_) => false,
    }
}
