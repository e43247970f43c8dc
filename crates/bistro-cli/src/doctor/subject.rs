//! Who is examined.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bistro_chain::{ChainError, SubtensorChain, Wallet};
use bistro_core::ports::{BucketAddress, Identity as _};
use bistro_core::protocol::Encoding;
use bistro_model::{LlamaConfig, TrainOptions};
use bistro_node::status::Board;
use bistro_node::{Parts, Pulse};
use bistro_storage::{S3Config, S3OwnBucket, S3PublicBuckets};
use tokio_util::sync::CancellationToken;

use crate::args::{Common, MinerFlags, ValidatorFlags};
use crate::connect::{self, SystemClock};
use crate::run_rules;
use crate::settings::Settings;

/// A program as it would run.
#[derive(Clone, Debug)]
pub struct Subject {
    /// `miner` or `validator`.
    pub role: &'static str,
    /// Its flags.
    pub common: Common,
    /// Files that its settings are from, and what looks like a mistake in them.
    pub files: Vec<PathBuf>,
    /// The same.
    pub notes: Vec<String>,
    /// How the model computes.
    pub options: TrainOptions,
    /// A miner's encoding of deltas.
    pub encoding: Option<Encoding>,
    /// The model and its sequences, where the flags say it; otherwise the run does.
    pub model: Option<(LlamaConfig, usize)>,
}

impl Subject {
    /// A miner. Its model is the run's.
    pub fn miner(flags: &MinerFlags, settings: &Settings) -> Self {
        let MinerFlags { common, miner } = flags;
        Self {
            role: "miner",
            common: common.clone(),
            files: settings.files.clone(),
            notes: settings.notes.clone(),
            options: miner.training.options(common.threads),
            encoding: Some(miner.encoding.into()),
            model: None,
        }
    }

    /// A validator.
    ///
    /// # Errors
    /// A model that is none.
    pub fn validator(flags: &ValidatorFlags, settings: &Settings) -> anyhow::Result<Self> {
        let ValidatorFlags { common, run } = flags;
        let config = run_rules::model(&run.model)?;
        let sequence = run.sequence_length.unwrap_or(config.max_position_embeddings);
        Ok(Self {
            role: "validator",
            common: common.clone(),
            files: settings.files.clone(),
            notes: settings.notes.clone(),
            options: run.options(common.threads),
            encoding: None,
            model: Some((config, sequence)),
        })
    }

    /// The program's name.
    pub fn program(&self) -> String {
        format!("bistro-{}", self.role)
    }

    /// Whether it sets weights.
    pub fn validates(&self) -> bool {
        self.role == "validator"
    }

    /// What registers its hotkey.
    pub fn register_line(&self) -> String {
        let wallet = &self.common.wallet;
        let network = self.common.subtensor.network_or("finney").map_or_else(|_| "finney".to_owned(), |n| n.name);
        let path = wallet.path.as_ref().map(|path| format!(" --wallet.path {}", path.display())).unwrap_or_default();
        format!(
            "btcli subnets register --netuid {} --wallet.name {} --wallet.hotkey {}{path} --subtensor.network {network}",
            self.common.subtensor.netuid,
            wallet.name(),
            wallet.hotkey
        )
    }

    /// What examines its bucket.
    pub fn bucket_line(&self) -> String {
        let bucket = self.common.bucket.as_deref().unwrap_or("BUCKET");
        format!("{} bucket check --bucket {bucket}", self.program())
    }
}

/// The outside world, as far as it could be reached.
pub struct World {
    /// The wallet, or what is wrong with it.
    pub wallet: Result<Wallet, String>,
    /// The chain, or why there is none.
    pub chain: Result<Arc<SubtensorChain>, ChainError>,
    /// The bucket, or why there is none.
    pub buckets: Result<Buckets, String>,
}

/// The own bucket with and without keys.
#[derive(Clone)]
pub struct Buckets {
    /// With keys.
    pub own: Arc<S3OwnBucket>,
    /// Without.
    pub public: Arc<S3PublicBuckets>,
    /// Which.
    pub address: BucketAddress,
}

impl World {
    /// Opens and connects what can be; each failure is for a check to tell.
    pub async fn open(subject: &Subject, patience: Duration) -> Self {
        let common = &subject.common;
        let wallet = common.wallet.open().map_err(|error| error.to_string());
        let key = wallet.as_ref().ok().map(|wallet| wallet.hotkey().clone());
        let chain = async {
            let network = common.subtensor.network_or("finney")?;
            let connecting = SubtensorChain::connect(&network, common.subtensor.subnet(), key);
            let late = ChainError::Timeout { what: "connecting", after: patience };
            tokio::time::timeout(patience, connecting).await.unwrap_or(Err(late)).map(Arc::new)
        };
        let buckets = async {
            let name = common.bucket.as_ref().ok_or("--bucket is missing")?;
            let address = BucketAddress::parse(name).map_err(|why| format!("--bucket {name}: {why}"))?;
            let s3 = S3Config::from_environment().await;
            let own = Arc::new(S3OwnBucket::connect(address.clone(), &s3).await);
            Ok(Buckets { own, public: Arc::new(S3PublicBuckets::new(&s3)), address })
        };
        let (chain, buckets) = tokio::join!(chain, buckets);
        Self { wallet, chain, buckets }
    }

    /// As the loops meet it, where all of it is there.
    pub fn parts(&self, subject: &Subject) -> Option<Parts> {
        let (Ok(wallet), Ok(chain), Ok(buckets)) = (&self.wallet, &self.chain, &self.buckets) else { return None };
        let key = wallet.hotkey().clone();
        Some(Parts {
            netuid: subject.common.subtensor.subnet(),
            chain: chain.clone(),
            own: buckets.own.clone(),
            public: buckets.public.clone(),
            clock: Arc::new(SystemClock),
            data_dir: connect::data_dir(&subject.common, subject.role, &key.hotkey()).ok()?,
            identity: Arc::new(key),
            board: Board::default(),
            pulse: Pulse::new(Arc::new(SystemClock)),
            stop: CancellationToken::new(),
        })
    }
}
