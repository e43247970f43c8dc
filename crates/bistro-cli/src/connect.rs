//! The real parts: wallet, chain, buckets, clock.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail};
use async_trait::async_trait;
use bistro_chain::SubtensorChain;
use bistro_core::ids::{Hotkey, NetUid};
use bistro_core::ports::{BucketAddress, Clock, Identity as _};
use bistro_node::status::{About, Board};
use bistro_node::{Parts, Pulse};
use bistro_storage::{S3Config, S3OwnBucket, S3PublicBuckets};
use tokio_util::sync::CancellationToken;

use crate::args::Common;
use crate::doctor;
use crate::doctor::subject::{Buckets, Subject, World};
use crate::{progress, service, watchdog};

/// The system's clock.
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn unix_millis(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn elapsed(&self) -> Duration {
        static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGUN.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Milliseconds since the Unix epoch.
pub fn now() -> u64 {
    SystemClock.unix_millis()
}

/// Opens the wallet, connects to chain and buckets, and makes the quick checks of [`crate::doctor`]. From there on the
/// watchdog watches the pulse.
///
/// # Errors
/// What cannot be opened or reached, and the first check for which the program cannot begin.
pub async fn connect(subject: &Subject, stop: &CancellationToken) -> Result<Parts> {
    let (args, role) = (&subject.common, subject.role);
    let Some(bucket) = &args.bucket else {
        bail!("--bucket is missing: say in which bucket your objects go, as in --bucket my-bucket (or BISTRO_BUCKET)");
    };
    let wallet = args.wallet.open()?;
    let key = wallet.hotkey().clone();
    let address = BucketAddress::parse(bucket).map_err(|why| anyhow!("--bucket {bucket}: {why}"))?;
    let netuid = args.subtensor.subnet();
    let network = args.subtensor.network_or("finney")?;
    let data_dir = data_dir(args, role, &key.hotkey())?;
    let files: Vec<_> = subject.files.iter().map(|file| file.display().to_string()).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"), libtorch = env!("BISTRO_LIBTORCH"), hotkey = %key.hotkey(), network = network.name, %netuid,
        bucket, device = args.device, data_dir = %data_dir.display(), files = files.join(","), "bistro-{role}"
    );
    let pulse = Pulse::new(Arc::new(SystemClock));
    let patience = Duration::from_secs(args.stall_after);
    if !patience.is_zero() {
        watchdog::start(pulse.clone(), patience)?;
    }
    let board = board(subject, &network.name, &key.hotkey(), &data_dir);
    if args.watch.draws() {
        tokio::spawn(progress::show(board.clone(), stop.clone()));
    }
    let waiting = board.wait("connecting to the chain", now(), None);
    pulse.beat("connecting to the chain");
    let chain = Arc::new(SubtensorChain::connect(&network, netuid, Some(key)).await?);
    drop(waiting);
    service::start(pulse.clone(), if patience.is_zero() { Duration::MAX } else { patience })?;
    let s3 = S3Config::from_environment().await;
    let own = Arc::new(S3OwnBucket::connect(address.clone(), &s3).await);
    let public = Arc::new(S3PublicBuckets::new(&s3));
    let world = World { wallet: Ok(wallet), chain: Ok(chain), buckets: Ok(Buckets { own, public, address }) };
    pulse.beat("checking the set-up");
    let report = Box::pin(doctor::run::quickly(subject.clone(), &world)).await;
    doctor::run::begin(&subject.program(), &report)?;
    let parts = world.parts(subject).context("a part is missing")?;
    Ok(Parts { board, pulse, ..parts })
}

/// A board that says who runs.
fn board(subject: &Subject, network: &str, hotkey: &Hotkey, data_dir: &Path) -> Board {
    let about = About {
        program: subject.program(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        libtorch: env!("BISTRO_LIBTORCH").to_owned(),
        device: subject.common.device.clone(),
        network: network.to_owned(),
        netuid: Some(subject.common.subtensor.subnet()),
        hotkey: Some(*hotkey),
        bucket: subject.common.bucket.clone().unwrap_or_default(),
        data_dir: data_dir.display().to_string(),
        started: now(),
    };
    let board = Board::default();
    board.change(|status| status.about = about);
    board
}

/// The folder of a program's state.
pub fn data_dir(args: &Common, role: &str, hotkey: &Hotkey) -> Result<PathBuf> {
    match &args.data_dir {
        Some(dir) => Ok(dir.clone()),
        None => default_data_dir(role, args.subtensor.subnet(), &hotkey.short()),
    }
}

/// Where the state of `hotkey` in this role lies, if the operator does not say.
///
/// # Errors
/// No home folder is known.
pub fn default_data_dir(role: &str, netuid: NetUid, hotkey: &str) -> Result<PathBuf> {
    let home = std::env::home_dir().context("no home folder is known: say where state goes with --data-dir")?;
    Ok(home.join(".bistro").join(format!("{role}-{netuid}-{hotkey}")))
}
