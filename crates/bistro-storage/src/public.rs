//! Others' buckets, anonymously. Nothing here has credentials or looks for any: the client has no provider of them, so
//! neither the environment nor an instance-metadata service is ever asked.
//!
//! The SDK's own retries are off: they share one budget among all buckets, which a hostile bucket could use up for the
//! others. See `pace` for ours.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::SharedHttpClient;
use bistro_core::ids::Hash;
use bistro_core::ports::{BucketAddress, PortError, PublicBuckets, ReadLimits};
use bytes::Bytes;

use crate::config::{S3Config, https};
use crate::download::{Download, Found};
use crate::error::{Place, StorageError};
use crate::pace::{GRACE, Pace};
use crate::pointers::{Pointers, SMALL};

/// Regions and buckets remembered at most: their names are strangers' text. A full memory is emptied.
const REMEMBERED: usize = 1024;

/// Reads objects of buckets that are public for reading.
pub struct S3PublicBuckets {
    config: S3Config,
    http: SharedHttpClient,
    grace: Duration,
    /// By region.
    clients: Mutex<HashMap<String, Client>>,
    /// Where AWS said a bucket really is, by bucket name.
    moved: Mutex<HashMap<String, String>>,
    pointers: Pointers,
}

impl S3PublicBuckets {
    /// Buckets at the operator's endpoint. The credentials in `config` are not used.
    pub fn new(config: &S3Config) -> Self {
        let config = S3Config { credentials: None, ..config.clone() };
        let (clients, moved, pointers) = Default::default();
        Self { config, http: https(), grace: GRACE, clients, moved, pointers }
    }

    /// Judges throughput from `grace` after the request on, instead of 5 seconds.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    fn client(&self, region: &str) -> Client {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(region) {
            return client.clone();
        }
        let client = self.config.anonymous(&self.http, region);
        remember(&mut clients, region.to_owned(), client.clone());
        client
    }

    /// The client that reaches `bucket`, and its region.
    pub(crate) fn client_of(&self, bucket: &BucketAddress) -> (Client, String) {
        let moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner).get(&bucket.name).cloned();
        let region = self.config.region_or_default(moved.as_ref().or(bucket.region.as_ref()).map(String::as_str));
        (self.client(&region), region)
    }

    /// Notes the region that AWS names for a bucket, unless it is the one already asked. At a custom endpoint there is
    /// nowhere else to go.
    fn follow(&self, bucket: &BucketAddress, asked: &str, error: &StorageError) -> bool {
        let StorageError::WrongRegion { wanted: Some(wanted), .. } = error else { return false };
        let news = self.config.endpoint_url.is_none() && wanted != asked;
        if news {
            let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
            remember(&mut moved, bucket.name.clone(), wanted.clone());
        }
        news
    }

    async fn read(&self, at: &Place, limits: ReadLimits, hash: Option<&Hash>) -> Result<Option<Bytes>, StorageError> {
        // What has a hash is immutable, and read once.
        let pointer = limits.max_bytes <= SMALL && hash.is_none();
        let known = self.pointers.get(at, limits.max_bytes).filter(|_| pointer);
        let (client, region) = self.client_of(&at.bucket);
        let pace = Arc::new(Pace::start(at, limits, self.grace));
        let mut read = Download { client, pace, hash: hash.copied() };
        let mut outcome = Box::pin(read.run(known.as_ref().map(|known| known.etag.as_str()))).await;
        if let Err(error) = &outcome
            && self.follow(&at.bucket, &region, error)
        {
            (read.client, _) = self.client_of(&at.bucket);
            outcome = Box::pin(read.run(None)).await;
        }
        match outcome? {
            Found::Nothing => Ok(None),
            Found::Unchanged => Ok(known.map(|known| known.bytes)),
            Found::Object(bytes, etag) => {
                if pointer {
                    self.pointers.put(at, etag, &bytes);
                }
                Ok(Some(bytes))
            }
        }
    }
}

fn remember<T>(map: &mut HashMap<String, T>, key: String, value: T) {
    if map.len() >= REMEMBERED {
        map.clear();
    }
    map.insert(key, value);
}

#[async_trait]
impl PublicBuckets for S3PublicBuckets {
    async fn get(&self, bucket: &BucketAddress, key: &str, limits: ReadLimits) -> Result<Option<Bytes>, PortError> {
        Ok(self.read(&Place::reading(bucket, key), limits, None).await?)
    }

    async fn get_hashed(
        &self,
        bucket: &BucketAddress,
        key: &str,
        limits: ReadLimits,
        hash: &Hash,
    ) -> Result<Option<Bytes>, PortError> {
        Ok(self.read(&Place::reading(bucket, key), limits, Some(hash)).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong_region(wanted: Option<&str>) -> StorageError {
        let at = Place::reading(&BucketAddress::parse("shop").unwrap(), "k");
        StorageError::WrongRegion { at, wanted: wanted.map(Into::into) }
    }

    #[test]
    fn a_bucket_is_followed_to_the_region_that_aws_names_once() {
        let (public, shop) =
            (S3PublicBuckets::new(&S3Config::default()), BucketAddress::parse("shop@eu-west-1").unwrap());
        assert_eq!(public.client_of(&shop).1, "eu-west-1");
        assert!(public.follow(&shop, "eu-west-1", &wrong_region(Some("us-west-2"))));
        assert_eq!(public.client_of(&shop).1, "us-west-2", "it is asked there from now on");
        assert!(
            !public.follow(&shop, "us-west-2", &wrong_region(Some("us-west-2"))),
            "two servers could go on for ever"
        );
        assert!(!public.follow(&shop, "us-west-2", &wrong_region(None)));
    }

    #[test]
    fn at_an_endpoint_of_one_s_own_there_is_nowhere_else_to_go() {
        let config = S3Config { endpoint_url: Some("http://127.0.0.1:1".into()), ..S3Config::default() };
        let (public, shop) = (S3PublicBuckets::new(&config), BucketAddress::parse("shop").unwrap());
        assert!(!public.follow(&shop, "us-east-1", &wrong_region(Some("eu-west-1"))));
    }
}
