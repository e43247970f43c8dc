//! Makes and checks the index that pins a dataset.

use anyhow::{Result, bail};
use clap::Args;
use tokio_util::sync::CancellationToken;

/// Flags of `dataset`.
#[derive(Args, Clone, Debug)]
pub struct DatasetArgs {}

/// Runs the command until it is done or `stop`.
#[allow(clippy::unused_async, reason = "the others wait")]
pub async fn run(_args: &DatasetArgs, _stop: CancellationToken) -> Result<()> {
    bail!("not built yet")
}
