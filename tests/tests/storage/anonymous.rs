//! Reading others' buckets needs no keys, shows none, and asks nobody for any: above all no instance-metadata service, for
//! which a reader on a rented machine would otherwise wait, and whose role's keys it would send to strangers.

use std::path::Path;
use std::process::Command;

use bistro_core::ports::{OwnBucket as _, PublicBuckets as _};
use bistro_storage::{S3Config, S3OwnBucket, S3PublicBuckets};
use bytes::Bytes;

use crate::misbehaving::{Misbehaving, SMALL};
use crate::network::address;

/// Tells a child process of this test which half it plays.
const ROLE: &str = "BISTRO_TEST_ANONYMOUS_ROLE";

#[tokio::test]
async fn strangers_buckets_are_never_shown_credentials() {
    let curious = Misbehaving::saying("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(curious.read().await.result, Ok(Some(Bytes::from_static(b"ok"))));
    let request = curious.heads().concat();
    assert!(request.starts_with("get /shop/key"), "{request}");
    for secret in ["authorization", "akid", "x-amz-security-token", "signature"] {
        assert!(!request.contains(secret), "{request}");
    }
}

/// In processes of their own, whose environment has no keys and names a metadata service: the reader must not ask it. That
/// the owner does shows that it would have been found.
#[tokio::test(flavor = "multi_thread")]
async fn only_an_owner_asks_the_metadata_service() {
    match std::env::var(ROLE).as_deref() {
        Ok("reader") => {
            let public = S3PublicBuckets::new(&S3Config::from_environment().await);
            assert_eq!(public.get(&address("shop"), "key", SMALL).await, Ok(Some(Bytes::from_static(b"ok"))));
        }
        Ok(_) => {
            let own = S3OwnBucket::connect(address("shop"), &S3Config::from_environment().await).await;
            let error = own.get("key", 10).await.unwrap_err();
            assert_eq!(error.name, "NoCredentials", "{error}");
        }
        Err(_) => {
            let bucket = Misbehaving::saying("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            let metadata = Misbehaving::saying("HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n").await;
            play("reader", &bucket, &metadata).await;
            assert_eq!((bucket.asked(), metadata.asked()), (1, 0), "{:?}", metadata.heads());
            play("owner", &bucket, &metadata).await;
            assert_eq!(bucket.asked(), 1, "a bucket is not asked without keys by its owner");
            assert!(metadata.asked() > 0, "this test would not notice a reader that asks");
        }
    }
}

async fn play(role: &str, bucket: &Misbehaving, metadata: &Misbehaving) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "anonymous::only_an_owner_asks_the_metadata_service", "--nocapture"]).env_clear();
    child.envs(std::env::vars().filter(|(name, _)| !name.starts_with("AWS_")));
    child.env(ROLE, role).env("HOME", Path::new("/nonexistent")).env("AWS_REGION", "us-east-1");
    child.env("AWS_ENDPOINT_URL", &bucket.endpoint).env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.endpoint);
    let output = tokio::task::spawn_blocking(move || child.output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{role}: {text}");
}
