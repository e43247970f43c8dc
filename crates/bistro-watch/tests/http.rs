//! The server as visitors meet it: over real sockets, with real requests and with what is none.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bistro_core::events::Event;
use bistro_core::ids::{Block, Hash, Hotkey, Uid};
use bistro_core::skip::{Reason, Skip};
use bistro_node::status::Board;
use bistro_watch::complaints::Complaints;
use bistro_watch::server::{WebOptions, WebServer};
use bistro_watch::socket::{StatusSocket, ask};
use bistro_watch::{Source, View, WatchError, text};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

const HOSTILE: &str = "</script><script>alert(1)</script>\"\n<img src=x onerror=alert(2)>";

/// A validator that met a hostile miner and a hostile chain.
fn board() -> Board {
    let board = Board::default();
    board.change(|status| {
        status.about.program = "bistro-validator".into();
        status.about.network = HOSTILE.into();
        status.block = Block(1234);
    });
    let record = |event: Event| board.record(1_000, Block(7), &event);
    record(Event::Skipped {
        uid: Uid(3),
        hotkey: Hotkey([3; 32]),
        object: None,
        skip: Skip::new(Reason::BadManifest, HOSTILE),
    });
    record(Event::WeightsRefused { name: HOSTILE.into(), message: HOSTILE.into() });
    record(Event::Measured { seq: 4, hash: Hash([4; 32]), loss: 6.5 });
    board
}

fn source(board: &Board) -> Source {
    Source::new(board.clone(), Complaints::default(), std::env::temp_dir())
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

async fn start() -> (SocketAddr, CancellationToken) {
    let options = WebOptions { address: local(0), public: false, names: vec!["watch.example".into()] };
    let server = WebServer::bind(options).await.unwrap();
    let (address, stop) = (server.address(), CancellationToken::new());
    tokio::spawn(server.serve(source(&board()), stop.clone()));
    (address, stop)
}

/// Everything that the server answers to these bytes, until it closes.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A server that resets the connection has said what it had to say.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let answer = exchange(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn every_route_answers_and_what_the_page_loads_is_there() {
    let (address, stop) = start().await;
    let (head, page) = get(address, "/").await;
    assert!(head.starts_with("http/1.1 200") && head.contains("text/html"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'self'"), "{head}");
    let mut loaded = 0;
    for piece in page.split(['"', '\'']).filter(|piece| piece.starts_with('/') && piece.len() > 1) {
        let (head, body) = get(address, piece).await;
        assert!(head.starts_with("http/1.1 200") && !body.is_empty(), "{piece}: {head}");
        loaded += 1;
    }
    assert!(loaded >= 6, "{loaded}");
    assert!(!page.contains("http://") && !page.contains("https://"), "the page loads nothing from elsewhere");
    let (head, health) = get(address, "/healthz").await;
    assert_eq!((head.starts_with("http/1.1 200"), health.as_str()), (true, "ok\n"));
    assert!(get(address, "/nothing").await.0.starts_with("http/1.1 404"));
    assert!(get(address, "/../Cargo.toml").await.0.starts_with("http/1.1 404"));
    stop.cancel();
}

#[tokio::test]
async fn the_status_is_the_boards_and_hostile_text_stays_text() {
    let (address, stop) = start().await;
    let (head, json) = get(address, "/api/status").await;
    assert!(head.contains("content-type: application/json") && head.contains("x-content-type-options: nosniff"));
    let view: View = serde_json::from_str(&json).unwrap();
    assert_eq!(view.status, board().status());
    let (head, metrics) = get(address, "/metrics").await;
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    // One line a sample: a line feed in a label would begin a metric of the stranger's own.
    assert!(metrics.contains("bistro_validator_weights_blocked{name=\"</script>"), "{metrics}");
    for line in metrics.lines() {
        assert!(line.starts_with("# ") || line.starts_with("bistro_") || line.starts_with("process_"), "{line}");
    }
    assert!(metrics.contains("bistro_validator_skips_total{reason=\"bad_manifest\"} 1"), "{metrics}");
    assert!(metrics.contains("bistro_validator_master_loss_nats 6.5"), "{metrics}");
    assert!(!metrics.contains("bistro_miner_"), "a validator is no miner");
    stop.cancel();
}

/// What strangers wrote reaches the page as text and in no other way.
#[test]
fn the_page_never_makes_html_of_text() {
    for source in [include_str!("../assets/page.js"), include_str!("../assets/chart.js")] {
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            "setAttribute",
            ".href",
            ".src",
        ] {
            assert!(!source.contains(way), "{way}");
        }
    }
    let page = include_str!("../assets/index.html");
    assert!(
        !page.contains("<script>") && !page.contains("style=") && !page.contains(" on"),
        "the policy forbids what is inline"
    );
}

#[tokio::test]
async fn nothing_can_be_changed_and_a_head_has_no_body() {
    let (address, stop) = start().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        let request = format!("{method} /api/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        let answer = exchange(address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET, HEAD"), "{method}: {answer}");
    }
    let head = exchange(address, b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(!head.contains("content-length: 0"), "{head}");
    stop.cancel();
}

