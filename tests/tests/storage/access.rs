//! Who may do what in the embedded server's buckets.

use bistro_core::ports::{OwnBucket as _, Put};
use bistro_storage::S3OwnBucket;
use bistro_storage::conformance::{self, assert_named};
use bytes::Bytes;

use crate::network::{Network, address};

#[tokio::test]
async fn a_stranger_reads_objects_by_name_and_nothing_else() {
    let network = Network::start().await;
    let own = network.own("alice", "alice-bucket").await;
    own.put("bistro/v1/object", Bytes::from_static(b"0123456789"), Put::Replace).await.unwrap();
    let object = "/alice-bucket/bistro/v1/object";

    let read = network.raw("GET", object, "", "").await;
    assert!(read.starts_with("HTTP/1.1 200") && read.ends_with("0123456789"), "{read}");
    assert!(network.raw("HEAD", object, "", "").await.starts_with("HTTP/1.1 200"));
    own.put("elsewhere", Bytes::from_static(b"private"), Put::Replace).await.unwrap();
    assert!(network.raw("GET", "/alice-bucket/elsewhere", "", "").await.starts_with("HTTP/1.1 403"));
    own.delete("elsewhere").await.unwrap();
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
    assert!(network.raw("GET", "/alice-bucket/bistro/v1/none", "", "").await.contains("NoSuchKey"));
    assert!(network.raw("GET", "/no-such-bucket/bistro/v1/none", "", "").await.contains("NoSuchBucket"));

    let forbidden = [
        ("PUT", object, "", "forged"),
        ("PUT", "/alice-bucket/bistro/v1/new", "", "forged"),
        ("PUT", "/alice-bucket/bistro/v1/new", "x-amz-copy-source: /alice-bucket/bistro/v1/object\r\n", ""),
        ("DELETE", object, "", ""),
        ("POST", "/alice-bucket?delete", "", "<Delete/>"),
        ("POST", "/alice-bucket/bistro/v1/new?uploads", "", ""),
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
    assert_eq!(own.list("").await, Ok(vec!["bistro/v1/object".to_owned()]));
    assert_eq!(own.get("bistro/v1/object", 10).await, Ok(Some(Bytes::from_static(b"0123456789"))));
}

#[tokio::test]
async fn an_account_writes_its_own_bucket_only() {
    let network = Network::start().await;
    let alice = network.own("alice", "alice-bucket").await;
    alice.put("bistro/v1/k", Bytes::from_static(b"hers"), Put::Replace).await.unwrap();

    let bob_at_alice_s = network.own("bob", "alice-bucket").await;
    let forged = || Bytes::from_static(b"his");
    assert_named(bob_at_alice_s.put("bistro/v1/k", forged(), Put::Replace).await, "AccessDenied");
    assert_named(bob_at_alice_s.put("k2", forged(), Put::Immutable).await, "AccessDenied");
    assert_named(bob_at_alice_s.put("big", conformance::body(17 << 20), Put::Replace).await, "AccessDenied");
    assert_named(bob_at_alice_s.list("").await, "AccessDenied");
    assert_named(bob_at_alice_s.delete("bistro/v1/k").await, "AccessDenied");
    assert_eq!(
        bob_at_alice_s.get("bistro/v1/k", 9).await,
        Ok(Some(Bytes::from_static(b"hers"))),
        "readable, as for everybody"
    );
    assert_named(
        network.own("bob", "bob-bukcet").await.put("bistro/v1/k", forged(), Put::Replace).await,
        "NoSuchBucket",
    );

    for (who, secret, code) in
        [("alice", "guess", "SignatureDoesNotMatch"), ("mallory", "letmein", "InvalidAccessKeyId")]
    {
        let intruder = S3OwnBucket::connect(address("alice-bucket"), &network.config(who, secret)).await;
        let refused = intruder.put("bistro/v1/k", forged(), Put::Replace).await.unwrap_err();
        assert_eq!(refused.name, "AccessDenied");
        assert!(refused.message.contains(code), "{refused}");
        assert!(!refused.message.contains(secret), "{refused}");
    }
    assert_eq!(alice.list("").await, Ok(vec!["bistro/v1/k".to_owned()]));
}
