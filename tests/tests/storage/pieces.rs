//! Large objects come in pieces, several at a time: what a server can do to that.

use std::time::Duration;

use bistro_core::ids::Hash;
use bistro_core::ports::{PublicBuckets as _, ReadLimits};
use bistro_storage::conformance::{assert_named, body};
use bytes::Bytes;

use crate::misbehaving::{Misbehaving, Request};
use crate::network::address;

/// Two whole pieces of 32 MiB and a bit.
const LENGTH: usize = (64 << 20) + 12_345;
const PIECE: usize = 32 << 20;

fn limits(max_bytes: usize) -> ReadLimits {
    ReadLimits { max_bytes: max_bytes as u64, deadline: Duration::from_secs(20), min_bytes_per_second: 1000 }
}

/// Answers a range of `body` as S3 does, but sends only `sent` bytes of it.
async fn answer(request: &mut Request, body: &Bytes, sent: usize) -> std::io::Result<()> {
    let Some((first, last)) = request.range() else { return request.say("HTTP/1.1 400 X\r\n\r\n").await };
    let last = last.min(body.len() - 1);
    let head = format!(
        "HTTP/1.1 206 X\r\netag: \"tag\"\r\ncontent-range: bytes {first}-{last}/{}\r\ncontent-length: {}\r\n\r\n",
        body.len(),
        last + 1 - first
    );
    request.say(head).await?;
    request.say(&body[first..=last.min(first + sent - 1)]).await
}

#[tokio::test]
async fn pieces_are_joined_and_one_that_broke_off_goes_on_where_it_did() {
    let sent = body(LENGTH);
    let served = sent.clone();
    let server = Misbehaving::start(move |mut request| {
        let body = served.clone();
        async move {
            let breaks = request.range() == Some((PIECE, 2 * PIECE - 1));
            answer(&mut request, &body, if breaks { 1 << 20 } else { usize::MAX >> 1 }).await
        }
    })
    .await;
    let public = server.public();
    let read = public.get_hashed(&address("shop"), "key", limits(LENGTH), &Hash::of(&sent)).await;
    assert!(read.unwrap().unwrap() == sent);
    let asked = server.heads();
    let mut ranges: Vec<_> = asked.iter().filter_map(|head| head.split("range: bytes=").nth(1)).collect();
    ranges.sort_unstable();
    let ranges: Vec<_> = ranges.iter().filter_map(|range| range.lines().next()).collect();
    assert_eq!(ranges, ["0-33554431", "33554432-67108863", "34603008-67108863", "67108864-67121208"]);
    let pinned = asked.iter().filter(|head| head.contains("if-match: \"tag\"")).count();
    assert_eq!(pinned, 3, "every piece but the first is of the very object that was begun");
}

#[tokio::test]
async fn a_flipped_byte_or_another_object_is_found_out() {
    let sent = body(LENGTH);
    let mut flipped = sent.to_vec();
    flipped[PIECE + 5] ^= 0x10;
    let flipped = Bytes::from(flipped);
    let server = Misbehaving::start(move |mut request| {
        let body = flipped.clone();
        async move { answer(&mut request, &body, usize::MAX >> 1).await }
    })
    .await;
    let read = server.public().get_hashed(&address("shop"), "key", limits(LENGTH), &Hash::of(&sent)).await;
    assert_named(read, "WrongHash");
    let replaced = Misbehaving::start(move |mut request| {
        let body = sent.clone();
        async move {
            if request.number == 1 {
                return answer(&mut request, &body, usize::MAX >> 1).await;
            }
            request.say("HTTP/1.1 412 X\r\ncontent-length: 0\r\n\r\n").await
        }
    })
    .await;
    assert_named(replaced.public().get(&address("shop"), "key", limits(LENGTH)).await, "Changed");
}

#[tokio::test]
async fn a_server_without_ranges_serves_all_the_same() {
    let sent = body(LENGTH);
    let served = sent.clone();
    let server = Misbehaving::start(move |mut request| {
        let body = served.clone();
        async move {
            request.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len())).await?;
            request.say(body).await
        }
    })
    .await;
    let (public, shop) = (server.public(), address("shop"));
    assert!(public.get_hashed(&shop, "key", limits(LENGTH), &Hash::of(&sent)).await.unwrap().unwrap() == sent);
    assert_named(public.get_hashed(&shop, "key", limits(LENGTH), &Hash::of(b"")).await, "WrongHash");
    assert_named(public.get(&shop, "key", limits(LENGTH - 1)).await, "TooLarge");
    let empty = Misbehaving::start(|mut request| async move {
        let status = if request.range().is_some() { "416 X" } else { "200 OK" };
        request.say(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")).await
    })
    .await;
    assert_eq!(empty.public().get(&shop, "key", limits(LENGTH)).await, Ok(Some(Bytes::new())));
}

#[tokio::test]
async fn a_range_that_is_a_lie_is_named() {
    for (range, length, name) in [
        (format!("bytes 1-33554432/{LENGTH}"), PIECE, "Malformed"),
        (format!("bytes 0-99/{LENGTH}"), 100, "Malformed"),
        ("bytes 0-33554431/*".into(), PIECE, "Malformed"),
        (format!("bytes 0-33554431/{}", LENGTH + 1), PIECE, "TooLarge"),
        (format!("bytes 0-33554431/{LENGTH}"), PIECE + 1, "Malformed"),
    ] {
        let server = Misbehaving::start(move |mut request| {
            let head = format!("HTTP/1.1 206 X\r\ncontent-range: {range}\r\ncontent-length: {length}\r\n\r\n");
            async move {
                request.say(head).await?;
                request.say(vec![0; length]).await
            }
        })
        .await;
        server.read_within(limits(LENGTH)).await.is(name);
    }
    let unasked =
        Misbehaving::saying("HTTP/1.1 206 X\r\ncontent-range: bytes 0-1/9\r\ncontent-length: 2\r\n\r\nok").await;
    unasked.read().await.is("Malformed");
}

#[tokio::test]
async fn memory_that_is_not_there_is_not_taken() {
    let length = 1u64 << 60;
    let server = Misbehaving::start(move |mut request| async move {
        request.say(format!("HTTP/1.1 206 X\r\ncontent-range: bytes 0-33554431/{length}\r\n")).await?;
        request.say("content-length: 33554432\r\n\r\n").await
    })
    .await;
    server.read_within(limits(usize::MAX >> 1)).await.is("NoMemory");
}

/// Each piece has its own connection, but there is one least throughput and one deadline for all.
#[tokio::test]
async fn pieces_that_drip_are_too_slow_together() {
    let server = Misbehaving::start(|mut request| async move {
        let Some((first, last)) = request.range() else { return Ok(()) };
        let size = last + 1 - first;
        let head =
            format!("HTTP/1.1 206 X\r\ncontent-range: bytes {first}-{last}/{}\r\ncontent-length: {size}", 4 * PIECE);
        request.say(format!("{head}\r\n\r\n")).await?;
        loop {
            request.say("xx").await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    server.read_within(limits(4 * PIECE)).await.is("TooSlow");
    let patient = ReadLimits { min_bytes_per_second: 0, deadline: Duration::from_millis(700), ..limits(4 * PIECE) };
    server.read_within(patient).await.is("Deadline");
}
