//! What goes wrong between a program and the world: calls that are late, lost, done but not answered, refused for being too
//! many, answered with old or broken bytes; pages that come late or never. Wrapped around the ports; each call draws its own
//! fault. Reorganisations are the chain's own ([`crate::chain::SimChain::reorganise`]).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bistro_core::ids::{Block, Hotkey, Uid};
use bistro_core::pages::{DatasetIndex, PageId};
use bistro_core::ports::{
    BucketAddress, Chain, Metagraph, OwnBucket, Pages, PortError, PublicBuckets, Put, ReadLimits, Retry,
};
use bistro_core::tokens::TokenBatch;
use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It takes up to five seconds longer.
    Late,
    /// It never arrives.
    Lost,
    /// It is done, and the answer never arrives.
    Unanswered,
    /// An older answer comes.
    Stale,
    /// Half of the answer comes.
    Truncated,
    /// A byte of the answer is another.
    Corrupted,
    /// Nothing comes until the deadline that every real call has.
    Hung,
    /// The other side takes no more calls for now.
    Limited,
}

const FAULTS: [Fault; 8] = [
    Fault::Late,
    Fault::Lost,
    Fault::Unanswered,
    Fault::Stale,
    Fault::Truncated,
    Fault::Corrupted,
    Fault::Hung,
    Fault::Limited,
];

/// The deadline of a call that hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// Blocks by which a node that lags is behind, at most.
const BEHIND: u64 = 3;

/// Faults by seed. A clone draws from the same sequence.
#[derive(Clone)]
pub struct Faults {
    rng: Arc<Mutex<ChaCha8Rng>>,
    share: f64,
    /// Older answers of pointers, by bucket and key.
    old: Arc<Mutex<BTreeMap<(String, String), Bytes>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Faults {
    /// A `share` of all calls meets a fault.
    pub fn new(seed: u64, share: f64) -> Self {
        Self { rng: Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(seed))), share, old: Arc::default() }
    }

    fn draw(&self) -> Option<Fault> {
        let mut rng = lock(&self.rng);
        let struck = rng.random::<f64>() < self.share;
        struck.then(|| FAULTS[rng.random_range(0..FAULTS.len())])
    }

    /// A call without bytes in its answer.
    async fn call<T>(&self, call: impl Future<Output = Result<T, PortError>>) -> Result<T, PortError> {
        let fault = self.draw();
        match fault {
            None | Some(Fault::Stale) => {}
            Some(Fault::Late) => {
                let millis = lock(&self.rng).random_range(0..5_000);
                tokio::time::sleep(Duration::from_millis(millis)).await;
            }
            Some(Fault::Lost | Fault::Truncated) => return Err(lost()),
            Some(Fault::Unanswered | Fault::Corrupted) => {
                call.await?;
                return Err(lost());
            }
            Some(Fault::Hung) => return Err(hung().await),
            Some(Fault::Limited) => return Err(limited()),
        }
        call.await
    }

    /// The block that a node knows, which may lag.
    fn known(&self, block: Block) -> Block {
        let behind = if self.draw() == Some(Fault::Stale) { lock(&self.rng).random_range(1..=BEHIND) } else { 0 };
        Block(block.0.saturating_sub(behind))
    }

    /// What becomes of bytes on the way; `key` names where they come from.
    async fn read(
        &self,
        key: (String, String),
        call: impl Future<Output = Result<Option<Bytes>, PortError>>,
    ) -> Result<Option<Bytes>, PortError> {
        let fault = self.draw();
        match fault {
            Some(Fault::Late) => tokio::time::sleep(Duration::from_secs(2)).await,
            Some(Fault::Lost | Fault::Unanswered) => return Err(lost()),
            Some(Fault::Hung) => return Err(hung().await),
            Some(Fault::Limited) => return Err(limited()),
            Some(Fault::Stale) => {
                if let Some(old) = lock(&self.old).get(&key) {
                    return Ok(Some(old.clone()));
                }
            }
            _ => {}
        }
        let Some(bytes) = call.await? else { return Ok(None) };
        if Path::new(&key.1).extension().is_some_and(|end| end == "json") && lock(&self.rng).random::<f64>() < 0.2 {
            lock(&self.old).insert(key, bytes.clone());
        }
        match fault {
            Some(Fault::Truncated) => Ok(Some(bytes.slice(..bytes.len() / 2))),
            Some(Fault::Corrupted) if !bytes.is_empty() => {
                let mut broken = bytes.to_vec();
                let at = lock(&self.rng).random_range(0..broken.len());
                broken[at] ^= 1 << lock(&self.rng).random_range(0..8);
                Ok(Some(broken.into()))
            }
            _ => Ok(Some(bytes)),
        }
    }
}

fn lost() -> PortError {
    PortError { name: "Lost".into(), message: "the connection broke".into(), retry: Retry::Soon }
}

