//! Polling: a pointer that did not change costs a question and no body.

use bistro_core::ports::PublicBuckets as _;
use bistro_storage::conformance::assert_named;
use bytes::Bytes;

use crate::misbehaving::{Misbehaving, SMALL};
use crate::network::address;

#[tokio::test]
async fn an_unchanged_pointer_costs_no_body() {
    let server = Misbehaving::start(|mut request| async move {
        let version = if request.number < 4 { 1 } else { 2 };
        let known = request.header("if-none-match") == Some(format!("\"v{version}\"").as_str());
        let answer = if known {
            "HTTP/1.1 304 Not Modified\r\n\r\n".to_owned()
        } else {
            format!("HTTP/1.1 200 OK\r\netag: \"v{version}\"\r\ncontent-length: 8\r\n\r\nversion{version}")
        };
        request.say(answer).await
    })
    .await;
    let (public, shop) = (server.public(), address("shop"));
    let mut read = Vec::new();
    for _ in 0..6 {
        read.push(public.get(&shop, "latest.json", SMALL).await.unwrap().unwrap());
    }
    assert_eq!(
        read,
        [&b"version1"[..], b"version1", b"version1", b"version2", b"version2", b"version2"].map(Bytes::from)
    );
    let asked: Vec<_> =
        server.heads().iter().map(|head| head.split("if-none-match: ").nth(1).map(|tag| tag[..4].to_owned())).collect();
    let (one, two) = (Some("\"v1\"".to_owned()), Some("\"v2\"".to_owned()));
    assert_eq!(asked, [None, one.clone(), one.clone(), one, two.clone(), two]);
    let other = public.get(&address("other-shop"), "latest.json", SMALL).await;
    assert!(other.is_ok());
    assert!(!server.heads()[6].contains("if-none-match"), "another bucket's tag");
}

#[tokio::test]
async fn what_is_known_is_not_given_for_a_failure() {
    let server = Misbehaving::start(|mut request| async move {
        let answer = match request.number {
            1 => "HTTP/1.1 200 OK\r\netag: \"v1\"\r\ncontent-length: 2\r\n\r\nok",
            2 => "HTTP/1.1 403 X\r\ncontent-length: 0\r\n\r\n",
            _ => "HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n",
        };
        request.say(answer).await
    })
    .await;
    let (public, shop) = (server.public(), address("shop"));
    assert!(public.get(&shop, "latest.json", SMALL).await.unwrap().is_some());
    assert_named(public.get(&shop, "latest.json", SMALL).await, "AccessDenied");
    assert_eq!(public.get(&shop, "latest.json", SMALL).await, Ok(None));
}
