//! The connection to a subtensor node, and the port's methods over it.
//!
//! Reads happen at the node's *best* block, not the finalised one: on the real chain finality is two or three blocks behind,
//! and a commitment must be seen as soon as it is in a block. A write returns when its block is final, or has stood for some
//! blocks where finality does not come. A reorganisation may take a block back before that; the pool then includes the
//! transaction again by itself, since it is bound to a final block, and a write that is not included again is an error.
//!
//! # Layout
//! - `link`, `heads`: the connection, and the newest block over it
//! - `read`, `answers`: what is read, and how it is checked
//! - `calls`, `submit`, `effect`: what is written, how it is sent, and how a lost call is found
//! - `commitment`, `weights`, `reveal`: the two writes of miners and validators
//! - [`survey`]: what could keep a program from its work, read before it begins

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bistro_core::ids::{Block, Hotkey, NetUid, Uid};
use bistro_core::ports::{Chain, Metagraph, PortError};
use tokio::task::JoinHandle;

use crate::error::{ChainError, Refusal};
use crate::identity::Keypair;
use crate::network::Network;

mod answers;
mod calls;
mod commitment;
mod effect;
mod heads;
mod link;
mod read;
mod reveal;
mod submit;
pub mod survey;
mod weights;

#[cfg(test)]
pub(crate) use answers::tests::real_runtimes;
use heads::Heads;
use link::Link;

/// The longest text of a commitment, bytes.
pub const MAX_COMMITMENT_BYTES: usize = 128;

/// How long things may take. What is `None` follows from the chain's block time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// One read, or handing a transaction to the node.
    pub call: Duration,
    /// From handing over a transaction to its block; 10 block times, but at least 30 s.
    pub inclusion: Option<Duration>,
    /// How long [`Chain::next_block`] waits; 10 block times, but at least 30 s.
    pub patience: Option<Duration>,
    /// How long the chain is searched for a call whose acknowledgement was lost; 3 block times, 3 s to 1 minute.
    pub search: Option<Duration>,
    /// From a transaction's block to its finality, or how long that block must have stood without it; 6 block times, 2 s to
    /// 2 minutes. Zero: a write returns with its first block.
    pub settle: Option<Duration>,
    /// A connection over which nothing comes for that long, answers to pings included, is dead.
    pub silence: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(30),
            inclusion: None,
            patience: None,
            search: None,
            settle: None,
            silence: Duration::from_secs(30),
        }
    }
}

/// A subnet of a subtensor chain, as one hotkey meets it. Keeps one connection, follows the chain's head in a background
/// task, and reconnects (to the network's next endpoint) by itself.
pub struct SubtensorChain {
    netuid: NetUid,
    key: Option<Keypair>,
    link: Arc<Link>,
    heads: Heads,
    block_time: Duration,
    deadlines: Deadlines,
    /// One write at a time: two with the same nonce would throw each other out.
    writing: tokio::sync::Mutex<()>,
    follower: JoinHandle<()>,
}

impl Drop for SubtensorChain {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl SubtensorChain {
    /// Connects to `network` for subnet `netuid`. Without `key`, only reading works.
    pub async fn connect(network: &Network, netuid: NetUid, key: Option<Keypair>) -> Result<Self, ChainError> {
        Self::connect_with(network, netuid, key, Deadlines::default()).await
    }

    /// The same with deadlines of one's own.
    pub async fn connect_with(
        network: &Network,
        netuid: NetUid,
        key: Option<Keypair>,
        deadlines: Deadlines,
    ) -> Result<Self, ChainError> {
        let link = Arc::new(Link::connect(network.clone(), deadlines.call, deadlines.silence).await?);
        let at = link.best().await?;
        let block_time = read::block_time(&at);
        let heads = Heads::new(Block(at.block_number()));
        tracing::info!(
            network = network.name,
            block = at.block_number(),
            runtime = at.spec_version(),
            block_seconds = block_time.as_secs_f32(),
            "connected to the chain"
        );
        let follower = tokio::spawn(heads::follow(link.clone(), heads.clone(), block_time));
        let writing = tokio::sync::Mutex::new(());
        Ok(Self { netuid, key, link, heads, block_time, deadlines, writing, follower })
    }

    /// The chain's block time as its runtime states it.
    pub fn block_time(&self) -> Duration {
        self.block_time
    }

    /// The weights that `uid` has on the chain, each of `0..=65535`, empty if it never set any.
    pub async fn weights_of(&self, uid: Uid) -> Result<Vec<(Uid, u16)>, ChainError> {
        let at = self.link.best().await?;
        let weights = self.link.within("reading weights", read::weights(&at, self.netuid, uid)).await?;
        Ok(weights.into_iter().map(|(uid, weight)| (Uid(uid), weight)).collect())
    }

    /// The slot that `hotkey` holds on the subnet.
    pub async fn uid_of(&self, hotkey: &Hotkey) -> Result<Option<Uid>, ChainError> {
        let at = self.link.best().await?;
        self.link.within("reading a uid", read::uid(&at, self.netuid, hotkey)).await
    }

