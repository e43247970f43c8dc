//! Buckets over real HTTP: the conformance suite against the embedded server, what strangers may and may not do there, and
//! what servers that misbehave can do to a reader.
#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bistro_core::ports::{BucketAddress, OwnBucket, PortError, PublicBuckets, Put, ReadLimits};
use bistro_localnet::s3::{LocalS3, LocalS3Config};
use bistro_storage::conformance::{self, assert_named, limits};
use bistro_storage::{Credentials, FakeBuckets, S3Config, S3OwnBucket, S3PublicBuckets};
use bytes::Bytes;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A server with the accounts `alice` and `bob`, who own `alice-bucket` and `bob-bucket`.
struct Network {
    dir: TempDir,
    server: LocalS3,
}

impl Network {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let server = serve(&dir).await;
        Self { dir, server }
    }

    fn config(&self, who: &str, secret: &str) -> S3Config {
        S3Config {
            endpoint_url: Some(self.server.endpoint()),
            credentials: Some(Credentials::new(who, secret, None, None, "test")),
            ..S3Config::default()
        }
    }

    async fn own(&self, who: &str, bucket: &str) -> S3OwnBucket {
        S3OwnBucket::connect(address(bucket), &self.config(who, &format!("{who} secret"))).await
    }

    fn public(&self) -> S3PublicBuckets {
        S3PublicBuckets::new(&self.config("nobody", "nothing"))
    }

    /// One request of a stranger; the whole answer.
    async fn raw(&self, method: &str, path: &str, more: &str, body: &str) -> String {
        let host = self.server.endpoint().replace("http://", "");
        let mut stream = TcpStream::connect(&host).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n{more}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

async fn serve(dir: &TempDir) -> LocalS3 {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = LocalS3::start(LocalS3Config { dir: dir.path().to_owned(), listen }).await.unwrap();
    for who in ["alice", "bob"] {
        server.add_account(who, &format!("{who} secret"), &format!("{who}-bucket")).unwrap();
    }
    server
}

fn address(name: &str) -> BucketAddress {
    BucketAddress::parse(name).unwrap()
}

#[tokio::test]
async fn the_embedded_server_conforms() {
    let network = Network::start().await;
    let (own, public) = (network.own("alice", "alice-bucket").await, network.public());
    conformance::check(&own, &public).await;
    conformance::check_large(&own, &public, 40 << 20).await;
    network.server.stop().await;
}

#[tokio::test]
async fn the_fake_conforms() {
    let fake = FakeBuckets::new();
    let own = fake.own("alice-bucket");
    conformance::check(&own, &fake).await;
    conformance::check_large(&own, &fake, 1 << 20).await;
}

#[tokio::test]
async fn a_stranger_reads_objects_by_name_and_nothing_else() {
    let network = Network::start().await;
    let own = network.own("alice", "alice-bucket").await;
    own.put("folder/object", Bytes::from_static(b"0123456789"), Put::Replace).await.unwrap();
    let object = "/alice-bucket/folder/object";

    let read = network.raw("GET", object, "", "").await;
    assert!(read.starts_with("HTTP/1.1 200") && read.ends_with("0123456789"), "{read}");
    assert!(network.raw("HEAD", object, "", "").await.starts_with("HTTP/1.1 200"));
    let part = network.raw("GET", object, "range: bytes=2-4\r\n", "").await;
    assert!(part.starts_with("HTTP/1.1 206") && part.ends_with("\r\n\r\n234"), "{part}");
    let beyond = network.raw("GET", object, "range: bytes=10-\r\n", "").await;
    assert!(beyond.starts_with("HTTP/1.1 416"), "{beyond}");

    let lower = read.to_lowercase();
    let etag = lower.split("etag: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let known = network.raw("GET", object, &format!("if-none-match: {etag}\r\n"), "").await;
    assert!(known.starts_with("HTTP/1.1 304"), "{known}");
    let other = network.raw("GET", object, "if-match: \"other\"\r\n", "").await;
    assert!(other.starts_with("HTTP/1.1 412"), "{other}");
    assert!(network.raw("GET", "/alice-bucket/none", "", "").await.contains("NoSuchKey"));
    assert!(network.raw("GET", "/no-such-bucket/none", "", "").await.contains("NoSuchBucket"));

    let forbidden = [
        ("PUT", object, "", "forged"),
        ("PUT", "/alice-bucket/new", "", "forged"),
        ("PUT", "/alice-bucket/new", "x-amz-copy-source: /alice-bucket/folder/object\r\n", ""),
        ("DELETE", object, "", ""),
        ("POST", "/alice-bucket?delete", "", "<Delete/>"),
        ("POST", "/alice-bucket/new?uploads", "", ""),
        ("GET", "/alice-bucket?list-type=2", "", ""),
        ("GET", "/alice-bucket", "", ""),
        ("HEAD", "/alice-bucket", "", ""),
        ("PUT", "/mallory-bucket", "", ""),
        ("DELETE", "/alice-bucket", "", ""),
        ("GET", "/", "", ""),
    ];
    for (method, path, headers, body) in forbidden {
        let answer = network.raw(method, path, headers, body).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{method} {path}: {answer}");
    }
    assert_eq!(own.list("").await, Ok(vec!["folder/object".to_owned()]));
    assert_eq!(own.get("folder/object", 10).await, Ok(Some(Bytes::from_static(b"0123456789"))));
}

#[tokio::test]
async fn an_account_writes_its_own_bucket_only() {
    let network = Network::start().await;
    let alice = network.own("alice", "alice-bucket").await;
    alice.put("k", Bytes::from_static(b"hers"), Put::Replace).await.unwrap();

    let bob_at_alice_s = network.own("bob", "alice-bucket").await;
    let forged = || Bytes::from_static(b"his");
    assert_named(bob_at_alice_s.put("k", forged(), Put::Replace).await, "AccessDenied");
    assert_named(bob_at_alice_s.put("k2", forged(), Put::Immutable).await, "AccessDenied");
    assert_named(bob_at_alice_s.put("big", conformance::body(17 << 20), Put::Replace).await, "AccessDenied");
    assert_named(bob_at_alice_s.list("").await, "AccessDenied");
    assert_named(bob_at_alice_s.delete("k").await, "AccessDenied");
    assert_eq!(bob_at_alice_s.get("k", 9).await, Ok(Some(Bytes::from_static(b"hers"))), "readable, as for everybody");
    assert_named(network.own("bob", "bob-bukcet").await.put("k", forged(), Put::Replace).await, "NoSuchBucket");

    for (who, secret, code) in
        [("alice", "guess", "SignatureDoesNotMatch"), ("mallory", "letmein", "InvalidAccessKeyId")]
    {
        let intruder = S3OwnBucket::connect(address("alice-bucket"), &network.config(who, secret)).await;
        let refused = intruder.put("k", forged(), Put::Replace).await.unwrap_err();
        assert_eq!(refused.name, "AccessDenied");
        assert!(refused.message.contains(code), "{refused}");
        assert!(!refused.message.contains(secret), "{refused}");
    }
    assert_eq!(alice.list("").await, Ok(vec!["k".to_owned()]));
}

#[tokio::test]
async fn a_replaced_pointer_is_never_seen_torn() {
    let network = Network::start().await;
    let (own, public) = (network.own("alice", "alice-bucket").await, Arc::new(network.public()));
    let versions: Vec<Bytes> = (1..=2).map(|n| Bytes::from(vec![n; n as usize * 700_000])).collect();
    own.put("latest.json", versions[0].clone(), Put::Replace).await.unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (public, versions, done) = (public.clone(), versions.clone(), done.clone());
            tokio::spawn(async move {
                let mut reads = 0;
                while done.load(Ordering::Relaxed) == 0 {
                    let read = public.get(&address("alice-bucket"), "latest.json", limits(2_000_000)).await;
                    assert!(versions.contains(&read.unwrap().expect("there is always one")), "a torn object");
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    for round in 1..=40 {
        own.put("latest.json", versions[round % 2].clone(), Put::Replace).await.unwrap();
    }
    done.store(1, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn of_many_immutable_writers_one_wins() {
    let network = Network::start().await;
    let own = Arc::new(network.own("alice", "alice-bucket").await);
    let writers = (0..8u8).map(|n| {
        let own = own.clone();
        async move { own.put("once", Bytes::from(vec![n; 5 + usize::from(n)]), Put::Immutable).await.is_ok() }
    });
    let outcomes = futures::future::join_all(writers).await;
    assert_eq!(outcomes.iter().filter(|won| **won).count(), 1, "{outcomes:?}");
    let winner = outcomes.iter().position(|won| *won).unwrap();
    assert_eq!(own.get("once", 100).await, Ok(Some(Bytes::from(vec![winner as u8; 5 + winner]))));
}

#[tokio::test]
async fn an_upload_whose_caller_went_away_leaves_no_parts() {
    let network = Network::start().await;
    let own = network.own("alice", "alice-bucket").await;
    let parts = || {
        let uploads = std::fs::read_dir(network.dir.path().join("tmp")).unwrap().flatten();
        uploads.filter(|entry| entry.file_name().to_string_lossy().starts_with("upload-")).count()
    };
    let body = conformance::body(40 << 20);
    let upload = own.put("big", body, Put::Replace);
    let begun = async {
        while parts() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        outcome = upload => panic!("done before it was seen: {outcome:?}"),
        () = begun => {}
    }
    let taken_back = async {
        while parts() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), taken_back).await.expect("the upload is still there");
    assert_eq!(own.list("").await, Ok(vec![]));
}

#[tokio::test]
async fn objects_outlive_the_server() {
    let network = Network::start().await;
    network.own("alice", "alice-bucket").await.put("k", Bytes::from_static(b"kept"), Put::Immutable).await.unwrap();
    let before = network.public();
    let Network { dir, server } = network;
    server.stop().await;
    let quick = ReadLimits { deadline: Duration::from_millis(500), ..limits(9) };
    assert_named(before.get(&address("alice-bucket"), "k", quick).await, "Unreachable");
    let network = Network { server: serve(&dir).await, dir };
    let read = network.public().get(&address("alice-bucket"), "k", limits(9)).await;
    assert_eq!(read, Ok(Some(Bytes::from_static(b"kept"))));
}

/// A server that reads each request's head and then does what `script` says; it counts and keeps what it was asked.
struct Hostile {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Hostile {
    async fn start<F>(script: impl Fn(TcpStream, usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                let number = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(String::from_utf8_lossy(&head).to_lowercase());
                    seen.len()
                };
                tokio::spawn(script(stream, number));
            }
        });
        Self { endpoint, requests }
    }

    /// Answers `answer` and closes.
    async fn saying(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::start(move |mut stream, _| {
            let answer = answer.clone();
            async move { stream.write_all(answer.as_bytes()).await }
        })
        .await
    }

    /// Answers `status` with an S3 error of that code.
    async fn refusing(status: u16, code: &str) -> Self {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
        Self::saying(format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await
    }

    fn asked(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// Reads as a stranger: at most 1000 bytes, in at most 1.5 s, at 1000 bytes a second after 0.3 s.
    async fn read(&self) -> (Result<Option<Bytes>, PortError>, Duration) {
        self.read_within(ReadLimits {
            max_bytes: 1000,
            deadline: Duration::from_millis(1500),
            min_bytes_per_second: 1000,
        })
        .await
    }

    async fn read_within(&self, limits: ReadLimits) -> (Result<Option<Bytes>, PortError>, Duration) {
        let config = S3Config {
            endpoint_url: Some(self.endpoint.clone()),
            credentials: Some(Credentials::new("AKID", "secret", None, None, "test")),
            ..S3Config::default()
        };
        let public = S3PublicBuckets::new(&config).with_grace(Duration::from_millis(300));
        let started = Instant::now();
        let outcome = public.get(&address("shop"), "key", limits).await;
        (outcome, started.elapsed())
    }
}

/// Long enough for a loaded machine, short enough that nothing hangs: every outcome comes within its deadline and a second.
const AT_MOST: Duration = Duration::from_millis(2500);

#[track_caller]
fn assert_outcome((outcome, elapsed): (Result<Option<Bytes>, PortError>, Duration), name: &str) {
    assert_named(outcome, name);
    assert!(elapsed < AT_MOST, "{name} took {elapsed:?}");
}

#[tokio::test]
async fn silence_is_too_slow_or_ends_at_the_deadline() {
    let silent = Hostile::start(|stream, _| async move {
        tokio::time::sleep(Duration::from_mins(1)).await;
        drop(stream);
        Ok(())
    })
    .await;
    assert_outcome(silent.read().await, "TooSlow");
    let patient = ReadLimits { max_bytes: 10, deadline: Duration::from_millis(400), min_bytes_per_second: 0 };
    assert_outcome(silent.read_within(patient).await, "Deadline");
    assert_eq!(silent.asked(), 2, "what has used its time is not asked again");
    let headers = Hostile::start(|mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").await?;
        tokio::time::sleep(Duration::from_mins(1)).await;
        Ok(())
    })
    .await;
    assert_outcome(headers.read().await, "TooSlow");
}

/// Sends `len` bytes, `chunk` every 50 ms.
async fn dripping(len: usize, chunk: usize) -> Hostile {
    Hostile::start(move |mut stream, _| async move {
        stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n").as_bytes()).await?;
        for _ in 0..len / chunk {
            stream.write_all(&vec![b'x'; chunk]).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_drip_is_given_up_and_a_slow_line_is_not() {
    assert_outcome(dripping(1000, 1).await.read().await, "TooSlow");
    // 0.5 s in all, longer than the grace, at 2000 bytes a second.
    let (slow, _) = dripping(1000, 100).await.read().await;
    assert_eq!(slow, Ok(Some(Bytes::from(vec![b'x'; 1000]))));
}

#[tokio::test]
async fn a_body_is_capped_whatever_is_said_of_it() {
    let stated = dripping(1001, 1).await;
    let (outcome, elapsed) = stated.read().await;
    assert_named(outcome, "TooLarge");
    assert!(elapsed < Duration::from_secs(1), "the stated length was enough: {elapsed:?}");
    let absurd = Hostile::saying(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\nx", u64::MAX)).await;
    let (outcome, _) = absurd.read().await;
    assert!(outcome.is_err(), "{outcome:?}");
    let endless = Hostile::start(|mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
        loop {
            stream.write_all(b"5\r\nxxxxx\r\n").await?;
        }
    })
    .await;
    assert_outcome(endless.read().await, "TooLarge");
    let error = Hostile::start(|mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 403 X\r\ntransfer-encoding: chunked\r\n\r\n").await?;
        loop {
            stream.write_all(format!("1000\r\n{}\r\n", "<a>".repeat(4096).split_at(4096).0).as_bytes()).await?;
        }
    })
    .await;
    let (outcome, elapsed) = error.read().await;
    assert_named(outcome, "AccessDenied");
    assert!(elapsed < Duration::from_secs(1), "an endless error was read to its end: {elapsed:?}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_asked_for_again_and_then_named() {
    let short = Hostile::saying("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this").await;
    assert_outcome(short.read().await, "Truncated");
    assert_eq!(short.asked(), 3);
    let recovering = Hostile::start(|mut stream, number| async move {
        let answer = match number {
            1 => "HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\n\r\n",
            2 => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this",
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nonly this",
        };
        stream.write_all(answer.as_bytes()).await
    })
    .await;
    assert_eq!(recovering.read().await.0, Ok(Some(Bytes::from_static(b"only this"))));
}

#[tokio::test]
async fn each_refusal_has_its_name() {
    for (status, code, name, asked) in [
        (403, "AccessDenied", "AccessDenied", 1),
        (403, "RequestTimeTooSkewed", "ClockSkew", 1),
        (404, "NoSuchBucket", "NoSuchBucket", 1),
        (400, "AuthorizationHeaderMalformed", "WrongRegion", 1),
        (418, "Teapot", "Server", 1),
    ] {
        let hostile = Hostile::refusing(status, code).await;
        assert_outcome(hostile.read().await, name);
        assert_eq!(hostile.asked(), asked, "{status} {code}");
    }
    assert_eq!(Hostile::refusing(404, "NoSuchKey").await.read().await.0, Ok(None));
    assert_eq!(Hostile::saying("HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n").await.read().await.0, Ok(None));
    let (internal, slow_down) =
        (Hostile::refusing(500, "InternalError").await, Hostile::refusing(503, "SlowDown").await);
    let (first, second) = tokio::join!(internal.read(), slow_down.read());
    assert!(second.0.as_ref().is_err_and(|e| e.message.contains("503 SlowDown")), "{second:?}");
    assert_outcome(first, "Server");
    assert_outcome(second, "Server");
    assert_eq!([internal.asked(), slow_down.asked()], [3, 3]);
    let babble = Hostile::saying("SSH-2.0-OpenSSH_9.2\r\n").await;
    assert_outcome(babble.read().await, "Unreachable");
    let refused = Hostile { endpoint: "http://127.0.0.1:1".into(), requests: Arc::default() };
    assert_outcome(refused.read().await, "Unreachable");
}

#[tokio::test]
async fn a_redirect_is_named_and_not_followed() {
    let target = Hostile::saying("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil").await;
    for status in [301, 302, 303, 307, 308] {
        let location = &target.endpoint;
        let answer = format!("HTTP/1.1 {status} X\r\nlocation: {location}/shop/key\r\ncontent-length: 0\r\n\r\n");
        assert_outcome(Hostile::saying(answer).await.read().await, "Redirect");
    }
    let elsewhere = "HTTP/1.1 301 X\r\nx-amz-bucket-region: eu-west-1\r\ncontent-length: 0\r\n\r\n";
    let (outcome, _) = Hostile::saying(elsewhere).await.read().await;
    assert!(outcome.as_ref().is_err_and(|e| e.message.contains("region `eu-west-1`")), "{outcome:?}");
    assert_named(outcome, "WrongRegion");
    assert_eq!(target.asked(), 0);
}

#[tokio::test]
async fn strangers_buckets_are_never_shown_credentials() {
    let curious = Hostile::saying("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(curious.read().await.0, Ok(Some(Bytes::from_static(b"ok"))));
    let request = curious.requests.lock().unwrap().concat();
    assert!(request.starts_with("get /shop/key"), "{request}");
    for secret in ["authorization", "akid", "x-amz-security-token", "signature"] {
        assert!(!request.contains(secret), "{request}");
    }
}
