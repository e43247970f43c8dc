//! Who only reads: from the chain and from public buckets, without a key and without a bucket.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use bistro_chain::{Network, SubtensorChain};
use bistro_core::ids::{Hotkey, NetUid};
use bistro_core::ports::{BucketAddress, Identity, OwnBucket, PortError, Put, Retry};
use bistro_node::status::Board;
use bistro_node::{Parts, Pulse};
use bistro_storage::{S3Config, S3PublicBuckets};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::connect::SystemClock;

/// The world as anybody sees it.
pub async fn connect(network: &Network, netuid: NetUid) -> Result<Parts> {
    Ok(parts(Arc::new(SubtensorChain::connect(network, netuid, None).await?), netuid).await)
}

/// The same over a connection to the chain that is there.
pub async fn parts(chain: Arc<SubtensorChain>, netuid: NetUid) -> Parts {
    let s3 = S3Config::from_environment().await;
    Parts {
        netuid,
        chain,
        identity: Arc::new(Nobody),
        own: Arc::new(Nobody),
        public: Arc::new(S3PublicBuckets::new(&s3)),
        clock: Arc::new(SystemClock),
        data_dir: PathBuf::new(),
        board: Board::default(),
        pulse: Pulse::new(Arc::new(SystemClock)),
        stop: CancellationToken::new(),
    }
}

/// Checks signatures, makes none, and has no bucket.
pub struct Nobody;

impl Identity for Nobody {
    fn hotkey(&self) -> Hotkey {
        Hotkey([0; 32])
    }

    fn sign(&self, _: &[u8]) -> [u8; 64] {
        [0; 64]
    }

    fn verify(&self, hotkey: &Hotkey, message: &[u8], signature: &[u8; 64]) -> bool {
        bistro_chain::identity::verify(hotkey, message, signature)
    }
}

fn no_bucket() -> PortError {
    let message = "this command only reads: it has no bucket of its own".into();
    PortError { name: "NoBucket".into(), message, retry: Retry::Never }
}

#[async_trait]
impl OwnBucket for Nobody {
    fn address(&self) -> BucketAddress {
        BucketAddress { name: String::new(), region: None }
    }

    async fn put(&self, _: &str, _: Bytes, _: Put) -> Result<(), PortError> {
        Err(no_bucket())
    }

    async fn get(&self, _: &str, _: u64) -> Result<Option<Bytes>, PortError> {
        Err(no_bucket())
    }

    async fn list(&self, _: &str) -> Result<Vec<String>, PortError> {
        Err(no_bucket())
    }

    async fn delete(&self, _: &str) -> Result<(), PortError> {
        Err(no_bucket())
    }
}