    /// Registers `hotkey` on the subnet at the chain's price, paid by `coldkey`. Nothing is sent if it is registered already.
    pub async fn burned_register(&self, coldkey: &Keypair, hotkey: &Hotkey) -> Result<Uid, ChainError> {
        if let Some(uid) = self.uid_of(hotkey).await? {
            return Ok(uid);
        }
        let sent = self.send(coldkey, "burned_register", &calls::burned_register(self.netuid, hotkey)).await;
        match (self.uid_of(hotkey).await, sent) {
            (Ok(Some(uid)), _) => Ok(uid),
            (_, Err(error)) | (Err(error), Ok(_)) => Err(error),
            (Ok(None), Ok(_)) => Err(ChainError::NotRegistered { hotkey: *hotkey, netuid: self.netuid }),
        }
    }

    /// Stakes `amount` rao of `coldkey` on `hotkey` in the subnet. Repeating it stakes again.
    pub async fn add_stake(&self, coldkey: &Keypair, hotkey: &Hotkey, amount: u64) -> Result<(), ChainError> {
        self.send(coldkey, "add_stake", &calls::add_stake(self.netuid, hotkey, amount)).await.map(drop)
    }

    /// Lets the subnet be staked on, by the key that rules a private chain (`sudo`). Returns whether that was needed.
    pub async fn enable_stake(&self, sudo: &Keypair) -> Result<bool, ChainError> {
        let takes_stake = async || {
            let at = self.link.best().await?;
            self.link.within("reading whether stake is taken", read::takes_stake(&at, self.netuid)).await
        };
        if takes_stake().await? {
            return Ok(false);
        }
        for _ in 0..CLOSED_BLOCKS {
            let block = self.send(sudo, "sudo", &calls::enable_stake(self.netuid)).await?;
            if takes_stake().await? {
                return Ok(true);
            }
            // The outer call succeeds whatever the inner one does; a subnet's settings are closed for some blocks before its epoch.
            self.wait_for_block(block).await?;
        }
        Err(ChainError::Refused { call: "sudo", refusal: Refusal::named("SubtokenDisabled") })
    }

    /// Moves `amount` rao from `coldkey` to the account `to`. Repeating it moves them again.
    pub async fn transfer(&self, coldkey: &Keypair, to: &Hotkey, amount: u64) -> Result<(), ChainError> {
        self.send(coldkey, "transfer_keep_alive", &calls::transfer(to, amount)).await.map(drop)
    }

    async fn newest(&self) -> Result<Block, ChainError> {
        if let Some(block) = self.heads.fresh(self.block_time * 2) {
            return Ok(block);
        }
        let block = self.link.head().await?;
        self.heads.publish(block);
        Ok(block)
    }

    async fn wait_for_block(&self, after: Block) -> Result<Block, ChainError> {
        let waited = self.deadlines.patience.unwrap_or((self.block_time * 10).max(MIN_PATIENCE));
        if let Some(block) = self.heads.later_than(after, waited).await {
            return Ok(block);
        }
        let block = self.link.head().await?;
        self.heads.publish(block);
        if block > after { Ok(block) } else { Err(ChainError::NoNewBlock { after, waited }) }
    }

    async fn read_metagraph(&self) -> Result<Metagraph, ChainError> {
        let at = self.link.best().await?;
        self.link.within("reading the metagraph", read::metagraph(&at, self.netuid)).await
    }

    /// Signs and sends, and waits until the call is in a block that stays, and succeeded.
    async fn send(&self, key: &Keypair, call: &'static str, payload: &calls::Call) -> Result<Block, ChainError> {
        let usual = (self.block_time * 6).clamp(Duration::from_secs(2), Duration::from_mins(2));
        let patience = submit::Patience {
            inclusion: self.deadlines.inclusion.unwrap_or((self.block_time * 10).max(MIN_PATIENCE)),
            settle: self.deadlines.settle.unwrap_or(usual),
        };
        let _one_at_a_time = self.writing.lock().await;
        submit::submit(&self.link, key, call, payload, patience).await
    }

    /// The block of `hotkey`'s last weights, and the block at which that was read.
    async fn last_update(&self, hotkey: &Hotkey) -> Result<(Option<u64>, u64), ChainError> {
        let at = self.link.best().await?;
        let last = self.link.within("reading the last update", read::last_update(&at, self.netuid, hotkey)).await?;
        Ok((last, at.block_number()))
    }
}

/// Longer than a subnet's settings stay closed.
const CLOSED_BLOCKS: usize = 30;

/// Even a chain of very short blocks is waited for this long.
const MIN_PATIENCE: Duration = Duration::from_secs(30);

#[async_trait]
impl Chain for SubtensorChain {
    async fn head(&self) -> Result<Block, PortError> {
        Ok(self.newest().await?)
    }

    async fn next_block(&self, after: Block) -> Result<Block, PortError> {
        Ok(self.wait_for_block(after).await?)
    }

    async fn metagraph(&self) -> Result<Metagraph, PortError> {
        Ok(self.read_metagraph().await?)
    }

    async fn commitment(&self, hotkey: &Hotkey) -> Result<Option<String>, PortError> {
        Ok(self.read_commitment(hotkey).await?)
    }

    async fn commitments(&self, hotkeys: &[Hotkey]) -> Result<BTreeMap<Hotkey, Option<String>>, PortError> {
        Ok(self.read_commitments(hotkeys).await?)
    }

    async fn commit(&self, text: &str) -> Result<(), PortError> {
        Ok(self.send_commitment(text).await?)
    }

    async fn set_weights(&self, weights: &[(Uid, u16)]) -> Result<(), PortError> {
        Ok(self.send_weights(weights).await?)
    }
}
