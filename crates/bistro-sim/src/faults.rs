//! What goes wrong between a program and the world: calls that are late, lost, done but not answered, answered with old or
//! broken bytes. Wrapped around the ports; each call draws its own fault.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bistro_core::ids::{Block, Hotkey, Uid};
use bistro_core::ports::{
    BucketAddress, Chain, Metagraph, OwnBucket, PortError, PublicBuckets, Put, ReadLimits, Retry,
};
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
}

const FAULTS: [Fault; 6] =
    [Fault::Late, Fault::Lost, Fault::Unanswered, Fault::Stale, Fault::Truncated, Fault::Corrupted];

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
        }
        call.await
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
        self.faults.call(self.inner.head()).await
    }

    async fn next_block(&self, after: Block) -> Result<Block, PortError> {
        self.faults.call(self.inner.next_block(after)).await
    }

    async fn metagraph(&self) -> Result<Metagraph, PortError> {
        self.faults.call(self.inner.metagraph()).await
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
