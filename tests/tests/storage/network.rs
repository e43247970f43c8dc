//! The embedded server with two accounts.

use std::net::SocketAddr;

use bistro_core::ports::BucketAddress;
use bistro_localnet::s3::{LocalS3, LocalS3Config};
use bistro_storage::{Credentials, S3Config, S3OwnBucket, S3PublicBuckets};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A server with the accounts `alice` and `bob`, who own `alice-bucket` and `bob-bucket`.
pub(crate) struct Network {
    pub(crate) dir: TempDir,
    pub(crate) server: LocalS3,
}

impl Network {
    pub(crate) async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let server = serve(&dir).await;
        Self { dir, server }
    }

    pub(crate) fn config(&self, who: &str, secret: &str) -> S3Config {
        S3Config {
            endpoint_url: Some(self.server.endpoint()),
            credentials: Some(Credentials::new(who, secret, None, None, "test")),
            ..S3Config::default()
        }
    }

    pub(crate) async fn own(&self, who: &str, bucket: &str) -> S3OwnBucket {
        S3OwnBucket::connect(address(bucket), &self.config(who, &format!("{who} secret"))).await
    }

    pub(crate) fn public(&self) -> S3PublicBuckets {
        S3PublicBuckets::new(&self.config("nobody", "nothing"))
    }

    /// One request of a stranger; the whole answer.
    pub(crate) async fn raw(&self, method: &str, path: &str, more: &str, body: &str) -> String {
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

pub(crate) async fn serve(dir: &TempDir) -> LocalS3 {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = LocalS3::start(LocalS3Config { dir: dir.path().to_owned(), listen }).await.unwrap();
    for who in ["alice", "bob"] {
        server.add_account(who, &format!("{who} secret"), &format!("{who}-bucket")).unwrap();
    }
    server
}

pub(crate) fn address(name: &str) -> BucketAddress {
    BucketAddress::parse(name).unwrap()
}
