//! Buckets in memory: both ports over one shared map, so that a whole network of miners and validators exchanges deltas in
//! one process. Everything happens at once; what a network does to reads is put in by hand ([`FakeBuckets::break_bucket`],
//! [`FakeBuckets::plant`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bistro_core::ports::{BucketAddress, OwnBucket, PortError, PublicBuckets, Put, ReadLimits};
use bytes::Bytes;

use crate::error::{Place, StorageError};
use crate::own::LIST_MAX;

/// One bucket: its objects by key, and the fault that every access meets while it is set.
#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Bytes>,
    fault: Option<PortError>,
}

/// All buckets of a network. A clone is another handle on the same buckets; as [`PublicBuckets`] it reads them anonymously.
#[derive(Clone, Default)]
pub struct FakeBuckets {
    buckets: Arc<Mutex<BTreeMap<String, Bucket>>>,
}

impl FakeBuckets {
    /// No buckets yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates bucket `name` unless it exists, and hands out its owner's view.
    ///
    /// # Panics
    /// If `name` is no bucket name.
    pub fn own(&self, name: &str) -> FakeOwnBucket {
        let address = BucketAddress::parse(name).expect("a fake bucket has a valid name");
        self.lock().entry(address.name.clone()).or_default();
        FakeOwnBucket { buckets: self.clone(), address }
    }

    /// Every access to `bucket` fails with `fault` from now on; `None` mends it.
    pub fn break_bucket(&self, bucket: &str, fault: Option<PortError>) {
        self.lock().entry(bucket.to_owned()).or_default().fault = fault;
    }

    /// Puts bytes where an attacker or a broken disk would: no mode, no fault, no questions.
    pub fn plant(&self, bucket: &str, key: &str, body: impl Into<Bytes>) {
        self.lock().entry(bucket.to_owned()).or_default().objects.insert(key.to_owned(), body.into());
    }

    /// Removes an object behind everybody's back; what it was.
    pub fn steal(&self, bucket: &str, key: &str) -> Option<Bytes> {
        self.lock().get_mut(bucket)?.objects.remove(key)
    }

    /// The object, if there is one.
    pub fn peek(&self, bucket: &str, key: &str) -> Option<Bytes> {
        self.lock().get(bucket)?.objects.get(key).cloned()
    }

    /// All keys of a bucket, in order.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        self.lock().get(bucket).map(|b| b.objects.keys().cloned().collect()).unwrap_or_default()
    }

    // A panic of one test thread must not hide the others' results behind a poisoned lock.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `act` on the bucket, if it exists and is not broken.
    fn with<T>(
        &self,
        at: Place,
        act: impl FnOnce(&mut BTreeMap<String, Bytes>, Place) -> Result<T, StorageError>,
    ) -> Result<T, PortError> {
        let mut buckets = self.lock();
        let Some(bucket) = buckets.get_mut(&at.bucket.name) else {
            return Err(StorageError::NoSuchBucket(at).into());
        };
        if let Some(fault) = &bucket.fault {
            return Err(fault.clone());
        }
        act(&mut bucket.objects, at).map_err(Into::into)
    }

    fn read(&self, bucket: &BucketAddress, key: &str, max_bytes: u64) -> Result<Option<Bytes>, PortError> {
        self.with(Place::reading(bucket, key), |objects, at| match objects.get(key) {
            Some(body) if body.len() as u64 > max_bytes => {
                Err(StorageError::TooLarge { at, max_bytes, stated: Some(body.len() as u64) })
            }
            found => Ok(found.cloned()),
        })
    }
}

#[async_trait]
impl PublicBuckets for FakeBuckets {
    async fn get(&self, bucket: &BucketAddress, key: &str, limits: ReadLimits) -> Result<Option<Bytes>, PortError> {
        self.read(bucket, key, limits.max_bytes)
    }
}

/// One bucket of [`FakeBuckets`], as its owner sees it.
#[derive(Clone)]
pub struct FakeOwnBucket {
    buckets: FakeBuckets,
    address: BucketAddress,
}

#[async_trait]
impl OwnBucket for FakeOwnBucket {
    fn address(&self) -> BucketAddress {
        self.address.clone()
    }

    async fn put(&self, key: &str, body: Bytes, mode: Put) -> Result<(), PortError> {
        self.buckets.with(Place::writing(&self.address, key), |objects, at| match (mode, objects.get(key)) {
            (Put::Immutable, Some(there)) if there.len() == body.len() => Ok(()),
            (Put::Immutable, Some(there)) => {
                Err(StorageError::Conflict { at, expected: body.len() as u64, found: there.len() as u64 })
            }
            _ => {
                objects.insert(key.to_owned(), body);
                Ok(())
            }
        })
    }

    async fn get(&self, key: &str, max_bytes: u64) -> Result<Option<Bytes>, PortError> {
        self.buckets.read(&self.address, key, max_bytes)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, PortError> {
        self.buckets.with(Place::listing(&self.address, prefix), |objects, _| {
            let from = objects.range(prefix.to_owned()..).map(|(key, _)| key);
            Ok(from.take_while(|key| key.starts_with(prefix)).take(LIST_MAX).cloned().collect())
        })
    }

    async fn delete(&self, key: &str) -> Result<(), PortError> {
        self.buckets.with(Place::deleting(&self.address, key), |objects, _| {
            objects.remove(key);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use bistro_core::ports::Retry;

    use super::*;

    #[tokio::test]
    async fn the_fake_conforms() {
        let buckets = FakeBuckets::new();
        crate::conformance::check(&buckets.own("a-shop"), &buckets).await;
    }

    #[tokio::test]
    async fn a_broken_bucket_fails_for_all_until_mended() {
        let buckets = FakeBuckets::new();
        let own = buckets.own("a-shop");
        let fault = PortError { name: "Server".into(), message: "503".into(), retry: Retry::Soon };
        buckets.break_bucket("a-shop", Some(fault.clone()));
        assert_eq!(own.list("").await, Err(fault.clone()));
        assert_eq!(own.put("k", Bytes::new(), Put::Replace).await, Err(fault));
        buckets.break_bucket("a-shop", None);
        own.put("k", Bytes::new(), Put::Replace).await.unwrap();
        assert_eq!(buckets.steal("a-shop", "k"), Some(Bytes::new()));
        assert_eq!(own.get("k", 1).await, Ok(None));
    }
}