async fn hung() -> PortError {
    tokio::time::sleep(DEADLINE).await;
    PortError { name: "Timeout".into(), message: "no answer in time".into(), retry: Retry::Soon }
}

fn limited() -> PortError {
    PortError { name: "SlowDown".into(), message: "too many calls".into(), retry: Retry::Soon }
}

/// A port behind faults.
pub struct Faulty<P: ?Sized> {
    /// The port.
    pub inner: Arc<P>,
    /// What goes wrong.
    pub faults: Faults,
}

#[async_trait]
impl Chain for Faulty<dyn Chain> {
    async fn head(&self) -> Result<Block, PortError> {
        Ok(self.faults.known(self.faults.call(self.inner.head()).await?))
    }

    async fn next_block(&self, after: Block) -> Result<Block, PortError> {
        self.faults.call(self.inner.next_block(after)).await
    }

    async fn metagraph(&self) -> Result<Metagraph, PortError> {
        let metagraph = self.faults.call(self.inner.metagraph()).await?;
        Ok(Metagraph { block: self.faults.known(metagraph.block), ..metagraph })
    }

    async fn commitment(&self, hotkey: &Hotkey) -> Result<Option<String>, PortError> {
        self.faults.call(self.inner.commitment(hotkey)).await
    }

    async fn commit(&self, text: &str) -> Result<(), PortError> {
        self.faults.call(self.inner.commit(text)).await
    }

    async fn set_weights(&self, weights: &[(Uid, u16)]) -> Result<(), PortError> {
        self.faults.call(self.inner.set_weights(weights)).await
    }
}

#[async_trait]
impl OwnBucket for Faulty<dyn OwnBucket> {
    fn address(&self) -> BucketAddress {
        self.inner.address()
    }

    async fn put(&self, key: &str, body: Bytes, mode: Put) -> Result<(), PortError> {
        self.faults.call(self.inner.put(key, body, mode)).await
    }

    async fn get(&self, key: &str, max_bytes: u64) -> Result<Option<Bytes>, PortError> {
        // One's own server answers with what was put, or not at all.
        self.faults.call(self.inner.get(key, max_bytes)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, PortError> {
        self.faults.call(self.inner.list(prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<(), PortError> {
        self.faults.call(self.inner.delete(key)).await
    }
}

#[async_trait]
impl PublicBuckets for Faulty<dyn PublicBuckets> {
    async fn get(&self, bucket: &BucketAddress, key: &str, limits: ReadLimits) -> Result<Option<Bytes>, PortError> {
        let place = (bucket.name.clone(), key.to_owned());
        self.faults.read(place, self.inner.get(bucket, key, limits)).await
    }
}

#[async_trait]
impl Pages for Faulty<dyn Pages> {
    fn index(&self) -> &DatasetIndex {
        self.inner.index()
    }

    async fn page(&self, page: &PageId) -> Result<TokenBatch, PortError> {
        match self.faults.draw() {
            None => self.inner.page(page).await,
            Some(Fault::Late | Fault::Stale) => {
                tokio::time::sleep(Duration::from_secs(2)).await;
                self.inner.page(page).await
            }
            Some(Fault::Hung) => Err(hung().await),
            Some(Fault::Limited) => Err(limited()),
            Some(Fault::Lost | Fault::Unanswered) => Err(lost()),
            // Real pages are checked: what does not fit its checksum is an error, and may be for good.
            Some(Fault::Truncated | Fault::Corrupted) => {
                let message = format!("row {} of `{}` is damaged", page.row, page.config);
                Err(PortError { name: "Damaged".into(), message, retry: Retry::Never })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::chain::{Pace, SimChain};

    #[tokio::test(start_paused = true)]
    async fn as_many_calls_meet_a_fault_as_the_share_says_and_each_fault_strikes() {
        let me = Hotkey([1; 32]);
        let faults = Faults::new(3, 0.4);
        let chain: Arc<dyn Chain> =
            Arc::new(Faulty { inner: SimChain::new(vec![(me, 1)], Pace::default()).of(me), faults });
        let mut names: BTreeMap<String, u32> = BTreeMap::new();
        let mut behind = 0;
        let mut newest = Block(0);
        for _ in 0..1000 {
            match chain.head().await {
                Ok(block) => {
                    behind += u32::from(block < newest);
                    newest = newest.max(block);
                }
                Err(error) => *names.entry(error.name).or_default() += 1,
            }
        }
        // Two of eight lose the call, two the answer, one hangs, one is refused: 0.4 · 6 / 8 of all.
        let failed: u32 = names.values().sum();
        assert!((250..350).contains(&failed), "{names:?}");
        assert!(names.keys().map(String::as_str).eq(["Lost", "SlowDown", "Timeout"]), "{names:?}");
        assert!(behind > 10, "no node ever lagged");
    }
}
