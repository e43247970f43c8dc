//! An S3 server in the process: the buckets of a whole network in one folder, over real HTTP, with real signatures.
//!
//! `s3s` speaks the protocol (routing, XML, SigV4); the files are ours. Not `s3s-fs`: it keeps two more files for each object,
//! named by the whole key, which for this protocol's longest keys is more than a file name can hold, and it replaces them
//! after the object, so that a reader can meet a new object with the old one's ETag. Here an object is one file, everything
//! said about it (length, time, ETag) is taken from the one open descriptor that its bytes are read from, and it comes into
//! being by one rename: no reader ever sees half of it, nor parts of two.
//!
//! Whoever has no keys may read objects under `bistro/v1/` by name, and nothing else, unless a bucket's [`PublicAccess`] says
//! otherwise. Each account writes its own bucket, and nothing else.
//!
//! What real S3 has beyond what buckets of this network need is refused as not implemented: buckets made by request, copies,
//! versions, user metadata, policies. A key cannot at once be an object and the folder of another.
//!
//! # Layout
//! - `store`: objects as files: open, receive, commit, delete, list.
//! - `upload`: large objects in parts.
//! - `service`: the S3 operations, in terms of the two above.
//! - `listing`: one page of a listing.
//! - `access`: who may do what.

mod access;
mod listing;
mod service;
mod store;
mod upload;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use access::Accounts;
pub use access::PublicAccess;
use service::Operations;
use store::Store;

/// How long requests under way may take to end when the server stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long a client may take to send its headers.
const HEADERS: Duration = Duration::from_secs(30);

/// Where the server keeps its objects, and where it listens.
#[derive(Clone, Debug)]
pub struct LocalS3Config {
    /// Folder of all buckets; created if absent, kept when the server stops. For one server at a time.
    pub dir: PathBuf,
    /// Address; port 0 takes a free one.
    pub listen: SocketAddr,
}

/// A running server. Dropped, it stops without waiting for requests under way.
pub struct LocalS3 {
    address: SocketAddr,
    store: Arc<Store>,
    accounts: Accounts,
    server: JoinHandle<()>,
    stop: DropGuard,
}

impl LocalS3 {
    /// Starts listening; requests are answered from now on. No account exists yet; objects of an earlier run do.
    pub async fn start(config: LocalS3Config) -> io::Result<Self> {
        let store = Arc::new(Store::open(&config.dir)?);
        let accounts = Accounts::default();
        let mut service = S3ServiceBuilder::new(Operations::new(store.clone()));
        service.set_auth(accounts.clone());
        service.set_access(access::Gate { accounts: accounts.clone(), store: store.clone() });
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, service.build(), stop.clone()));
        tracing::debug!(%address, dir = %config.dir.display(), "S3 server listens");
        Ok(Self { address, store, accounts, server, stop: stop.drop_guard() })
    }

    /// What clients of this machine take as `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        format!("http://{address}")
    }

    /// Creates `bucket` unless it exists, and the account that owns it. The same access key again replaces the account.
    pub fn add_account(&self, access_key: &str, secret_key: &str, bucket: &str) -> io::Result<()> {
        let valid = s3s::path::check_bucket_name(bucket);
        if !valid {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{bucket}` is no bucket name")));
        }
        self.store.create_bucket(bucket)?;
        self.accounts.insert(access_key, secret_key, bucket);
        Ok(())
    }

    /// Lets strangers do in `bucket` what `access` says, from now on.
    pub fn set_public_access(&self, bucket: &str, access: PublicAccess) {
        self.accounts.set_public(bucket, access);
    }

    /// Takes no more connections, lets requests under way end (5 seconds), and stops.
    pub async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.server.await {
            tracing::warn!(%error, "the S3 server did not stop by itself");
        }
    }
}

async fn serve(listener: TcpListener, service: S3Service, stop: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely: those under way give some back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "S3 connection");
            }
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(FAREWELL, graceful.shutdown()).await;
    connections.shutdown().await;
}

#[cfg(test)]
mod tests;
