//! Reading over HTTPS: bounded in size, time and repetitions, and never faster than the server allows.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
pub use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, HeaderMap, RANGE, RETRY_AFTER};
use reqwest::{Client, StatusCode};
use tokio::time::Instant;

use crate::error::PagesError;
use crate::fault::Fault;

/// How requests are sent.
#[derive(Clone)]
pub struct WebOptions {
    /// Shown to [`WebOptions::trusted`] servers only.
    pub token: Option<String>,
    /// Origins, such as `https://huggingface.co`, that may see the token.
    pub trusted: Vec<String>,
    /// Requests for one answer, the first one included.
    pub attempts: u32,
    /// Wait before the second; it doubles each time.
    pub first_wait: Duration,
    /// Longest wait that a server may ask for; asked for more, the request fails.
    pub longest_wait: Duration,
    /// Longest time for one answer.
    pub deadline: Duration,
}

impl Default for WebOptions {
    fn default() -> Self {
        let trusted = ["https://huggingface.co", "https://datasets-server.huggingface.co"];
        Self {
            token: None,
            trusted: trusted.map(Into::into).into(),
            attempts: 5,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(150),
            deadline: Duration::from_mins(2),
        }
    }
}

impl WebOptions {
    /// The origin of an address, as [`WebOptions::trusted`] lists it.
    pub fn origin(url: &str) -> Option<String> {
        Url::parse(url).ok().map(|url| url.origin().ascii_serialization())
    }
}

impl std::fmt::Debug for WebOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token is nobody's business.
        f.debug_struct("WebOptions")
            .field("trusted", &self.trusted)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// What a server sent.
#[derive(Debug)]
pub struct Answer {
    /// The body.
    pub bytes: Bytes,
    /// Bytes of the whole file, where the server says so in answer to a range.
    pub total: Option<u64>,
}

/// An HTTPS client.
pub struct Web {
    client: Client,
    options: WebOptions,
    /// Before this moment no server wants to hear of us: a quota is for all requests together.
    quiet_until: Mutex<Option<Instant>>,
}

/// One attempt that failed.
struct Failed {
    error: PagesError,
    fault: Fault,
    /// Wait that the server asked for.
    wait: Option<Duration>,
}

