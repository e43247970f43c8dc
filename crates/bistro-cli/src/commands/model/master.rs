//! The newest master of a run, read by anybody: from the chain and from public buckets, with every check that a miner makes.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use bistro_chain::SubtensorChain;
use bistro_core::ids::Hotkey;
use bistro_core::ports::{BucketAddress, Chain as _, Identity, OwnBucket, PortError, Put, Retry};
use bistro_model::{LlamaConfig, hf};
use bistro_node::status::Board;
use bistro_node::{Parts, Pulse, leader};
use bistro_pages::Tokenizer;
use bistro_storage::{S3Config, S3PublicBuckets};
use bytes::Bytes;
use fs_err as fs;

use super::{ExportArgs, folder, tokenizer};
use crate::connect::SystemClock;

pub(super) async fn export(args: &ExportArgs) -> Result<()> {
    let netuid = args.subtensor.subnet();
    let network = args.subtensor.network_or("finney")?;
    let chain = SubtensorChain::connect(&network, netuid, None).await?;
    let metagraph = chain.metagraph().await?;
    let s3 = S3Config::from_environment().await;
    let parts = Parts {
        netuid,
        chain: Arc::new(chain),
        identity: Arc::new(Nobody),
        own: Arc::new(Nobody),
        public: Arc::new(S3PublicBuckets::new(&s3)),
        clock: Arc::new(SystemClock),
        data_dir: PathBuf::new(),
        board: Board::default(),
        pulse: Pulse::new(Arc::new(SystemClock)),
    };
    let Some(leader) = leader::find(&parts, &metagraph).await? else {
        bail!("no validator of subnet {netuid} on {} has published a master", network.name);
    };
    let rules = leader.rules(&parts).await?;
    let config = LlamaConfig::from_json(&rules.model.to_string()).context("the run's model")?;
    let master = leader.master(&parts, &config.spec(), None).await?;
    folder::write(&args.out, &config, &master.params)?;
    match &args.tokenizer {
        None if rules.tokenizer == "gpt2" => tokenizer::write_gpt2(&args.out.out)?,
        None => {
            tracing::warn!(tokenizer = rules.tokenizer, "no tokenizer is written: give the run's own by --tokenizer");
        }
        Some(file) => {
            let given = Tokenizer::from_file(file)?;
            if given.name() != rules.tokenizer {
                bail!("--tokenizer {} is `{}`, the run's is `{}`", file.display(), given.name(), rules.tokenizer);
            }
            fs::copy(file, args.out.out.join(hf::TOKENIZER))?;
        }
    }
    tracing::info!(seq = master.seq, validator = %leader.manifest.hotkey, "the newest master");
    folder::report(&args.out.out, &config, &master.params)
}

/// Who only reads: checks signatures, makes none, and has no bucket.
struct Nobody;

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
