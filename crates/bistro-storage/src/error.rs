//! The named outcomes of storage. Each message says what failed, where, and how to mend it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use bistro_core::ids::Hash;
use bistro_core::ports::{BucketAddress, PortError, Retry};

/// What was being done to which object, as messages name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `reading`, `writing`, `listing`, `deleting`, `setting`, `trying`.
    pub verb: &'static str,
    /// The bucket.
    pub bucket: BucketAddress,
    /// The object's key, or the listed prefix.
    pub key: String,
}

impl Place {
    fn new(verb: &'static str, bucket: &BucketAddress, key: &str) -> Self {
        Self { verb, bucket: bucket.clone(), key: key.to_owned() }
    }

    /// While reading an object.
    pub fn reading(bucket: &BucketAddress, key: &str) -> Self {
        Self::new("reading", bucket, key)
    }

    /// While writing an object.
    pub fn writing(bucket: &BucketAddress, key: &str) -> Self {
        Self::new("writing", bucket, key)
    }

    /// While listing the names under a prefix.
    pub fn listing(bucket: &BucketAddress, prefix: &str) -> Self {
        Self::new("listing", bucket, prefix)
    }

    /// While setting the bucket's policy.
    pub(crate) fn setting_policy(bucket: &BucketAddress) -> Self {
        Self::new("setting", bucket, "policy")
    }

    /// While trying what should be refused.
    pub(crate) fn trying(bucket: &BucketAddress, key: &str) -> Self {
        Self::new("trying", bucket, key)
    }

    /// While deleting an object.
    pub fn deleting(bucket: &BucketAddress, key: &str) -> Self {
        Self::new("deleting", bucket, key)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` in bucket `{}`", self.verb, self.key, self.bucket)
    }
}

/// Why a bucket did not do what was asked. The names of the variants are the `name` of the [`PortError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// No bucket of that name at this endpoint.
    #[error("{0}: there is no such bucket. Check its name, and AWS_ENDPOINT_URL if it is not on AWS")]
    NoSuchBucket(Place),
    /// Refused. On AWS a stranger also gets this for an object that does not exist.
    #[error(
        "{at}: access denied ({code}). For one's own bucket check the access key and its rights; \
         a stranger's object is missing or not public"
    )]
    AccessDenied {
        /// Where.
        at: Place,
        /// The server's code: `AccessDenied`, `SignatureDoesNotMatch`, `InvalidAccessKeyId`.
        code: String,
    },
    /// No credentials to sign with.
    #[error("{at}: no credentials ({why}). Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")]
    NoCredentials {
        /// Where.
        at: Place,
        /// What the credential chain said.
        why: String,
    },
    /// The bucket lies in another region.
    #[error("{at}: the bucket is in {}. Set AWS_REGION to it; on the chain, commit `NAME@REGION`",
        .wanted.as_deref().map_or_else(|| "another region".to_owned(), |r| format!("region `{r}`")))]
    WrongRegion {
        /// Where.
        at: Place,
        /// The region that the server named.
        wanted: Option<String>,
    },
    /// The server points to somewhere else. Never followed: only the configured endpoint is asked.
    #[error("{at}: the server answered with a redirect ({status}), which is not followed. Check AWS_ENDPOINT_URL")]
    Redirect {
        /// Where.
        at: Place,
        /// 3xx.
        status: u16,
    },
    /// Longer than the cap known beforehand.
    #[error("{at}: the object is longer than the {max_bytes} bytes it may have{}",
        .stated.map_or_else(String::new, |n| format!(" (it has {n})")))]
    TooLarge {
        /// Where.
        at: Place,
        /// The cap.
        max_bytes: u64,
        /// The length that the server stated; absent if the body ran over the cap.
        stated: Option<u64>,
    },
    /// This machine has no memory for an object within the cap.
    #[error("{at}: there is no memory for {bytes} bytes. Free some, or take a smaller model")]
    NoMemory {
        /// Where.
        at: Place,
        /// How many were wanted.
        bytes: u64,
    },
    /// The body came slower than the least throughput, or not at all.
    #[error("{at}: {bytes} bytes in {elapsed:.1?} is slower than {min_bytes_per_second} bytes a second: given up")]
    TooSlow {
        /// Where.
        at: Place,
        /// Bytes of the body so far.
        bytes: u64,
        /// Since the request.
        elapsed: Duration,
        /// The least average.
        min_bytes_per_second: u64,
    },
    /// Not done within the deadline.
    #[error("{at}: not done within {after:.1?}: given up")]
    Deadline {
        /// Where.
        at: Place,
        /// The deadline.
        after: Duration,
    },
    /// The body ended early.
    #[error("{at}: the body broke off after {bytes} bytes ({why})")]
    Truncated {
        /// Where.
        at: Place,
        /// Bytes of the body that came.
        bytes: u64,
        /// What the connection said.
        why: String,
    },
    /// The bytes are not those of the hash that was asked for: damaged, replaced, or never the right ones.
    #[error("{at}: its hash is {found}, another than asked for. It is not used; its owner must write it anew")]
    WrongHash {
        /// Where.
        at: Place,
        /// The hash of what came.
        found: Hash,
    },
    /// Another object came under the name while the pieces of the first were read.
    #[error("{0}: the object was replaced while it was read")]
    Changed(Place),
    /// The server received other bytes than were sent.
    #[error(
        "{at}: the server received damaged bytes ({code}). If that repeats, suspect the network's hardware or a proxy"
    )]
    Damaged {
        /// Where.
        at: Place,
        /// The server's code: `BadDigest`, `XAmzContentSHA256Mismatch`.
        code: String,
    },
    /// The clocks of this machine and of the server differ by more than signatures allow (15 minutes).
    #[error("{0}: this machine's clock differs too much from the server's. Set it right (`timedatectl set-ntp true`)")]
    ClockSkew(Place),
    /// No connection, or it broke before an answer.
    #[error("{at}: the server cannot be reached ({why}). Check the network and AWS_ENDPOINT_URL")]
    Unreachable {
        /// Where.
        at: Place,
        /// What the connection said.
        why: String,
    },
    /// Any other answer of the server.
    #[error("{at}: the server answered {status} {code}")]
    Server {
        /// Where.
        at: Place,
        /// HTTP status.
        status: u16,
        /// The server's code (`SlowDown`, `InternalError`), empty if it gave none.
        code: String,
    },
    /// The answer is no S3 answer.
    #[error("{at}: the answer is not S3's ({why}). Check AWS_ENDPOINT_URL")]
    Malformed {
        /// Where.
        at: Place,
        /// What is wrong with it.
        why: String,
    },
    /// An object whose name belongs to its content exists with another length.
    #[error(
        "{at}: the object exists with {found} bytes instead of {expected}. Delete it: something else wrote that name"
    )]
    Conflict {
        /// Where.
        at: Place,
        /// Length of ours.
        expected: u64,
        /// Length of what is there.
        found: u64,
    },
}

