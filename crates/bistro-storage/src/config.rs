//! Where buckets are, and the AWS client that both ports build from it.

use std::sync::LazyLock;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_sdk_s3::Client;
pub use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, ConfigBag, Intercept, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    RuntimeComponents, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use http_body_util::Limited;

/// The region of a bucket that names none, where the operator names none either: AWS's first.
pub const DEFAULT_REGION: &str = "us-east-1";

/// An error answer longer than this is no S3 error; the SDK would read it whole.
const ERROR_BODY_MAX: usize = 64 << 10;

/// Where buckets are. The operator's own word, never a stranger's.
#[derive(Clone, Debug, Default)]
pub struct S3Config {
    /// The server, `http(s)://HOST[:PORT]`; AWS itself if absent (`AWS_ENDPOINT_URL`).
    pub endpoint_url: Option<String>,
    /// Region of buckets that name none; [`DEFAULT_REGION`] if absent (`AWS_REGION`).
    pub region: Option<String>,
    /// Whether the bucket stands in the path instead of the host name; if absent, it does at any custom endpoint.
    pub path_style: Option<bool>,
    /// Keys of one's own bucket; AWS's standard chain (variables, profile, role) if absent. Debug output hides the secret.
    pub credentials: Option<Credentials>,
}

impl S3Config {
    /// Endpoint and region as AWS's own tools find them: from the environment, then from the profile. Asks no network.
    pub async fn from_environment() -> Self {
        // Not the default chain of regions: off AWS it would wait for an instance-metadata service that is not there.
        let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new());
        // Nor the chain of credentials, which asks for a region of its own in the same way.
        let found = aws_config::defaults(behavior()).http_client(https()).region(region).no_credentials().load().await;
        Self {
            endpoint_url: found.endpoint_url().map(Into::into),
            region: found.region().map(ToString::to_string),
            ..Self::default()
        }
    }

    /// The region of a bucket that names `region`.
    pub(crate) fn region_or_default(&self, region: Option<&str>) -> String {
        region.or(self.region.as_deref()).unwrap_or(DEFAULT_REGION).to_owned()
    }

    /// A client's configuration without credentials or retries.
    pub(crate) fn builder(&self, http: &SharedHttpClient, region: &str) -> Builder {
        let builder = Builder::new()
            .behavior_version(behavior())
            .region(Region::new(region.to_owned()))
            .http_client(http.clone())
            .timeout_config(timeouts())
            .interceptor(ShortErrors)
            // A bucket name can ask for another protocol by its suffix; a stranger's must not.
            .disable_s3_express_session_auth(true)
            .disable_multi_region_access_points(true);
        // What is read is checked by signature or BLAKE3 hash; S3's checksums do not cover pieces of an object.
        let builder = builder.response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        let Some(endpoint) = &self.endpoint_url else {
            return builder.force_path_style(self.path_style.unwrap_or(false));
        };
        // What is not AWS often knows neither the newer checksums nor host names that start with the bucket. What is written
        // is still covered by the SHA-256 in the request's signature.
        builder
            .endpoint_url(endpoint)
            .force_path_style(self.path_style.unwrap_or(true))
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
    }

    /// A client of `region` without credentials, which therefore asks nobody for any, and without retries.
    pub(crate) fn anonymous(&self, http: &SharedHttpClient, region: &str) -> Client {
        let config = self.builder(http, region).allow_no_auth().retry_config(RetryConfig::disabled());
        Client::from_conf(config.stalled_stream_protection(StalledStreamProtectionConfig::disabled()).build())
    }
}

/// The SDK's defaults, pinned: a newer SDK must not change retries or timeouts unasked.
pub(crate) fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// The HTTP client: rustls with ring. One per port, so that its connections are shared between regions.
pub(crate) fn https() -> SharedHttpClient {
    static TRUSTED: LazyLock<bool> = LazyLock::new(|| !rustls_native_certs::load_native_certs().certs.is_empty());
    let client = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    if *TRUSTED {
        return client.build_https();
    }
    // A development build of the SDK would panic, although a server on one's own machine needs no certificates.
    tracing::warn!(
        "no certificates are found on this machine: install `ca-certificates`; until then only http:// can be reached"
    );
    match TlsContext::builder().with_trust_store(TrustStore::empty()).build() {
        Ok(nobody) => client.tls_context(nobody).build_https(),
        Err(_) => client.build_https(),
    }
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        // Until the answer begins, upload included: 16 MiB at half a megabit a second.
        .read_timeout(Duration::from_mins(5))
        .build()
}

/// Cuts the bodies of error answers: they are read whole into memory before anything else sees them.
#[derive(Debug)]
struct ShortErrors;

impl Intercept for ShortErrors {
    fn name(&self) -> &'static str {
        "ShortErrors"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        if !response.status().is_success() {
            let body = response.take_body();
            *response.body_mut() = SdkBody::from_body_1_x(Limited::new(body, ERROR_BODY_MAX));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_secret() {
        let credentials = Credentials::new("AKID", "correct horse", Some("battery".into()), None, "test");
        let shown = format!("{:?}", S3Config { credentials: Some(credentials), ..S3Config::default() });
        assert!(shown.contains("AKID") && !shown.contains("horse") && !shown.contains("battery"), "{shown}");
    }

    #[test]
    fn a_bucket_s_own_region_comes_first() {
        let operator = S3Config { region: Some("eu-west-1".into()), ..S3Config::default() };
        assert_eq!(operator.region_or_default(Some("us-west-2")), "us-west-2");
        assert_eq!(operator.region_or_default(None), "eu-west-1");
        assert_eq!(S3Config::default().region_or_default(None), DEFAULT_REGION);
    }
}
