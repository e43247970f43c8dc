//! Files of a bucket.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
pub use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Region, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use bytes::{Bytes, BytesMut};

use super::{Blobs, MAX_FILES, check_range, is_plain};
use crate::error::PagesError;
use crate::fault::Fault;

/// Longest time for one range.
const DEADLINE: Duration = Duration::from_mins(2);

/// Where a dataset's bucket is. The operator's own word.
#[derive(Clone, Debug, Default)]
pub struct S3Options {
    /// The server; AWS itself if absent.
    pub endpoint_url: Option<String>,
    /// The bucket's region; `us-east-1` if absent.
    pub region: Option<String>,
    /// Keys; requests are anonymous if absent. Debug output hides the secret.
    pub credentials: Option<Credentials>,
}

/// The files below `BUCKET/PREFIX`.
pub struct S3Blobs {
    client: Client,
    bucket: String,
    /// Empty, or ends with `/`.
    prefix: String,
}

impl S3Blobs {
    /// `place` is `BUCKET` or `BUCKET/PREFIX`. No network is asked yet.
    pub fn new(place: &str, options: &S3Options) -> Result<Self, PagesError> {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let prefix = prefix.trim_end_matches('/');
        if bucket.is_empty() || !(prefix.is_empty() || is_plain(prefix)) {
            return Err(PagesError::page(Fault::NotFound, format!("s3://{place}"), "write s3://BUCKET/PREFIX"));
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(30))
            .operation_timeout(DEADLINE);
        let mut builder = Builder::new()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .region(Region::new(options.region.clone().unwrap_or_else(|| "us-east-1".into())))
            .retry_config(RetryConfig::standard().with_max_attempts(4))
            .timeout_config(timeouts.build())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &options.endpoint_url {
            builder = builder.endpoint_url(endpoint).force_path_style(true);
        }
        builder = match &options.credentials {
            Some(credentials) => builder.credentials_provider(credentials.clone()),
            None => builder.allow_no_auth(),
        };
        Ok(Self { client: Client::from_conf(builder.build()), bucket: bucket.into(), prefix })
    }

    fn fault<E: ProvideErrorMetadata + std::error::Error + 'static>(
        &self,
        path: &str,
        error: &SdkError<E>,
    ) -> PagesError {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let fault = match (error, status) {
            (SdkError::TimeoutError(_), _) => Fault::TooSlow,
            (SdkError::DispatchFailure(e), _) if e.is_timeout() => Fault::TooSlow,
            (SdkError::DispatchFailure(_), _) => Fault::NoNetwork,
            (_, Some(401 | 403)) => Fault::Refused,
            (_, Some(404)) => Fault::NotFound,
            (_, Some(416)) => Fault::DatasetChanged,
            (_, Some(429)) => Fault::RateLimited,
            (_, Some(500..)) => Fault::ServerError,
            _ => Fault::BadAnswer,
        };
        let mut cause: &dyn std::error::Error = error;
        while let Some(below) = cause.source() {
            cause = below;
        }
        let code = error.code().map(|code| format!("{code}: ")).unwrap_or_default();
        PagesError::page(fault, self.place(path), format!("{code}{cause}"))
    }
}

#[async_trait]
impl Blobs for S3Blobs {
    fn place(&self, path: &str) -> String {
        format!("s3://{}/{}{path}", self.bucket, self.prefix)
    }

    async fn list(&self) -> Result<Vec<String>, PagesError> {
        let mut paths = Vec::new();
        let mut pages = self.client.list_objects_v2().bucket(&self.bucket).prefix(&self.prefix).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| self.fault("", &e))?;
            let keys = page.contents().iter().filter_map(|object| object.key()?.strip_prefix(self.prefix.as_str()));
            paths.extend(keys.filter(|path| path.ends_with(".parquet") && is_plain(path)).map(String::from));
            if paths.len() > MAX_FILES {
                break;
            }
        }
        paths.truncate(MAX_FILES);
        paths.sort();
        Ok(paths)
    }

    async fn len(&self, path: &str) -> Result<u64, PagesError> {
        let head = self.client.head_object().bucket(&self.bucket).key(format!("{}{path}", self.prefix)).send().await;
        let length = head.map_err(|e| self.fault(path, &e))?.content_length.unwrap_or(0);
        Ok(u64::try_from(length).unwrap_or(0))
    }

    async fn range(&self, path: &str, range: Range<u64>, len: u64) -> Result<Bytes, PagesError> {
        let at = self.place(path);
        if !is_plain(path) {
            return Err(PagesError::page(Fault::NotFound, at, "this path leaves the prefix"));
        }
        check_range(&at, &range, len)?;
        let request = self.client.get_object().bucket(&self.bucket).key(format!("{}{path}", self.prefix));
        let request = request.range(format!("bytes={}-{}", range.start, range.end - 1));
        let wanted = (range.end - range.start) as usize;
        let read = async {
            let mut object = request.send().await.map_err(|e| self.fault(path, &e))?;
            let total = object.content_range().and_then(|value| value.rsplit('/').next()?.parse::<u64>().ok());
            if let Some(found) = total.filter(|found| *found != len) {
                let why = format!("it has {found} bytes, its index says {len}");
                return Err(PagesError::page(Fault::DatasetChanged, at.clone(), why));
            }
            let mut body = BytesMut::new();
            while let Some(chunk) = object.body.next().await {
                let chunk = chunk.map_err(|e| PagesError::page(Fault::NoNetwork, at.clone(), e.to_string()))?;
                body.extend_from_slice(&chunk);
                if body.len() > wanted {
                    return Err(PagesError::page(Fault::NoRanges, at.clone(), "more came than was asked for"));
                }
            }
            if body.len() < wanted {
                let why = format!("{wanted} bytes were asked for, {} came", body.len());
                return Err(PagesError::page(Fault::DatasetChanged, at.clone(), why));
            }
            Ok(body.freeze())
        };
        let late = || PagesError::page(Fault::TooSlow, at.clone(), format!("no whole answer within {DEADLINE:?}"));
        tokio::time::timeout(DEADLINE, read).await.unwrap_or_else(|_| Err(late()))
    }
}
