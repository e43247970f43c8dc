//! Prints the pages of a miner at a block.

use anyhow::{Result, bail};
use clap::Args;
use tokio_util::sync::CancellationToken;

/// Flags of `pages`.
#[derive(Args, Clone, Debug)]
pub struct PagesArgs {}

/// Runs the command until it is done or `stop`.
#[allow(clippy::unused_async, reason = "the others wait")]
pub async fn run(_args: &PagesArgs, _stop: CancellationToken) -> Result<()> {
    bail!("not built yet")
}
