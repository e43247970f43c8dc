//! What a stranger's bucket can do to a reader: each misbehaviour ends in one named outcome, within its deadline.

use std::time::Duration;

use bistro_core::ports::{ReadLimits, Retry};
use bytes::Bytes;

use crate::misbehaving::{Misbehaving, SMALL};

const OK: &str = "HTTP/1.1 200 OK\r\n";

#[tokio::test]
async fn silence_is_too_slow_or_ends_at_the_deadline() {
    let silent = Misbehaving::start(|request| async move {
        tokio::time::sleep(Duration::from_mins(1)).await;
        drop(request);
        Ok(())
    })
    .await;
    silent.read().await.is("TooSlow");
    let patient = ReadLimits { max_bytes: 10, deadline: Duration::from_millis(400), min_bytes_per_second: 0 };
    silent.read_within(patient).await.is("Deadline");
    assert_eq!(silent.asked(), 2, "what has used its time is not asked again");
    let headers = Misbehaving::start(|mut request| async move {
        request.say(format!("{OK}content-length: 10\r\n\r\n")).await?;
        tokio::time::sleep(Duration::from_mins(1)).await;
        Ok(())
    })
    .await;
    headers.read().await.is("TooSlow");
}

/// Sends `len` bytes, `chunk` every 50 ms.
async fn dripping(len: usize, chunk: usize) -> Misbehaving {
    Misbehaving::start(move |mut request| async move {
        request.say(format!("{OK}content-length: {len}\r\n\r\n")).await?;
        for _ in 0..len / chunk {
            request.say(vec![b'x'; chunk]).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_drip_is_given_up_and_a_slow_line_is_not() {
    dripping(1000, 1).await.read().await.is("TooSlow");
    // 0.5 s in all, longer than the grace, at 2000 bytes a second.
    let slow = dripping(1000, 100).await.read().await.result;
    assert_eq!(slow, Ok(Some(Bytes::from(vec![b'x'; 1000]))));
}

#[tokio::test]
async fn headers_are_bounded_in_time_size_and_number() {
    let drip = Misbehaving::start(|mut request| async move {
        request.say(OK).await?;
        loop {
            request.say("x-slow: 1\r\n").await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    drip.read().await.is("TooSlow");
    let huge = Misbehaving::start(|mut request| async move {
        request.say(format!("{OK}x-huge: ")).await?;
        loop {
            request.say([b'x'; 4096]).await?;
        }
    })
    .await;
    huge.read().await.fails_at_once("Malformed");
    let many = Misbehaving::start(|mut request| async move {
        request.say(OK).await?;
        for n in 0..100_000 {
            request.say(format!("x-{n}: 1\r\n")).await?;
        }
        request.say("content-length: 0\r\n\r\n").await
    })
    .await;
    many.read().await.fails_at_once("Malformed");
}

#[tokio::test]
async fn a_body_is_capped_whatever_is_said_of_it() {
    dripping(1001, 1).await.read().await.fails_at_once("TooLarge");
    for absurd in
        ["content-length: 18446744073709551615", "content-length: -1", "content-length: 1\r\ncontent-length: 2"]
    {
        let outcome = Misbehaving::saying(format!("{OK}{absurd}\r\n\r\nx")).await.read().await;
        assert!(outcome.result.is_err(), "{absurd}: {outcome:?}");
    }
    let endless = Misbehaving::start(|mut request| async move {
        request.say(format!("{OK}transfer-encoding: chunked\r\n\r\n")).await?;
        loop {
            request.say("5\r\nxxxxx\r\n").await?;
        }
    })
    .await;
    endless.read().await.is("TooLarge");
    let error = Misbehaving::start(|mut request| async move {
        request.say("HTTP/1.1 403 X\r\ntransfer-encoding: chunked\r\n\r\n").await?;
        loop {
            request.say(format!("1000\r\n{}\r\n", "<a>".repeat(4096).split_at(4096).0)).await?;
        }
    })
    .await;
    // Not read to its end, which never comes.
    error.read().await.fails_at_once("AccessDenied");
}

/// A megabyte of zeros is a kilobyte as gzip; what is stored is what is read, and what the caps are for.
#[tokio::test]
async fn a_compressed_body_is_never_blown_up() {
    let bomb: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03 this would be a megabyte of zeros";
    for coding in ["gzip", "deflate", "br", "zstd", "aws-chunked, gzip"] {
        let head = format!("{OK}content-encoding: {coding}\r\ncontent-length: {}\r\n\r\n", bomb.len());
        let server = Misbehaving::saying([head.as_bytes(), bomb].concat()).await;
        assert_eq!(server.read().await.result, Ok(Some(Bytes::from_static(bomb))), "{coding}");
        assert!(!server.heads().concat().contains("accept-encoding: gzip"), "{:?}", server.heads());
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_asked_for_again_and_then_named() {
    let short = Misbehaving::saying(format!("{OK}content-length: 100\r\n\r\nonly this")).await;
    short.read().await.is("Truncated");
    assert_eq!(short.asked(), 3);
    let longer = Misbehaving::saying(format!("{OK}content-length: 4\r\n\r\nonly this")).await;
    assert_eq!(longer.read().await.result, Ok(Some(Bytes::from_static(b"only"))), "what follows belongs to nobody");
    let recovering = Misbehaving::start(|mut request| async move {
        let answer = match request.number {
            1 => "HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\n\r\n",
            2 => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this",
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nonly this",
        };
        request.say(answer).await
    })
    .await;
    assert_eq!(recovering.read().await.result, Ok(Some(Bytes::from_static(b"only this"))));
}

#[tokio::test]
async fn each_refusal_has_its_name() {
    for (status, code, name) in [
        (403, "AccessDenied", "AccessDenied"),
        (403, "RequestTimeTooSkewed", "ClockSkew"),
        (404, "NoSuchBucket", "NoSuchBucket"),
        (400, "AuthorizationHeaderMalformed", "WrongRegion"),
        (418, "Teapot", "Server"),
    ] {
        let server = Misbehaving::refusing(status, code).await;
        server.read().await.is(name);
        assert_eq!(server.asked(), 1, "{status} {code}");
    }
    assert_eq!(Misbehaving::refusing(404, "NoSuchKey").await.read().await.result, Ok(None));
    let bare = Misbehaving::saying("HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(bare.read().await.result, Ok(None));
    Misbehaving::absent().read().await.is("Unreachable");
    Misbehaving::saying("").await.read().await.is("Unreachable");
    Misbehaving::saying("SSH-2.0-OpenSSH_9.2\r\n").await.read().await.fails_at_once("Malformed");
}

#[tokio::test]
async fn a_busy_server_is_asked_three_times_and_may_be_later() {
    let (internal, slow_down) =
        (Misbehaving::refusing(500, "InternalError").await, Misbehaving::refusing(503, "SlowDown").await);
    let (first, second) = tokio::join!(internal.read(), slow_down.read());
    let told = second.result.as_ref().is_err_and(|e| e.message.contains("503 SlowDown") && e.retry == Retry::Soon);
    assert!(told, "{second:?}");
    first.is("Server");
    second.is("Server");
    assert_eq!([internal.asked(), slow_down.asked()], [3, 3]);
}

#[tokio::test]
async fn a_redirect_is_named_and_not_followed() {
    let target = Misbehaving::saying(format!("{OK}content-length: 4\r\n\r\nevil")).await;
    for status in [301, 302, 303, 307, 308] {
        let location = &target.endpoint;
        let answer = format!("HTTP/1.1 {status} X\r\nlocation: {location}/shop/key\r\ncontent-length: 0\r\n\r\n");
        Misbehaving::saying(answer).await.read().await.is("Redirect");
    }
    let elsewhere = "HTTP/1.1 301 X\r\nx-amz-bucket-region: eu-west-1\r\ncontent-length: 0\r\n\r\n";
    let outcome = Misbehaving::saying(elsewhere).await.read().await;
    assert!(outcome.result.as_ref().is_err_and(|e| e.message.contains("region `eu-west-1`")), "{outcome:?}");
    outcome.is("WrongRegion");
    assert_eq!(target.asked(), 0);
    // Nobody asked whether it changed.
    Misbehaving::saying("HTTP/1.1 304 X\r\n\r\n").await.read_within(SMALL).await.is("Redirect");
}
