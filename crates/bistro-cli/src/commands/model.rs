//! Makes, converts, measures and samples models.

use anyhow::{Result, bail};
use clap::Args;
use tokio_util::sync::CancellationToken;

/// Flags of `model`.
#[derive(Args, Clone, Debug)]
pub struct ModelArgs {}

/// Runs the command until it is done or `stop`.
#[allow(clippy::unused_async, reason = "the others wait")]
pub async fn run(_args: &ModelArgs, _stop: CancellationToken) -> Result<()> {
    bail!("not built yet")
}
