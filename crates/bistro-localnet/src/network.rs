//! A local network: chain and S3 in this process, and for each neuron a wallet, a uid and a bucket.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow};
use async_trait::async_trait;
use bistro_chain::{KeySource, Keypair, Network, SubtensorChain, Wallet};
use bistro_core::ids::{Hotkey, NetUid};
use bistro_core::ports::{BucketAddress, Clock, Identity as _};
use bistro_node::status::Board;
use bistro_node::{Parts, Pulse};
use bistro_storage::{Credentials, S3Config, S3OwnBucket, S3PublicBuckets};
use tokio_util::sync::CancellationToken;

use crate::chain::{GenesisNeuron, LocalChain, LocalChainConfig, TAO};
use crate::s3::{LocalS3, LocalS3Config};

/// Secret of the account that pays for new wallets: known to everybody, as on every development chain.
pub const FAUCET: &str = "//Alice";

/// Name of every wallet's hotkey.
pub const HOTKEY: &str = "default";

/// How the network is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Folder of wallets, buckets, logs and state.
    pub dir: PathBuf,
    /// Subnet.
    pub netuid: NetUid,
    /// Time between blocks.
    pub block_time: Duration,
    /// Make blocks only when a transaction arrives, by no clock.
    pub seal_on_transaction: bool,
    /// Take weights by commit-reveal only.
    pub commit_reveal: bool,
    /// Let faults be asked for, by [`crate::chain::faults`].
    pub faults: bool,
    /// Port of the chain; 0 takes a free one.
    pub chain_port: u16,
    /// Port of the S3 server; 0 takes a free one.
    pub s3_port: u16,
    /// Names of the neurons, in the order of their uids. The first is the validator and holds the stake.
    pub names: Vec<String>,
}

/// One neuron: wallet, uid, bucket and its keys.
#[derive(Clone, Debug)]
pub struct Member {
    /// Name of its wallet and bucket.
    pub name: String,
    /// Slot on the subnet.
    pub uid: u16,
    /// Who signs.
    pub hotkey: Hotkey,
    /// Bucket.
    pub bucket: String,
    /// `AWS_ACCESS_KEY_ID` of the bucket's account.
    pub access_key: String,
    /// `AWS_SECRET_ACCESS_KEY` of the bucket's account: worth nothing outside this network.
    pub secret_key: String,
}

/// A running network.
pub struct LocalNetwork {
    /// The chain.
    pub chain: LocalChain,
    /// The S3 server.
    pub s3: LocalS3,
    /// All neurons, by uid.
    pub members: Vec<Member>,
    /// How it was set up.
    pub setup: Setup,
}

struct WallClock;

#[async_trait]
impl Clock for WallClock {
    fn unix_millis(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            netuid: NetUid(212),
            block_time: Duration::from_secs(12),
            seal_on_transaction: false,
            commit_reveal: false,
            faults: false,
            chain_port: 0,
            s3_port: 0,
            names: Vec::new(),
        }
    }
}

impl LocalNetwork {
    /// Makes (or opens) the wallets, starts chain and S3, and registers and stakes.
    pub async fn start(setup: Setup) -> Result<Self> {
        let wallets = setup.dir.join("wallets");
        let mut members = Vec::new();
        let mut neurons = Vec::new();
        for (uid, name) in setup.names.iter().enumerate() {
            let wallet = open_or_create(&wallets, name)?;
            let (coldkey, hotkey) = (wallet.coldkey_address()?, wallet.hotkey().hotkey());
            let stake = if uid == 0 { 1_000 * TAO } else { 0 };
            neurons.push(GenesisNeuron { coldkey: coldkey.0.into(), hotkey: hotkey.0.into(), stake });
            members.push(member(name, uid, hotkey)?);
        }
        // As on every development chain; `bistro-localnet fund` draws on it.
        let alice = Keypair::from_uri(FAUCET)?.hotkey().0.into();
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let chain = LocalChain::start(LocalChainConfig {
            listen: local(setup.chain_port),
            block_time: setup.block_time,
            clock: !setup.seal_on_transaction,
            seal_on_transaction: setup.seal_on_transaction,
            commit_reveal: setup.commit_reveal,
            faults: setup.faults,
            netuid: setup.netuid.0,
            tempo: 20,
            weights_rate_limit: 10,
            endowed: neurons.iter().map(|n| n.coldkey.clone()).chain([alice]).map(|a| (a, 10_000 * TAO)).collect(),
            neurons,
            ..LocalChainConfig::default()
        })
        .await
        .context("the local chain does not start")?;
        let s3 = LocalS3::start(LocalS3Config { dir: setup.dir.join("buckets"), listen: local(setup.s3_port) })
            .await
            .context("the local S3 server does not start")?;
        for m in &members {
            s3.add_account(&m.access_key, &m.secret_key, &m.bucket)?;
        }
        Ok(Self { chain, s3, members, setup })
    }

