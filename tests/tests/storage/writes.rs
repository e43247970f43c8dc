//! What a server can do to a writer, who has keys: each refusal has its name, and says what to do.

use bistro_core::ports::{OwnBucket as _, Put, Retry};
use bistro_storage::conformance::{assert_named, body};
use bytes::Bytes;

use crate::misbehaving::Misbehaving;

#[tokio::test]
async fn each_refusal_of_a_write_has_its_name_and_remedy() {
    for (status, code, name, remedy) in [
        (403, "AccessDenied", "AccessDenied", "check the access key"),
        (403, "SignatureDoesNotMatch", "AccessDenied", "SignatureDoesNotMatch"),
        (400, "ExpiredToken", "AccessDenied", "ExpiredToken"),
        (403, "RequestTimeTooSkewed", "ClockSkew", "timedatectl"),
        (404, "NoSuchBucket", "NoSuchBucket", "Check its name"),
        (400, "AuthorizationHeaderMalformed", "WrongRegion", "AWS_REGION"),
        (307, "", "Redirect", "AWS_ENDPOINT_URL"),
    ] {
        let own = Misbehaving::refusing(status, code).await.own().await;
        let error = own.put("key", Bytes::from_static(b"x"), Put::Immutable).await.unwrap_err();
        assert_eq!((error.name.as_str(), error.retry), (name, Retry::Never), "{error}");
        assert!(error.message.contains(remedy), "`{error}` lacks `{remedy}`");
        assert!(!error.message.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn bytes_that_arrive_damaged_are_sent_again_later() {
    for code in ["BadDigest", "XAmzContentSHA256Mismatch"] {
        let own = Misbehaving::refusing(400, code).await.own().await;
        let error = own.put("key", Bytes::from_static(b"x"), Put::Replace).await.unwrap_err();
        assert_eq!((error.name.as_str(), error.retry), ("Damaged", Retry::Soon), "{error}");
    }
}

#[tokio::test]
async fn a_part_that_is_refused_takes_the_upload_back() {
    let server = Misbehaving::start(|mut request| async move {
        let begun = "<?xml version=\"1.0\"?><InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
        let answer = if request.head.starts_with("post /shop/key?uploads") {
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{begun}", begun.len())
        } else if request.head.starts_with("delete /shop/key?") {
            "HTTP/1.1 204 X\r\n\r\n".to_owned()
        } else {
            "HTTP/1.1 403 X\r\ncontent-length: 0\r\n\r\n".to_owned()
        };
        request.say(answer).await
    })
    .await;
    assert_named(server.own().await.put("key", body(20 << 20), Put::Replace).await, "AccessDenied");
    let aborted = server
        .heads()
        .iter()
        .filter(|head| head.starts_with("delete /shop/key?") && head.contains("uploadid=u1"))
        .count();
    assert_eq!(aborted, 1, "{:?}", server.heads());
}

#[tokio::test]
async fn a_busy_server_is_asked_again_and_then_may_be_later() {
    let recovering = Misbehaving::start(|mut request| async move {
        let status = if request.number == 1 { "503 Slow Down" } else { "200 OK" };
        request.say(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")).await
    })
    .await;
    assert_eq!(recovering.own().await.put("key", Bytes::from_static(b"x"), Put::Immutable).await, Ok(()));
    let busy = Misbehaving::refusing(503, "SlowDown").await;
    let error = busy.own().await.put("key", Bytes::from_static(b"x"), Put::Replace).await.unwrap_err();
    assert_eq!((error.name.as_str(), error.retry), ("Server", Retry::Soon));
    assert_eq!(busy.asked(), 3);
}
