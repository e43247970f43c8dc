//! The same buckets on an S3 server of other people's making: SeaweedFS, which `scripts/setup.sh --dev` installs.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bistro_core::ports::{OwnBucket as _, Put};
use bistro_storage::check::{check, policy};
use bistro_storage::conformance;
use bistro_storage::{Credentials, S3Config, S3OwnBucket, S3PublicBuckets};
use bytes::Bytes;
use tempfile::TempDir;

use crate::check::{LARGE, complaints};
use crate::network::address;

/// A running server with one identity that may do everything, and a bucket in which everybody may. A bucket is made by the
/// first write to it.
struct Seaweed {
    child: Child,
    config: S3Config,
    dir: TempDir,
}

impl Seaweed {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let identities = r#"{"identities": [
            {"name": "admin", "credentials": [{"accessKey": "admin", "secretKey": "admin secret"}], "actions": ["Admin"]},
            {"name": "anonymous", "actions": ["Read:open-bucket", "Write:open-bucket", "List:open-bucket"]}
        ]}"#;
        std::fs::write(dir.path().join("s3.json"), identities).unwrap();
        let mut server = Command::new(program());
        server.args(["server", "-filer", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=0"]);
        server.args([
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]);
        let ports = ["s3", "master", "volume", "filer"]
            .iter()
            .flat_map(|part| [format!("{part}.port"), format!("{part}.port.grpc")]);
        let ports: Vec<_> = ports.zip(free_ports(8)).collect();
        server.args(ports.iter().map(|(flag, port)| format!("-{flag}={port}")));
        server
            .arg(format!("-dir={}", dir.path().display()))
            .arg(format!("-s3.config={}/s3.json", dir.path().display()));
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = server.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let config = S3Config {
            endpoint_url: Some(format!("http://127.0.0.1:{}", ports[0].1)),
            credentials: Some(Credentials::new("admin", "admin secret", None, None, "test")),
            ..S3Config::default()
        };
        let seaweed = Self { child, config, dir };
        seaweed.ready().await;
        seaweed
    }

    async fn ready(&self) {
        let (own, started) = (self.own("first-bucket").await, Instant::now());
        while let Err(error) = own.put("ready", Bytes::new(), Put::Replace).await {
            assert!(started.elapsed() < Duration::from_mins(1), "SeaweedFS does not start: {error}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    async fn own(&self, bucket: &str) -> S3OwnBucket {
        S3OwnBucket::connect(address(bucket), &self.config).await
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's program, where set-up put it.
fn program() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("BISTRO_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("bistro")))
        .or_else(|| variable("HOME").map(|dir| dir.join(".cache/bistro")));
    let path = variable("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(cache.map(|dir| dir.join("bin")));
    let found = folders.map(|dir| dir.join("weed")).find(|file| file.is_file());
    found.expect("SeaweedFS (`weed`) is missing: run ./scripts/setup.sh --dev")
}

/// Ports that were free a moment ago, all different.
fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// One test, for the server takes seconds to start.
#[tokio::test]
async fn seaweedfs_conforms_and_is_checked() {
    let seaweed = Seaweed::start().await;
    let public = S3PublicBuckets::new(&seaweed.config);

    let own = seaweed.own("right-bucket").await;
    own.put("first", Bytes::new(), Put::Replace).await.unwrap();
    let private = check(&own, &public, "private", LARGE).await;
    assert_eq!(complaints(&private), ["public_get Fail"], "{private:?}");
    own.set_policy(&policy::for_the_public("right-bucket")).await.unwrap();
    let right = check(&own, &public, "right", LARGE).await;
    assert_eq!(complaints(&right), [""; 0], "{right:?}");
    conformance::check(&own, &public).await;
    conformance::check_large(&own, &public, 40 << 20).await;
    assert_eq!(own.list("").await, Ok(vec!["first".to_owned()]), "the checks leave objects behind");

    let open = seaweed.own("open-bucket").await;
    open.put("first", Bytes::new(), Put::Replace).await.unwrap();
    let report = check(&open, &public, "open", LARGE).await;
    let all = [
        "public_get_elsewhere Warn",
        "public_put Fail",
        "public_multipart Fail",
        "public_list Fail",
        "public_delete Fail",
    ];
    assert_eq!(complaints(&report), all, "{report:?}");
}