    /// The environment of a program that runs as `member`.
    pub fn environment(&self, member: &Member) -> Vec<(String, String)> {
        [
            ("AWS_ACCESS_KEY_ID", member.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", member.secret_key.clone()),
            ("AWS_ENDPOINT_URL", self.s3.endpoint()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// The flags of a program that runs as `member`.
    pub fn flags(&self, member: &Member) -> Vec<String> {
        let wallets = self.setup.dir.join("wallets").display().to_string();
        let state = self.setup.dir.join("state").join(&member.name).display().to_string();
        [
            ("--wallet.name", member.name.clone()),
            ("--wallet.hotkey", HOTKEY.to_owned()),
            ("--wallet.path", wallets),
            ("--subtensor.chain_endpoint", self.chain.url()),
            ("--netuid", self.setup.netuid.to_string()),
            ("--bucket", member.bucket.clone()),
            ("--data-dir", state),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }

    /// The outside world as `member` meets it, for what runs in this process.
    pub async fn parts(&self, member: &Member) -> Result<Parts> {
        let place = Place {
            wallet: Wallet::open(Some(&self.setup.dir.join("wallets")), &member.name, HOTKEY)?,
            network: Network::at(&self.chain.url()),
            netuid: self.setup.netuid,
            bucket: member.bucket.clone(),
            data_dir: self.setup.dir.join("state").join(&member.name),
        };
        let config = S3Config {
            endpoint_url: Some(self.s3.endpoint()),
            credentials: Some(Credentials::new(&member.access_key, &member.secret_key, None, None, "local network")),
            ..S3Config::default()
        };
        place.parts(&config).await
    }

    /// Ends both servers.
    pub async fn stop(self) {
        self.s3.stop().await;
        self.chain.stop().await;
    }
}

/// Where a member's parts are.
pub struct Place {
    /// Who it is.
    pub wallet: Wallet,
    /// The chain.
    pub network: Network,
    /// Subnet.
    pub netuid: NetUid,
    /// Own bucket.
    pub bucket: String,
    /// State folder.
    pub data_dir: PathBuf,
}

impl Place {
    /// Connects.
    pub async fn parts(self, s3: &S3Config) -> Result<Parts> {
        let key = self.wallet.hotkey().clone();
        let address = BucketAddress::parse(&self.bucket).map_err(|why| anyhow!("bucket {}: {why}", self.bucket))?;
        let chain = SubtensorChain::connect(&self.network, self.netuid, Some(key.clone())).await?;
        Ok(Parts {
            netuid: self.netuid,
            chain: Arc::new(chain),
            identity: Arc::new(key),
            own: Arc::new(S3OwnBucket::connect(address, s3).await),
            public: Arc::new(S3PublicBuckets::new(s3)),
            clock: Arc::new(WallClock),
            data_dir: self.data_dir,
            board: Board::default(),
            pulse: Pulse::new(Arc::new(WallClock)),
            stop: CancellationToken::new(),
        })
    }
}

fn open_or_create(wallets: &Path, name: &str) -> Result<Wallet> {
    if wallets.join(name).join("hotkeys").join(HOTKEY).exists() {
        return Ok(Wallet::open(Some(wallets), name, HOTKEY)?);
    }
    Ok(Wallet::create(Some(wallets), name, HOTKEY, KeySource::Random, KeySource::Random)?)
}

fn member(name: &str, uid: usize, hotkey: Hotkey) -> Result<Member> {
    Ok(Member {
        name: name.to_owned(),
        uid: u16::try_from(uid).context("too many neurons")?,
        hotkey,
        bucket: format!("bistro-{name}"),
        access_key: format!("local-{name}"),
        secret_key: format!("local-secret-of-{name}"),
    })
}