/// A page of a stranger whose name was made to point here asks under that name.
#[tokio::test]
async fn a_rebound_name_is_refused() {
    let (address, stop) = start().await;
    let ask =
        async |host: &str| exchange(address, format!("GET /api/status HTTP/1.1\r\n{host}\r\n\r\n").as_bytes()).await;
    for host in ["Host: evil.example", "Host: evil.example:9100", "Host: 127.0.0.1.evil.example", "Host: "] {
        let answer = ask(host).await;
        assert!(answer.starts_with("HTTP/1.1 421") && !answer.contains("bistro-validator"), "{host}: {answer}");
    }
    assert!(ask("X: y").await.starts_with("HTTP/1.1 400"));
    for host in ["Host: localhost:1", "Host: 127.0.0.1", "Host: [::1]:9100", "Host: Watch.Example"] {
        assert!(ask(host).await.starts_with("HTTP/1.1 200"), "{host}");
    }
    stop.cancel();
}

#[tokio::test]
async fn what_is_no_request_costs_little() {
    let (address, stop) = start().await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(10_000));
    for junk in [b"\x16\x03\x01\x02\x00".as_slice(), b"GET\r\n\r\n", long.as_bytes(), many.as_bytes()] {
        let answer = exchange(address, junk).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:.100}");
    }
    assert!(get(address, "/healthz").await.0.starts_with("http/1.1 200"), "and it still answers");
    stop.cancel();
}

/// In virtual time: whoever sends nothing is sent away, so that others get in.
#[tokio::test(start_paused = true)]
async fn visitors_who_say_nothing_do_not_keep_others_out() {
    let (address, stop) = start().await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HT").await.unwrap();
        silent.push(stream);
    }
    let answer = tokio::time::timeout(Duration::from_mins(1), get(address, "/healthz")).await.unwrap();
    assert!(answer.0.starts_with("http/1.1 200"));
    stop.cancel();
}

#[tokio::test]
async fn an_address_that_others_reach_takes_a_word_more() {
    let options = |public| WebOptions { address: (Ipv4Addr::UNSPECIFIED, 0).into(), public, names: Vec::new() };
    let refused = WebServer::bind(options(false)).await.unwrap_err();
    assert!(matches!(refused, WatchError::Public(_)) && refused.to_string().contains("--http.public"), "{refused}");
    WebServer::bind(options(true)).await.unwrap();
    let (taken, stop) = start().await;
    let refused = WebServer::bind(WebOptions { address: taken, public: false, names: Vec::new() }).await.unwrap_err();
    assert!(refused.to_string().contains(&taken.to_string()), "{refused}");
    stop.cancel();
}

/// Also where the folder's path is longer than the system allows of a socket's.
#[tokio::test]
async fn status_finds_the_program_by_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    for folder in [dir.path().to_owned(), dir.path().join("x".repeat(120))] {
        std::fs::create_dir_all(&folder).unwrap();
        assert!(matches!(ask(&folder).await, Err(WatchError::NotRunning(_))));
        let (board, stop) = (board(), CancellationToken::new());
        let serving = tokio::spawn(StatusSocket::bind(&folder).unwrap().serve(source(&board), stop.clone()));
        let view = ask(&folder).await.unwrap();
        assert_eq!(view.status, board.status());
        assert!(text::status(&view).contains("bad_manifest"), "{}", text::status(&view));
        assert!(StatusSocket::bind(&folder).is_err(), "a second program does not take it away");
        assert_eq!(ask(&folder).await.unwrap().status, board.status());
        stop.cancel();
        serving.await.unwrap();
        assert!(matches!(ask(&folder).await, Err(WatchError::NotRunning(_))));
        // What a killed program leaves behind is in nobody's way.
        std::mem::drop(std::os::unix::net::UnixListener::bind(dir.path().join("left")).unwrap());
        std::fs::rename(dir.path().join("left"), folder.join("status.sock")).unwrap();
        StatusSocket::bind(&folder).unwrap();
    }
}
