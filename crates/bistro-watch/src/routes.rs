//! What each address answers. Read-only, and without any state of a visitor.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Method, Response, StatusCode};

use crate::metrics;
use crate::view::View;

/// Nothing but what this server itself gives may be loaded, run, or framed.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page: address, kind, content.
struct Asset(&'static str, &'static str, &'static str);

static ASSETS: [Asset; 7] = [
    Asset("/", "text/html; charset=utf-8", include_str!("../assets/index.html")),
    Asset("/style.css", "text/css; charset=utf-8", include_str!("../assets/style.css")),
    Asset("/page.js", "text/javascript; charset=utf-8", include_str!("../assets/page.js")),
    Asset("/chart.js", "text/javascript; charset=utf-8", include_str!("../assets/chart.js")),
    Asset("/uPlot.iife.min.js", "text/javascript; charset=utf-8", include_str!("../assets/uPlot.iife.min.js")),
    Asset("/uPlot.min.css", "text/css; charset=utf-8", include_str!("../assets/uPlot.min.css")),
    Asset("/icon.svg", "image/svg+xml", include_str!("../assets/icon.svg")),
];

/// Under which names the server may be asked. A page of a stranger whose name was made to point here (DNS rebinding) asks under
/// that name and is refused; an address or `localhost` cannot be made to point elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Names {
    more: Vec<String>,
}

impl Names {
    /// Addresses, `localhost`, and `more`, such as the name of a proxy.
    pub fn and(more: impl IntoIterator<Item = String>) -> Self {
        Self { more: more.into_iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    fn knows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let bare = match host.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        bare.parse::<IpAddr>().is_ok() || bare == "localhost" || self.more.iter().any(|name| name == bare)
    }
}

/// Answers a request; `view` is asked for only where it is shown.
pub fn answer(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    names: &Names,
    view: impl FnOnce() -> View,
) -> Response<Full<Bytes>> {
    match headers.get(header::HOST).and_then(|host| host.to_str().ok()) {
        None => return plain(StatusCode::BAD_REQUEST, "the request names no host\n"),
        Some(host) if !names.knows(host) => {
            let why =
                "this server is not known under that name: ask by its address, or allow the name with --http.host\n";
            return plain(StatusCode::MISDIRECTED_REQUEST, why);
        }
        Some(_) => {}
    }
    if method != Method::GET && method != Method::HEAD {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD: nothing can be changed here\n");
        refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match path {
        "/api/status" => match serde_json::to_vec(&view()) {
            Ok(json) => respond(StatusCode::OK, "application/json", json.into()),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        },
        "/metrics" => respond(StatusCode::OK, metrics::CONTENT_TYPE, metrics::exposition(&view()).into()),
        "/healthz" => health(&view()),
        _ => match ASSETS.iter().find(|Asset(address, ..)| *address == path) {
            Some(Asset(_, kind, content)) => respond(StatusCode::OK, kind, Bytes::from_static(content.as_bytes())),
            None => plain(StatusCode::NOT_FOUND, "there are /, /api/status, /metrics and /healthz\n"),
        },
    }
}

/// Whether the loop still moves, for those who restart what does not.
fn health(view: &View) -> Response<Full<Bytes>> {
    match view.stalled() {
        None => plain(StatusCode::OK, "ok\n"),
        Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", Bytes::copy_from_slice(text.as_bytes()))
}

fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_nobody_can_point_here_are_known() {
        let names = Names::and(["Validator.Example".to_owned()]);
        for good in [
            "127.0.0.1",
            "127.0.0.1:9100",
            "[::1]:9100",
            "localhost",
            "LOCALHOST:80",
            "10.0.0.7:9100",
            "validator.example:9100",
        ] {
            assert!(names.knows(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "evil.example:9100",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "[",
            "[evil]",
            "1",
            "0x7f.1",
        ] {
            assert!(!names.knows(bad), "{bad}");
        }
    }
}