impl StorageError {
    /// The variant's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoSuchBucket(_) => "NoSuchBucket",
            Self::AccessDenied { .. } => "AccessDenied",
            Self::NoCredentials { .. } => "NoCredentials",
            Self::WrongRegion { .. } => "WrongRegion",
            Self::Redirect { .. } => "Redirect",
            Self::TooLarge { .. } => "TooLarge",
            Self::NoMemory { .. } => "NoMemory",
            Self::TooSlow { .. } => "TooSlow",
            Self::Deadline { .. } => "Deadline",
            Self::Truncated { .. } => "Truncated",
            Self::WrongHash { .. } => "WrongHash",
            Self::Changed(_) => "Changed",
            Self::Damaged { .. } => "Damaged",
            Self::ClockSkew(_) => "ClockSkew",
            Self::Unreachable { .. } => "Unreachable",
            Self::Server { .. } => "Server",
            Self::Malformed { .. } => "Malformed",
            Self::Conflict { .. } => "Conflict",
        }
    }

    /// Whether trying again can help. What the network or a busy server did may pass; what a name, a key or an object is,
    /// stays.
    pub fn retry(&self) -> Retry {
        match self {
            Self::TooSlow { .. }
            | Self::Deadline { .. }
            | Self::Truncated { .. }
            | Self::Unreachable { .. }
            | Self::Changed(_)
            | Self::Damaged { .. } => Retry::Soon,
            Self::Server { status, .. } if *status >= 500 || matches!(status, 408 | 409 | 429) => Retry::Soon,
            _ => Retry::Never,
        }
    }
}

impl From<StorageError> for PortError {
    fn from(error: StorageError) -> Self {
        Self { name: error.name().to_owned(), message: error.to_string(), retry: error.retry() }
    }
}

/// What a failed call of the SDK means.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// HTTP status, if an answer came.
    pub status: Option<u16>,
    /// The server's code, empty if it gave none.
    pub code: String,
    /// The outcome.
    pub error: StorageError,
}

impl Refusal {
    /// The object that is not there is not an error; all else is.
    pub(crate) fn absent_is_none<T>(self) -> Result<Option<T>, StorageError> {
        let absent = self.status == Some(404) && !matches!(self.error, StorageError::NoSuchBucket(_));
        if absent { Ok(None) } else { Err(self.error) }
    }
}

/// What a failed call of the SDK means.
pub(crate) fn refusal<E>(at: &Place, error: &SdkError<E>) -> Refusal
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let Some(response) = error.raw_response() else {
        return Refusal { status: None, code: String::new(), error: without_answer(at, error) };
    };
    let status = response.status().as_u16();
    let metadata = error.as_service_error().map(ProvideErrorMetadata::meta);
    let code = tidy(metadata.and_then(|m| m.code()).unwrap_or_default());
    let message = metadata.and_then(|m| m.message()).unwrap_or_default();
    let error = if response.status().is_success() {
        StorageError::Malformed { at: at.clone(), why: tidy(&innermost(error)) }
    } else {
        answered(at, status, &code, region_of(response, message))
    };
    Refusal { status: Some(status), code, error }
}

