//! Checks the own bucket with the operator's keys and with a stranger's eyes.

use anyhow::{Result, bail};
use clap::Args;
use tokio_util::sync::CancellationToken;

/// Flags of `bucket`.
#[derive(Args, Clone, Debug)]
pub struct BucketArgs {}

/// Runs the command until it is done or `stop`.
#[allow(clippy::unused_async, reason = "the others wait")]
pub async fn run(_args: &BucketArgs, _stop: CancellationToken) -> Result<()> {
    bail!("not built yet")
}
