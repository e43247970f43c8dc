//! One's own bucket, with credentials. The SDK's standard retries (3 attempts) are on; around them each call has a deadline
//! that grows with what it moves.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Region, SharedCredentialsProvider};
use aws_sdk_s3::primitives::ByteStream;
use bistro_core::ports::{BucketAddress, OwnBucket, PortError, Put, ReadLimits};
use bytes::Bytes;
use tokio::time::timeout;

use crate::config::{S3Config, behavior, https};
use crate::download::{Download, Found};
use crate::error::{Place, StorageError, refusal};
use crate::multipart;
use crate::pace::{GRACE, Pace};

/// Names that a listing returns at most.
pub const LIST_MAX: usize = 10_000;

/// Every call may take this long, and a second more for each [`SLOWEST`] bytes it moves.
const PATIENCE: Duration = Duration::from_mins(1);

/// Bytes a second of the slowest line that is still good enough to take part: one megabit.
const SLOWEST: u64 = 128 << 10;

/// A bucket that belongs to the operator.
pub struct S3OwnBucket {
    pub(crate) client: Client,
    address: BucketAddress,
}

impl S3OwnBucket {
    /// The bucket at `address`. Finds credentials when they are first needed; asks no network yet.
    pub async fn connect(address: BucketAddress, config: &S3Config) -> Self {
        let http = https();
        let region = config.region_or_default(address.region.as_deref());
        let provider = if let Some(keys) = &config.credentials {
            Some(SharedCredentialsProvider::new(keys.clone()))
        } else {
            let chain = aws_config::defaults(behavior()).http_client(http.clone());
            chain.region(Region::new(region.clone())).load().await.credentials_provider()
        };
        let mut builder = config.builder(&http, &region).retry_config(RetryConfig::standard().with_max_attempts(3));
        builder.set_credentials_provider(provider);
        Self { client: Client::from_conf(builder.build()), address }
    }

    /// Replaces the bucket's policy, for which keys need more rights than the program otherwise does.
    pub async fn set_policy(&self, policy: &str) -> Result<(), PortError> {
        let at = Place::setting_policy(&self.address);
        let request = Box::pin(self.client.put_bucket_policy().bucket(&self.address.name).policy(policy).send());
        within(&at, 0, async { request.await.map(|_| ()).map_err(|error| refusal(&at, &error).error) }).await
    }

    async fn put_whole(&self, at: &Place, body: Bytes, mode: Put) -> Result<(), StorageError> {
        let request = || self.client.put_object().bucket(&self.address.name).key(&at.key);
        let length = body.len() as u64;
        if mode == Put::Immutable {
            let sent = request().if_none_match("*").body(ByteStream::from(body.clone())).send().await;
            let Err(error) = sent else { return Ok(()) };
            let refused = refusal(at, &error);
            match refused.status {
                // It exists, or somebody else is writing it this moment; or the first of two attempts did it.
                Some(409 | 412) => return self.expect_length(at, length).await,
                // A server that does not know the condition. The name belongs to the content, so replacing is the same.
                Some(501) => {}
                _ => return Err(refused.error),
            }
        }
        let sent = request().body(ByteStream::from(body)).send().await;
        sent.map(|_| ()).map_err(|error| refusal(at, &error).error)
    }

    /// The object that stands where ours should is ours if it has our length.
    pub(crate) async fn expect_length(&self, at: &Place, expected: u64) -> Result<(), StorageError> {
        match self.length(at).await? {
            Some(found) if found == expected => Ok(()),
            Some(found) => Err(StorageError::Conflict { at: at.clone(), expected, found }),
            // Deleted, or still being written, in between: asking again settles it.
            None => {
                Err(StorageError::Server { at: at.clone(), status: 409, code: "ConditionalRequestConflict".into() })
            }
        }
    }

    /// Length of an object; `None` if there is none.
    pub(crate) async fn length(&self, at: &Place) -> Result<Option<u64>, StorageError> {
        match self.client.head_object().bucket(&self.address.name).key(&at.key).send().await {
            Ok(head) => Ok(Some(head.content_length.and_then(|n| u64::try_from(n).ok()).unwrap_or(0))),
            Err(error) => refusal(at, &error).absent_is_none(),
        }
    }

    async fn names(&self, at: &Place) -> Result<Vec<String>, StorageError> {
        let listing = self.client.list_objects_v2().bucket(&self.address.name).prefix(&at.key);
        let mut pages = listing.into_paginator().send();
        let mut names = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| refusal(at, &error).error)?;
            names.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
            if names.len() >= LIST_MAX {
                break;
            }
        }
        names.sort();
        names.truncate(LIST_MAX);
        Ok(names)
    }
}

/// How long moving `bytes` may take.
fn patience(bytes: u64) -> Duration {
    PATIENCE + Duration::from_secs(bytes / SLOWEST)
}

/// Runs a call, at most as long as moving `bytes` may take.
async fn within<T>(
    at: &Place,
    bytes: u64,
    call: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, PortError> {
    let after = patience(bytes);
    let late = |_| StorageError::Deadline { at: at.clone(), after };
    Ok(timeout(after, Box::pin(call)).await.map_err(late)??)
}

#[async_trait]
impl OwnBucket for S3OwnBucket {
    fn address(&self) -> BucketAddress {
        self.address.clone()
    }

    async fn put(&self, key: &str, body: Bytes, mode: Put) -> Result<(), PortError> {
        let at = Place::writing(&self.address, key);
        let length = body.len() as u64;
        within(&at, length, async {
            if length > multipart::PART {
                multipart::put(self, &at, &body, mode, multipart::PART).await
            } else {
                self.put_whole(&at, body, mode).await
            }
        })
        .await
    }

    async fn get(&self, key: &str, max_bytes: u64) -> Result<Option<Bytes>, PortError> {
        let at = Place::reading(&self.address, key);
        let deadline = patience(max_bytes);
        // One's own server may be slow, but not stand still.
        let limits = ReadLimits { max_bytes, deadline, min_bytes_per_second: SLOWEST / 8 };
        // Ten times a stranger's grace: the retries of the SDK need room.
        let pace = Arc::new(Pace::start(&at, limits, GRACE * 10));
        match Box::pin(Download { client: self.client.clone(), pace, hash: None }.run(None)).await? {
            Found::Object(bytes, _) => Ok(Some(bytes)),
            Found::Nothing | Found::Unchanged => Ok(None),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, PortError> {
        let at = Place::listing(&self.address, prefix);
        within(&at, 0, self.names(&at)).await
    }

    async fn delete(&self, key: &str) -> Result<(), PortError> {
        let at = Place::deleting(&self.address, key);
        let request = Box::pin(self.client.delete_object().bucket(&self.address.name).key(key).send());
        within(&at, 0, async {
            match request.await {
                Ok(_) => Ok(()),
                Err(error) => refusal(&at, &error).absent_is_none().map(|_: Option<()>| ()),
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_with_the_size_and_never_overflows() {
        assert_eq!(patience(0), Duration::from_mins(1));
        assert_eq!(patience(830_000_000), Duration::from_secs(60 + 6332));
        assert!(tokio::time::Instant::now().checked_add(patience(u64::MAX / 2)).is_some());
    }
}