impl Web {
    /// A client with this machine's certificates, and its proxy if it has one.
    pub fn new(options: WebOptions) -> Result<Self, PagesError> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(PagesError::NoCertificates);
        }
        let ring = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .map_err(|e| PagesError::Client(e.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("bistro/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(30))
            .build()
            .map_err(|e| PagesError::Client(e.to_string()))?;
        Ok(Self { client, options, quiet_until: Mutex::new(None) })
    }

    /// Gets `url`, or `range` of it, of at most `max_bytes`. Cancel-safe.
    pub async fn get(&self, url: &Url, range: Option<Range<u64>>, max_bytes: u64) -> Result<Answer, PagesError> {
        let mut wait = self.options.first_wait;
        for attempt in 1.. {
            self.be_quiet(url).await?;
            let once = self.once(url, range.as_ref(), max_bytes);
            let outcome = tokio::time::timeout(self.options.deadline, once).await.unwrap_or_else(|_| {
                let why = format!("no whole answer within {:?}", self.options.deadline);
                Err(Failed::new(Fault::TooSlow, url, why))
            });
            let failed = match outcome {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if let Some(wait) = failed.wait {
                *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + wait);
            }
            if attempt >= self.options.attempts || !failed.fault.passes() {
                return Err(failed.error);
            }
            tracing::debug!(attempt, "{}", failed.error);
            if failed.wait.is_none() {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        }
        unreachable!("the last attempt returned")
    }

    /// Waits for as long as the server has asked for.
    async fn be_quiet(&self, url: &Url) -> Result<(), PagesError> {
        let until = *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(wait) = until.map(|until| until.saturating_duration_since(Instant::now())) else { return Ok(()) };
        if wait > self.options.longest_wait {
            let why = format!("the server wants no request for another {} s", wait.as_secs());
            return Err(PagesError::page(Fault::RateLimited, place(url), why));
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }

    async fn once(&self, url: &Url, range: Option<&Range<u64>>, max_bytes: u64) -> Result<Answer, Failed> {
        let failed = |fault, why: String| Failed::new(fault, url, why);
        let mut request = self.client.get(url.clone());
        if let Some(token) = &self.options.token
            && self.options.trusted.contains(&url.origin().ascii_serialization())
        {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(range) = range {
            request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        }
        let mut response = request.send().await.map_err(|e| Failed::of(url, &e))?;
        let status = response.status();
        if let Some(fault) = fault_of(status) {
            let mut failed = failed(fault, format!("the server answers {status}"));
            failed.wait = fault.passes().then(|| asked_wait(response.headers())).flatten();
            return Err(failed);
        }
        if range.is_some() && status != StatusCode::PARTIAL_CONTENT {
            return Err(failed(Fault::NoRanges, format!("a range was asked for, and the server answers {status}")));
        }
        let total =
            response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok()?.rsplit('/').next()?.parse().ok());
        let too_large =
            |bytes: u64| failed(Fault::TooLarge, format!("{bytes} bytes or more, at most {max_bytes} are read"));
        if let Some(bytes) = response.content_length().filter(|bytes| *bytes > max_bytes) {
            return Err(too_large(bytes));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| Failed::of(url, &e))? {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > max_bytes {
                return Err(too_large(body.len() as u64));
            }
        }
        match range.map(|range| range.end - range.start) {
            Some(wanted) if body.len() as u64 != wanted => {
                Err(failed(Fault::DatasetChanged, format!("{wanted} bytes were asked for, {} came", body.len())))
            }
            _ => Ok(Answer { bytes: body.freeze(), total }),
        }
    }
}

impl Failed {
    fn new(fault: Fault, url: &Url, why: String) -> Self {
        Self { error: PagesError::page(fault, place(url), why), fault, wait: None }
    }

    fn of(url: &Url, error: &reqwest::Error) -> Self {
        let fault = match error {
            e if e.is_timeout() => Fault::TooSlow,
            e if e.is_redirect() => Fault::BadAnswer,
            _ => Fault::NoNetwork,
        };
        // The cause is at the bottom; what stands above repeats the address, whose query can be long.
        let mut cause: &dyn std::error::Error = error;
        while let Some(below) = cause.source() {
            cause = below;
        }
        Self::new(fault, url, cause.to_string())
    }
}

/// The address without its query, which may hold a signature.
fn place(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

fn fault_of(status: StatusCode) -> Option<Fault> {
    match status.as_u16() {
        200..300 => None,
        429 => Some(Fault::RateLimited),
        401 | 403 => Some(Fault::Refused),
        404 | 410 => Some(Fault::NotFound),
        416 => Some(Fault::DatasetChanged),
        408 | 500.. => Some(Fault::ServerError),
        _ => Some(Fault::BadAnswer),
    }
}

/// The wait that a server asks for: `Retry-After` in seconds, or Hugging Face's `RateLimit: "api";r=0;t=55`.
fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let seconds = text(RETRY_AFTER.as_str())
        .and_then(|value| value.trim().parse().ok())
        .or_else(|| text("ratelimit")?.split(';').find_map(|part| part.trim().strip_prefix("t=")?.parse::<u64>().ok()));
    seconds.map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_headers_are_understood() {
        let wait = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            asked_wait(&headers).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("retry-after", "7"), Some(7));
        assert_eq!(wait("ratelimit", "\"api\";r=0;t=55"), Some(55));
        assert_eq!(wait("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(wait("x-other", "1"), None);
    }

    #[test]
    fn neither_token_nor_query_is_shown() {
        let options = WebOptions { token: Some("hf_secret".into()), ..WebOptions::default() };
        assert!(!format!("{options:?}").contains("hf_secret"));
        let url = Url::parse("https://cdn.example/a/b.parquet?X-Amz-Signature=abc").unwrap();
        assert_eq!(place(&url), "https://cdn.example/a/b.parquet");
    }
}
