//! The real parts: wallet, chain, buckets, clock.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow};
use async_trait::async_trait;
use bistro_chain::wallet::{Password, password};
use bistro_chain::{Network, SubtensorChain, Wallet};
use bistro_core::ids::NetUid;
use bistro_core::ports::{BucketAddress, Clock, Identity as _};
use bistro_node::Parts;
use bistro_storage::{S3Config, S3OwnBucket, S3PublicBuckets};

use crate::args::{Common, WalletArgs};

/// The system's clock.
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn unix_millis(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Opens the wallet, connects to chain and buckets. `role` names the state's default folder.
pub async fn connect(args: &Common, role: &str) -> Result<Parts> {
    let WalletArgs { name, hotkey, path } = &args.wallet;
    let wallet = Wallet::open_with(path.as_deref(), name, hotkey, |file| {
        password::from_environment(file, |variable| std::env::var(variable).ok()).or_else(|| ask(file))
    })?;
    let key = wallet.hotkey().clone();
    let address = BucketAddress::parse(&args.bucket).map_err(|why| anyhow!("--bucket {}: {why}", args.bucket))?;
    let netuid = NetUid(args.subtensor.netuid);
    let network = Network::resolve(args.subtensor.network.as_deref(), &args.subtensor.chain_endpoint)?;
    let data_dir = match &args.data_dir {
        Some(dir) => dir.clone(),
        None => default_data_dir(role, netuid, &key.hotkey().short())?,
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"), hotkey = %key.hotkey(), network = network.name, %netuid,
        bucket = args.bucket, device = args.device, data_dir = %data_dir.display(), "bistro-{role}"
    );
    let chain = SubtensorChain::connect(&network, netuid, Some(key.clone())).await?;
    let s3 = S3Config::from_environment().await;
    Ok(Parts {
        netuid,
        chain: Arc::new(chain),
        identity: Arc::new(key),
        own: Arc::new(S3OwnBucket::connect(address, &s3).await),
        public: Arc::new(S3PublicBuckets::new(&s3)),
        clock: Arc::new(SystemClock),
        data_dir,
    })
}

/// Asks for a password where somebody can answer.
fn ask(file: &Path) -> Option<Password> {
    let answered = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let prompt = format!("Password of {}: ", file.display());
    answered.then(|| rpassword::prompt_password(prompt).ok().map(Password::new)).flatten()
}

fn default_data_dir(role: &str, netuid: NetUid, hotkey: &str) -> Result<PathBuf> {
    let home = std::env::home_dir().context("no home folder is known: say where state goes with --data-dir")?;
    Ok(home.join(".bistro").join(format!("{role}-{netuid}-{hotkey}")))
}
