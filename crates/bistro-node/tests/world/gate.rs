//! What may stand before the buckets: each call passes at once, or later, or is refused.

use std::sync::Arc;

use async_trait::async_trait;
use bistro_core::ports::{BucketAddress, OwnBucket, PortError, PublicBuckets, Put, ReadLimits};
use bistro_node::Parts;
use bytes::Bytes;

/// Whether the object `key` may be read, and written.
#[async_trait]
pub trait Rule: Send + Sync + 'static {
    async fn read(&self, _key: &str) -> Result<(), PortError> {
        Ok(())
    }

    async fn write(&self, _key: &str) -> Result<(), PortError> {
        Ok(())
    }
}

/// The world with its buckets behind `rule`.
pub fn behind(rule: impl Rule, parts: Parts) -> Parts {
    let rule = Arc::new(rule);
    let own = Arc::new(FakeGate { rule: rule.clone(), behind: parts.own.clone() });
    let public = Arc::new(FakeGate { rule, behind: parts.public.clone() });
    Parts { own, public, ..parts }
}

struct FakeGate<R, B: ?Sized> {
    rule: Arc<R>,
    behind: Arc<B>,
}

#[async_trait]
impl<R: Rule> PublicBuckets for FakeGate<R, dyn PublicBuckets> {
    async fn get(&self, bucket: &BucketAddress, key: &str, limits: ReadLimits) -> Result<Option<Bytes>, PortError> {
        self.rule.read(key).await?;
        self.behind.get(bucket, key, limits).await
    }
}

#[async_trait]
impl<R: Rule> OwnBucket for FakeGate<R, dyn OwnBucket> {
    fn address(&self) -> BucketAddress {
        self.behind.address()
    }

    async fn put(&self, key: &str, body: Bytes, mode: Put) -> Result<(), PortError> {
        self.rule.write(key).await?;
        self.behind.put(key, body, mode).await
    }

    async fn get(&self, key: &str, max_bytes: u64) -> Result<Option<Bytes>, PortError> {
        self.rule.read(key).await?;
        self.behind.get(key, max_bytes).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, PortError> {
        self.behind.list(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<(), PortError> {
        self.behind.delete(key).await
    }
}
