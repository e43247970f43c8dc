//! Trains the shared model on this miner's own pages and uploads the difference.

use std::process::ExitCode;

use anyhow::Result;
use bistro_cli::args::{Common, MinerArgs};
use bistro_cli::workshop::Workshop;
use bistro_cli::{commands, connect, program, run_rules};
use bistro_node::miner::{self, Options};
use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

/// Trains the shared model on this miner's own pages and uploads the difference (the delta) to its bucket.
///
/// Credentials of the bucket: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`; another server than AWS: `AWS_ENDPOINT_URL`.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    miner: MinerArgs,
}

/// What there is besides the loop.
#[derive(Subcommand)]
enum Command {
    /// Checks the own bucket, with your keys and with a stranger's eyes.
    Bucket(commands::bucket::BucketArgs),
    /// Prints the pages of a miner at a block.
    Pages(commands::pages::PagesArgs),
}

fn main() -> ExitCode {
    bistro_model::mkl::keep();
    let cli = Cli::parse();
    program::run(&cli.common.logging, async |stop| match &cli.command {
        // Each on the heap: together on the stack they are larger than a page.
        None => Box::pin(mine(&cli, stop)).await,
        Some(Command::Bucket(args)) => Box::pin(commands::bucket::run(args, stop)).await,
        Some(Command::Pages(args)) => Box::pin(commands::pages::run(args, stop)).await,
    })
}

async fn mine(cli: &Cli, stop: CancellationToken) -> Result<()> {
    let Cli { common, miner: args, .. } = cli;
    let parts = connect::connect(common, "miner").await?;
    let training = args.training.options(common.threads);
    let workshop = Workshop {
        dataset: common.dataset.clone(),
        device: common.device.clone(),
        training,
        init_seed: 0,
        checkpoint: None,
    };
    let mechanism = args.rules.as_deref().map(run_rules::mechanism).transpose()?;
    let options =
        Options { mechanism, encoding: args.encoding.into(), batch_rows: args.batch_size, seed: rand::random() };
    let summary = miner::run(parts, &workshop, options, stop).await?;
    let (computing, waiting) = (summary.compute_share, summary.page_wait_share);
    tracing::info!(
        uploads = summary.uploads,
        computing,
        waiting_for_pages = waiting,
        "stopped; saved work and state are in the data folder"
    );
    Ok(())
}