/// The meaning of an answer that is not a success.
fn answered(at: &Place, status: u16, code: &str, wanted: Option<String>) -> StorageError {
    let at = at.clone();
    match (status, code) {
        (_, "NoSuchBucket") => StorageError::NoSuchBucket(at),
        (_, "RequestTimeTooSkewed") => StorageError::ClockSkew(at),
        (_, "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch") => {
            StorageError::Damaged { at, code: code.to_owned() }
        }
        (412, _) if at.verb == "reading" => StorageError::Changed(at),
        (
            _,
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException",
        ) => StorageError::WrongRegion { at, wanted },
        (300..=399, _) if wanted.is_some() => StorageError::WrongRegion { at, wanted },
        (300..=399, _) => StorageError::Redirect { at, status },
        (401 | 403, _) | (400, "ExpiredToken" | "InvalidToken") => {
            let code = if code.is_empty() { status.to_string() } else { code.to_owned() };
            StorageError::AccessDenied { at, code }
        }
        _ => StorageError::Server { at, status, code: code.to_owned() },
    }
}

/// The region that an answer names for a bucket: in a header, or in words (`expecting 'eu-west-1'`).
fn region_of(response: &HttpResponse, message: &str) -> Option<String> {
    let in_words =
        message.split_once("expecting '").and_then(|(_, rest)| rest.split_once('\'')).map(|(region, _)| region);
    let region = response.headers().get("x-amz-bucket-region").or(in_words)?;
    // A server's text becomes part of a host name here, so it passes the same gate as a stranger's.
    BucketAddress::parse(&format!("any@{region}")).ok()?.region
}

/// The meaning of a call that got no answer.
fn without_answer<E: Error + 'static>(at: &Place, error: &SdkError<E>) -> StorageError {
    let at = at.clone();
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if current.is::<CredentialsError>() {
            return StorageError::NoCredentials { at, why: tidy(&innermost(current)) };
        }
        if current.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return StorageError::Malformed { at, why: tidy(&current.to_string()) };
        }
        cause = current.source();
    }
    StorageError::Unreachable { at, why: tidy(&innermost(error)) }
}

/// The text of the last cause: the SDK's own words say only that something failed.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// A server's text, fit for a log: printable ASCII, at most 120 characters.
pub(crate) fn tidy(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_s_region_is_believed_only_if_it_can_be_one() {
        let named = |header: Option<&'static str>, message: &str| {
            let mut response = HttpResponse::new(301.try_into().unwrap(), aws_sdk_s3::primitives::SdkBody::empty());
            if let Some(region) = header {
                response.headers_mut().insert("x-amz-bucket-region", region);
            }
            region_of(&response, message)
        };
        assert_eq!(named(Some("eu-west-1"), ""), Some("eu-west-1".into()));
        assert_eq!(named(None, "the region 'a' is wrong; expecting 'eu-west-1'"), Some("eu-west-1".into()));
        assert_eq!(named(Some("evil.example/"), ""), None);
        assert_eq!(named(None, "no region at all"), None);
    }

    #[test]
    fn missing_credentials_are_not_taken_for_a_dead_network() {
        let missing = CredentialsError::not_loaded("no provider had any");
        let at = Place::writing(&BucketAddress::parse("shop").unwrap(), "k");
        let error: SdkError<aws_sdk_s3::operation::put_object::PutObjectError> =
            SdkError::construction_failure(missing);
        assert_eq!(refusal(&at, &error).error.name(), "NoCredentials");
        let error: SdkError<aws_sdk_s3::operation::put_object::PutObjectError> = SdkError::timeout_error("late");
        assert_eq!(refusal(&at, &error).error.name(), "Unreachable");
    }

    #[test]
    fn a_server_s_words_cannot_forge_a_log_line() {
        assert_eq!(tidy("Slow\nDown\u{1b}[31m é"), "SlowDown[31m ");
        assert_eq!(tidy(&"x".repeat(1000)).len(), 120);
    }

    fn at() -> Place {
        Place { verb: "reading", bucket: BucketAddress::parse("shop").unwrap(), key: "a/b".into() }
    }

    #[test]
    fn a_port_error_carries_name_place_and_remedy() {
        let error = PortError::from(StorageError::WrongRegion { at: at(), wanted: Some("eu-west-1".into()) });
        assert_eq!((error.name.as_str(), error.retry), ("WrongRegion", Retry::Never));
        for part in ["reading `a/b` in bucket `shop`", "region `eu-west-1`", "AWS_REGION"] {
            assert!(error.message.contains(part), "`{}` lacks `{part}`", error.message);
        }
    }

    #[test]
    fn only_passing_faults_are_worth_repeating() {
        let server = |status| StorageError::Server { at: at(), status, code: String::new() }.retry();
        assert_eq!([server(503), server(500), server(429)], [Retry::Soon; 3]);
        assert_eq!([server(400), server(501 - 100)], [Retry::Never; 2]);
        assert_eq!(StorageError::NoSuchBucket(at()).retry(), Retry::Never);
    }
}
