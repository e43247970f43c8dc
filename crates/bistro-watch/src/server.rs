//! Connections, bounded in number, size and time: a visitor costs the program little, whatever it sends or does not send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::WatchError;
use crate::routes::{self, Names};
use crate::view::Source;

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 32;

/// The whole of a connection, which is one request and its answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// From the first to the last byte of a request's headers.
const HEADERS_DEADLINE: Duration = Duration::from_secs(5);

/// Largest head of a request, bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Where the server listens, and how it may be asked.
#[derive(Clone, Debug)]
pub struct WebOptions {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whether the address may be one that other machines reach.
    pub public: bool,
    /// Names under which it may be asked besides addresses and `localhost`.
    pub names: Vec<String>,
}

/// The server, its port taken.
#[derive(Debug)]
pub struct WebServer {
    listener: TcpListener,
    names: Names,
    address: SocketAddr,
}

impl WebServer {
    /// Takes the port.
    ///
    /// # Errors
    /// [`WatchError::Public`] and [`WatchError::Bind`].
    pub async fn bind(options: WebOptions) -> Result<Self, WatchError> {
        let WebOptions { address, public, names } = options;
        if !public && !address.ip().is_loopback() {
            return Err(WatchError::Public(address));
        }
        let bind = |error| WatchError::Bind { address, error };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self { listener, names: Names::and(names), address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`.
    pub async fn serve(self, source: Source, stop: CancellationToken) {
        let Self { listener, names, .. } = self;
        serve(&listener, &source, &names, &stop).await;
    }
}

/// What visitors come in by.
pub(crate) trait Door: Sync {
    /// A visitor's connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for one.
    fn visitor(&self) -> impl Future<Output = std::io::Result<Self::Stream>> + Send;
}

impl Door for TcpListener {
    type Stream = TcpStream;

    async fn visitor(&self) -> std::io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

impl Door for UnixListener {
    type Stream = UnixStream;

    async fn visitor(&self) -> std::io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// Answers whoever comes in by `door` until `stop`; connections end with it.
pub(crate) async fn serve(door: &impl Door, source: &Source, names: &Names, stop: &CancellationToken) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let work = async {
        loop {
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            match door.visitor().await {
                Ok(stream) => {
                    connections.spawn(connection(stream, source.clone(), names.clone(), permit));
                }
                Err(error) => {
                    // Out of file descriptors, or the visitor left at once: neither is a reason to stop, or to spin.
                    tracing::debug!(%error, "a visitor could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    };
    tokio::select! { () = stop.cancelled() => {} () = work => {} }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    source: Source,
    names: Names,
    _permit: OwnedSemaphorePermit,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer =
            routes::answer(request.method(), request.uri().path(), request.headers(), &names, || source.view());
        async move { Ok::<_, std::convert::Infallible>(answer) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_DEADLINE)
        .max_buf_size(MAX_HEAD)
        // One request a connection: nobody stays.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(DEADLINE, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a visitor's request was no request"),
        Err(_) => tracing::debug!("a visitor took too long"),
    }
}
