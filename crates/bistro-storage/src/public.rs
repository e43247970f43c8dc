//! Others' buckets, anonymously. Nothing here has credentials or looks for any: the client has no provider of them, so
//! neither the environment nor an instance-metadata service is ever asked.
//!
//! One policy of repetition, inside the one deadline of a read: what the network or a busy server did is tried again, up to
//! three times with growing pauses. The SDK's own retries are off: they share one budget among all buckets, which a
//! hostile bucket could use up for the others.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{SharedHttpClient, StalledStreamProtectionConfig};
use bistro_core::ports::{BucketAddress, PortError, PublicBuckets, ReadLimits};
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::body::{GRACE, Reading};
use crate::config::{S3Config, https};
use crate::error::{Place, StorageError};

/// Times that one object is asked for.
const ATTEMPTS: u32 = 3;

/// Pause before the second attempt; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

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
}

impl S3PublicBuckets {
    /// Buckets at the operator's endpoint. The credentials in `config` are not used.
    pub fn new(config: &S3Config) -> Self {
        let config = S3Config { credentials: None, ..config.clone() };
        Self { config, http: https(), grace: GRACE, clients: Mutex::default(), moved: Mutex::default() }
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
        let config = self
            .config
            .builder(&self.http, region)
            .allow_no_auth()
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let client = Client::from_conf(config.build());
        remember(&mut clients, region.to_owned(), client.clone());
        client
    }

    fn region_of(&self, bucket: &BucketAddress) -> String {
        let moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        let region = moved.get(&bucket.name).or(bucket.region.as_ref());
        self.config.region_or_default(region.map(String::as_str))
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

    async fn attempt(
        &self,
        region: &str,
        at: &Place,
        limits: ReadLimits,
        deadline: Instant,
    ) -> Result<Option<Bytes>, StorageError> {
        let request = Box::pin(self.client(region).get_object().bucket(&at.bucket.name).key(&at.key).send());
        Reading::new(at, limits, self.grace, deadline).run(request).await
    }
}

fn remember<T>(map: &mut HashMap<String, T>, key: String, value: T) {
    if map.len() >= REMEMBERED {
        map.clear();
    }
    map.insert(key, value);
}

/// Whether to ask again at once. Slowness and a passed deadline have used their time.
fn is_passing(error: &StorageError) -> bool {
    match error {
        StorageError::Unreachable { .. } | StorageError::Truncated { .. } => true,
        StorageError::Server { status, .. } => *status >= 500 || *status == 429,
        _ => false,
    }
}

#[async_trait]
impl PublicBuckets for S3PublicBuckets {
    async fn get(&self, bucket: &BucketAddress, key: &str, limits: ReadLimits) -> Result<Option<Bytes>, PortError> {
        let at = Place::reading(bucket, key);
        let deadline = Instant::now() + limits.deadline;
        let mut attempt = 1;
        loop {
            let region = self.region_of(bucket);
            let error = match self.attempt(&region, &at, limits, deadline).await {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            let pause = FIRST_PAUSE * 2u32.pow(attempt - 1);
            let moved = self.follow(bucket, &region, &error);
            let again = moved || (is_passing(&error) && Instant::now() + pause < deadline);
            if attempt == ATTEMPTS || !again {
                return Err(error.into());
            }
            tracing::debug!(%error, attempt, "asking again");
            if !moved {
                sleep(pause).await;
            }
            attempt += 1;
        }
    }
}
