//! Faults on demand: what a public network does to a client sooner or later, at the moment that a test or an operator chooses.
//!
//! # Layout
//! - [`Faults`]: the handle; the same by JSON-RPC as `bistro_dropConnections`, `bistro_stall`, `bistro_refuseConnections`,
//!   `bistro_open`, `bistro_swallow`, `bistro_refuse` and `bistro_reorganise`
//! - [`gate`]: connections that break, stall or are refused
//! - [`Fate`]: what a reorganisation does to transactions

pub mod gate;

use super::{error::ChainError, node::Node};
use gate::Gate;
use jsonrpsee::types::ErrorObjectOwned;
use serde::Deserialize;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

/// What happens to the transactions of blocks that are taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// They wait again, and come into the last of the new blocks.
    Reincluded,
    /// The pool throws them out.
    Lost,
}

/// What the node itself does to the next transactions.
#[derive(Debug, Default)]
pub(crate) struct Whims {
    swallow: AtomicU32,
    refusals: Mutex<VecDeque<ErrorObjectOwned>>,
}

impl Whims {
    /// The error that meets this transaction.
    pub(crate) fn refusal(&self) -> Option<ErrorObjectOwned> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Whether this transaction is taken without a word.
    pub(crate) fn swallows(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        self.swallow.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

/// The handle of a chain whose [`super::LocalChainConfig::faults`] are on.
#[derive(Clone, Debug)]
pub struct Faults {
    node: Arc<Node>,
    gate: Arc<Gate>,
}

impl Faults {
    pub(crate) fn new(node: Arc<Node>, gate: Gate) -> Self {
        Self { node, gate: Arc::new(gate) }
    }

    /// The connections.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Takes the next `count` transactions and never answers for them: they come into their blocks, and whoever sent them is not told.
    pub fn swallow(&self, count: u32) {
        self.node.whims().swallow.store(count, Ordering::Relaxed);
    }

    /// Refuses the next transaction that is sent by this JSON-RPC error, as `1010` with data `Custom error: 6`, before the pool sees it.
    pub fn refuse(&self, code: i32, message: &str, data: Option<&str>) {
        let error = ErrorObjectOwned::owned(code, message, data);
        self.node.whims().refusals.lock().unwrap_or_else(PoisonError::into_inner).push_back(error);
    }

    /// Replaces the newest `depth` blocks by as many others and one more. Gives the number of the new newest block.
    ///
    /// # Errors
    /// [`ChainError::Depth`] when that would take back final blocks.
    pub fn reorganise(&self, depth: u32, fate: Fate) -> Result<u32, ChainError> {
        self.node.reorganise(depth, fate).map(|head| head.header.number)
    }
}
