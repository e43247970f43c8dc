//! Servers that read each request's head and then do what a script says.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bistro_core::ports::{PortError, PublicBuckets as _, ReadLimits};
use bistro_storage::conformance::assert_named;
use bistro_storage::{Credentials, S3Config, S3OwnBucket, S3PublicBuckets};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::network::address;

/// A request that waits for its answer: which one it is (the first is 1), its head in lower case, and the connection.
pub(crate) struct Request {
    pub(crate) number: usize,
    pub(crate) head: String,
    pub(crate) stream: TcpStream,
}

impl Request {
    /// First and last byte of the range that is asked for.
    pub(crate) fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| *found == name).map(|(_, value)| value).next()
    }

    pub(crate) async fn say(&mut self, text: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(text.as_ref()).await
    }
}

/// Such a server. It counts and keeps what it was asked.
pub(crate) struct Misbehaving {
    pub(crate) endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Misbehaving {
    pub(crate) async fn start<F>(script: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, script) = (requests.clone(), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (seen, script) = (seen.clone(), script.clone());
                // Each by itself: a client may open a connection in store, on which it asks nothing.
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await?);
                    }
                    let head = String::from_utf8_lossy(&head).to_lowercase();
                    let number = {
                        let mut seen = seen.lock().unwrap();
                        seen.push(head.clone());
                        seen.len()
                    };
                    script(Request { number, head, stream }).await
                });
            }
        });
        Self { endpoint, requests }
    }

    /// Answers `answer` and closes.
    pub(crate) async fn saying(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |mut request| {
            let answer = answer.clone();
            async move { request.say(answer).await }
        })
        .await
    }

    /// Answers `status` with an S3 error of that code.
    pub(crate) async fn refusing(status: u16, code: &str) -> Self {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
        Self::saying(format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await
    }

    /// Nobody at all.
    pub(crate) fn absent() -> Self {
        Self { endpoint: "http://127.0.0.1:1".into(), requests: Arc::default() }
    }

    pub(crate) fn asked(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// Heads of all requests so far, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn config(&self) -> S3Config {
        S3Config {
            endpoint_url: Some(self.endpoint.clone()),
            credentials: Some(Credentials::new("AKID", "secret", None, None, "test")),
            ..S3Config::default()
        }
    }

    /// Its buckets as a stranger sees them; throughput counts after 0.3 s.
    pub(crate) fn public(&self) -> S3PublicBuckets {
        S3PublicBuckets::new(&self.config()).with_grace(Duration::from_millis(300))
    }

    pub(crate) async fn own(&self) -> S3OwnBucket {
        S3OwnBucket::connect(address("shop"), &self.config()).await
    }

    /// Reads as a stranger: at most 1000 bytes, in at most 1.5 s, at 1000 bytes a second after 0.3 s.
    pub(crate) async fn read(&self) -> Outcome {
        self.read_within(SMALL).await
    }

    pub(crate) async fn read_within(&self, limits: ReadLimits) -> Outcome {
        let public = self.public();
        let started = Instant::now();
        let result = public.get(&address("shop"), "key", limits).await;
        Outcome { result, elapsed: started.elapsed() }
    }
}

/// What [`Misbehaving::read`] allows.
pub(crate) const SMALL: ReadLimits =
    ReadLimits { max_bytes: 1000, deadline: Duration::from_millis(1500), min_bytes_per_second: 1000 };

/// What came of a read, and when.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) result: Result<Option<Bytes>, PortError>,
    pub(crate) elapsed: Duration,
}

impl Outcome {
    /// Asserts the error's name, and that it came in time: long enough for a loaded machine, short enough that nothing hangs.
    #[track_caller]
    pub(crate) fn is(self, name: &str) {
        assert_named(self.result, name);
        assert!(self.elapsed < Duration::from_millis(2500), "{name} took {:?}", self.elapsed);
    }

    /// As [`Self::is`], and at once.
    #[track_caller]
    pub(crate) fn fails_at_once(self, name: &str) {
        assert_named(self.result, name);
        assert!(self.elapsed < Duration::from_secs(1), "{name} took {:?}", self.elapsed);
    }
}
