//! The chain's head: a subscription in a background task, polling where that is silent, and reconnecting.

use std::sync::Arc;
use std::time::Duration;

use bistro_core::ids::Block;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::link::Link;
use crate::error::ChainError;

/// The longest pause between two attempts to connect.
const MAX_PAUSE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy)]
struct Head {
    block: Block,
    /// When a node last said so.
    seen: Instant,
}

/// The newest block known. It never goes back: blocks are a clock here, and a node that lags must not turn it.
#[derive(Clone)]
pub(super) struct Heads(Arc<watch::Sender<Head>>);

impl Heads {
    pub(super) fn new(block: Block) -> Self {
        Self(Arc::new(watch::Sender::new(Head { block, seen: Instant::now() })))
    }

    /// Notes what a node said; whether it was news.
    pub(super) fn publish(&self, block: Block) -> bool {
        self.0.send_if_modified(|head| {
            head.seen = Instant::now();
            let news = block > head.block;
            head.block = head.block.max(block);
            news
        })
    }

    pub(super) fn last(&self) -> Block {
        self.0.borrow().block
    }

    /// The newest block, if a node confirmed it within `age`.
    pub(super) fn fresh(&self, age: Duration) -> Option<Block> {
        let head = *self.0.borrow();
        (head.seen.elapsed() <= age).then_some(head.block)
    }

    /// Waits up to `patience` for a block later than `after`.
    pub(super) async fn later_than(&self, after: Block, patience: Duration) -> Option<Block> {
        let mut heads = self.0.subscribe();
        let head = timeout(patience, heads.wait_for(|head| head.block > after)).await;
        head.ok()?.ok().map(|head| head.block)
    }
}

/// Follows the chain for ever: the task of [`super::SubtensorChain`].
pub(super) async fn follow(link: Arc<Link>, heads: Heads, block_time: Duration) {
    let quiet = (block_time * 2).max(Duration::from_secs(2));
    let poll = (block_time / 4).clamp(Duration::from_millis(100), Duration::from_secs(3));
    let mut failures = 0_u32;
    loop {
        let began = Instant::now();
        let ended = listen(&link, &heads, quiet).await;
        tracing::debug!(%ended, "the subscription to heads ended");
        // Ask once before judging the connection: where subscriptions do not work, this is the way to follow.
        match link.head().await {
            Ok(block) => {
                heads.publish(block);
                failures = 0;
                // A subscription that worked is made again at once.
                sleep(poll.saturating_sub(began.elapsed())).await;
                continue;
            }
            Err(error) => tracing::warn!(%error, "lost the chain; connecting again"),
        }
        // The first attempt is made at once. A node that takes connections and answers nothing counts as a failure as well.
        if let Some(before) = failures.checked_sub(1) {
            sleep(pause(before)).await;
        }
        failures = failures.saturating_add(1);
        if let Err(error) = link.redial().await {
            tracing::warn!(%error, "could not connect again");
        }
    }
}

/// Before the next attempt to connect, after so many that failed: twice as long each time.
fn pause(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.min(5)).min(MAX_PAUSE)
}

/// Publishes the heads of one subscription until it ends; says why it did.
async fn listen(link: &Link, heads: &Heads, quiet: Duration) -> ChainError {
    let what = "following the chain";
    let subscribe = async { link.rpc().chain_subscribe_new_heads().await.map_err(|e| ChainError::from_read(what, e)) };
    let mut stream = match link.within(what, subscribe).await {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    loop {
        match timeout(quiet, stream.next()).await {
            Ok(Some(Ok(header))) => {
                heads.publish(Block(header.number));
            }
            Ok(Some(Err(error))) => return ChainError::from_read(what, error),
            Ok(None) => return ChainError::Connection { what, why: "the stream ended".into() },
            // Silence: the chain stands still, or the subscription is dead and the poll knows better.
            Err(_) => match link.head().await {
                Ok(block) if heads.publish(block) => {
                    return ChainError::Connection { what, why: "the stream missed a block".into() };
                }
                Ok(_) => {}
                Err(error) => return error,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use subxt_rpcs::client::MockRpcClient;
    use subxt_rpcs::client::mock_rpc_client::Json;

    use super::*;
    use crate::client::link::tests::link_over;

    fn header(number: u64) -> serde_json::Value {
        let zero = format!("0x{}", "00".repeat(32));
        serde_json::json!({
            "parentHash": zero, "number": format!("0x{number:x}"), "stateRoot": zero, "extrinsicsRoot": zero,
            "digest": { "logs": [] },
        })
    }

    #[test]
    fn pauses_grow_to_half_a_minute() {
        let seconds: Vec<u64> = [0, 1, 2, 3, 4, 5, 60].map(|failures| pause(failures).as_secs()).into();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[tokio::test]
    async fn the_head_never_goes_back() {
        let heads = Heads::new(Block(5));
        assert!(heads.publish(Block(7)));
        assert!(!heads.publish(Block(6)));
        assert_eq!(heads.last(), Block(7));
        assert_eq!(heads.later_than(Block(6), Duration::ZERO).await, Some(Block(7)));
        assert_eq!(heads.later_than(Block(7), Duration::ZERO).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_without_subscriptions_is_polled() {
        let number = AtomicU64::new(10);
        let mock = MockRpcClient::builder()
            .method_handler("chain_getHeader", move |_| {
                let number = number.fetch_add(1, Ordering::Relaxed);
                async move { Json(header(number)) }
            })
            .build();
        let heads = Heads::new(Block(1));
        let task = tokio::spawn(follow(Arc::new(link_over(mock).await), heads.clone(), Duration::from_secs(12)));
        assert_eq!(heads.later_than(Block(11), Duration::from_mins(1)).await, Some(Block(12)));
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_subscription_is_checked_by_polling() {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        sender.send(Json(header(3))).await.unwrap();
        let mock = MockRpcClient::builder()
            .subscription_handler_once("chain_subscribeNewHeads", async |_, _| receiver)
            .method_handler("chain_getHeader", async |_| Json(header(9)))
            .build();
        let heads = Heads::new(Block(1));
        let task = tokio::spawn(follow(Arc::new(link_over(mock).await), heads.clone(), Duration::from_secs(1)));
        assert_eq!(heads.later_than(Block(1), Duration::from_mins(1)).await, Some(Block(3)));
        assert_eq!(heads.later_than(Block(3), Duration::from_mins(1)).await, Some(Block(9)));
        assert!(sender.is_closed(), "it subscribes anew");
        task.abort();
    }
}
