//! Computing that takes virtual time: a token costs the same on every machine, forward once, and twice more backward. A
//! program's ports answer only when the computing before the call is done.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bistro_core::ids::{Block, Hotkey, Uid};
use bistro_core::pages::{DatasetIndex, PageId};
use bistro_core::params::{ModelSpec, Params};
use bistro_core::ports::{
    BucketAddress, Chain, Clock, Learner, Metagraph, OwnBucket, Pages, PortError, PublicBuckets, Put, ReadLimits,
    StepReport,
};
use bistro_core::rules::Rules;
use bistro_core::tokens::TokenBatch;
use bistro_node::{Build, Parts};
use bytes::Bytes;
use tokio::time::Instant;

/// A training step costs as much as this many evaluations of the same tokens: forward, and twice that backward.
pub const STEP_COST: u32 = 3;

/// One machine: until when it computes.
#[derive(Clone)]
pub struct Machine {
    forward: Duration,
    until: Arc<Mutex<Instant>>,
}

impl Machine {
    /// A machine that takes `forward` to evaluate one token.
    pub fn new(forward: Duration) -> Self {
        Self { forward, until: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Begins to compute once what it computes already is done.
    fn compute(&self, batch: &TokenBatch, cost: u32) {
        let tokens = u32::try_from(batch.targets()).unwrap_or(u32::MAX);
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(Instant::now()) + self.forward * cost * tokens;
    }

    /// Waits until nothing is computed any more.
    async fn rest(&self) {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::time::sleep_until(until).await;
    }

    /// The world as a program on this machine meets it.
    pub fn parts(&self, parts: Parts) -> Parts {
        Parts {
            chain: Arc::new(Paced { inner: parts.chain, machine: self.clone() }),
            own: Arc::new(Paced { inner: parts.own, machine: self.clone() }),
            public: Arc::new(Paced { inner: parts.public, machine: self.clone() }),
            clock: Arc::new(Paced { inner: parts.clock, machine: self.clone() }),
            ..parts
        }
    }
}

/// A port as a program on `machine` meets it.
struct Paced<T: ?Sized> {
    inner: Arc<T>,
    machine: Machine,
}

#[async_trait]
impl Chain for Paced<dyn Chain> {
    async fn head(&self) -> Result<Block, PortError> {
        self.machine.rest().await;
        self.inner.head().await
    }

    async fn next_block(&self, after: Block) -> Result<Block, PortError> {
        self.machine.rest().await;
        self.inner.next_block(after).await
    }

    async fn metagraph(&self) -> Result<Metagraph, PortError> {
        self.machine.rest().await;
        self.inner.metagraph().await
    }

    async fn commitment(&self, hotkey: &Hotkey) -> Result<Option<String>, PortError> {
        self.machine.rest().await;
        self.inner.commitment(hotkey).await
    }

    async fn commit(&self, text: &str) -> Result<(), PortError> {
        self.machine.rest().await;
        self.inner.commit(text).await
    }

    async fn set_weights(&self, weights: &[(Uid, u16)]) -> Result<(), PortError> {
        self.machine.rest().await;
        self.inner.set_weights(weights).await
    }
}

#[async_trait]
impl OwnBucket for Paced<dyn OwnBucket> {
    fn address(&self) -> BucketAddress {
        self.inner.address()
    }

    async fn put(&self, key: &str, body: Bytes, mode: Put) -> Result<(), PortError> {
        self.machine.rest().await;
        self.inner.put(key, body, mode).await
    }

    async fn get(&self, key: &str, max_bytes: u64) -> Result<Option<Bytes>, PortError> {
        self.machine.rest().await;
        self.inner.get(key, max_bytes).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, PortError> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<(), PortError> {
        self.inner.delete(key).await
    }
}

#[async_trait]
impl PublicBuckets for Paced<dyn PublicBuckets> {
    async fn get(&self, bucket: &BucketAddress, key: &str, limits: ReadLimits) -> Result<Option<Bytes>, PortError> {
        self.machine.rest().await;
        self.inner.get(bucket, key, limits).await
    }
}

#[async_trait]
impl Clock for Paced<dyn Clock> {
    fn unix_millis(&self) -> u64 {
        self.inner.unix_millis()
    }

    async fn sleep(&self, duration: Duration) {
        self.machine.rest().await;
        self.inner.sleep(duration).await;
    }
}

struct PacedPages {
    inner: Arc<dyn Pages>,
    machine: Machine,
}

#[async_trait]
impl Pages for PacedPages {
    fn index(&self) -> &DatasetIndex {
        self.inner.index()
    }

    async fn page(&self, page: &PageId) -> Result<TokenBatch, PortError> {
        self.machine.rest().await;
        self.inner.page(page).await
    }
}

struct PacedLearner {
    inner: Box<dyn Learner>,
    machine: Machine,
}

impl Learner for PacedLearner {
    fn spec(&self) -> ModelSpec {
        self.inner.spec()
    }

    fn load(&mut self, params: &Params) -> Result<(), PortError> {
        self.inner.load(params)
    }

    fn load_sum(&mut self, base: &Params, delta: &Params, scale: f32) -> Result<(), PortError> {
        self.inner.load_sum(base, delta, scale)
    }

    fn params(&self) -> Result<Params, PortError> {
        self.inner.params()
    }

    fn loss(&mut self, batch: &TokenBatch) -> Result<f64, PortError> {
        self.machine.compute(batch, 1);
        self.inner.loss(batch)
    }

    fn train_step(&mut self, batch: &TokenBatch) -> Result<StepReport, PortError> {
        self.machine.compute(batch, STEP_COST);
        self.inner.train_step(batch)
    }

    fn reset_optimizer(&mut self) {
        self.inner.reset_optimizer();
    }
}

/// Builds what `inner` builds, on `machine`.
pub struct PacedBuild<'a> {
    /// The model and pages.
    pub inner: &'a dyn Build,
    /// Where they compute.
    pub machine: Machine,
}

impl Build for PacedBuild<'_> {
    fn pages(&self, rules: &Rules) -> Result<Arc<dyn Pages>, PortError> {
        Ok(Arc::new(PacedPages { inner: self.inner.pages(rules)?, machine: self.machine.clone() }))
    }

    fn learner(&self, rules: &Rules) -> Result<Box<dyn Learner>, PortError> {
        Ok(Box::new(PacedLearner { inner: self.inner.learner(rules)?, machine: self.machine.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch that took no time would let a network with more machines look as fast as one with fewer.
    #[tokio::test(start_paused = true)]
    async fn a_port_answers_when_the_computing_is_done() {
        let machine = Machine::new(Duration::from_millis(10));
        let batch = TokenBatch { seq: 5, ids: vec![1; 10] };
        machine.compute(&batch, STEP_COST);
        machine.compute(&batch, 1);
        let begun = Instant::now();
        machine.rest().await;
        assert_eq!(begun.elapsed().as_millis(), 8 * 10 * 4);
        machine.rest().await;
        assert_eq!(begun.elapsed().as_millis(), 8 * 10 * 4);
    }
}
