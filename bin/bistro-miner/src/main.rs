//! Trains the shared model on this miner's own pages and uploads the difference.

use std::process::ExitCode;

use anyhow::Result;
use bistro_cli::args::{Global, MinerFlags};
use bistro_cli::commands::doctor::DoctorArgs;
use bistro_cli::doctor::subject::Subject;
use bistro_cli::settings::{Loaded, Settings};
use bistro_cli::workshop::Workshop;
use bistro_cli::{commands, connect, program, run_rules, settings, watch};
use bistro_node::miner::{self, Options};
use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

/// Trains the shared model on this miner's own pages and uploads the difference (the delta) to its bucket.
///
/// Credentials of the bucket: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`; another server than AWS: `AWS_ENDPOINT_URL`.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: MinerFlags,
}

/// What there is besides the loop.
#[derive(Subcommand)]
enum Command {
    /// Runs the loop, as without a command.
    Run(Box<MinerFlags>),
    /// Shows, checks and begins a configuration.
    Config(commands::config::ConfigArgs<MinerFlags>),
    /// Examines the set-up: wallet, chain, bucket, dataset, device, memory, disk. Exit status: 0, or 3 if a check failed.
    Doctor(Box<DoctorArgs<MinerFlags>>),
    /// Prints completions for a shell.
    Completions(commands::manual::CompletionsArgs),
    /// Prints the manual.
    Man(commands::manual::ManArgs),
    /// Checks the own bucket, with your keys and with a stranger's eyes.
    Bucket(commands::bucket::BucketArgs),
    /// Prints the pages of a miner at a block.
    Pages(commands::pages::PagesArgs),
    /// Says how the running miner is, and what validators say of its hotkey.
    Status(commands::status::StatusArgs),
}

fn main() -> ExitCode {
    bistro_model::mkl::keep();
    let Loaded { cli, settings } = match settings::load::<Cli>("miner") {
        Ok(loaded) => loaded,
        Err(status) => return status,
    };
    program::run(&cli.global.logging, async |stop| match &cli.command {
        // Each on the heap: together on the stack they are larger than a page.
        None => Box::pin(mine(&cli.flags, &settings, stop)).await,
        Some(Command::Run(flags)) => Box::pin(mine(flags, &settings, stop)).await,
        Some(Command::Doctor(args)) => Box::pin(examine(args, &settings)).await,
        Some(Command::Config(args)) => commands::config::run(args, &settings, "bistro-miner"),
        Some(Command::Completions(args)) => commands::manual::completions(args, settings::command::<Cli>()),
        Some(Command::Man(args)) => commands::manual::man(args, settings::command::<Cli>()),
        Some(Command::Bucket(args)) => Box::pin(commands::bucket::run(args, stop)).await,
        Some(Command::Pages(args)) => Box::pin(commands::pages::run(args, stop)).await,
        Some(Command::Status(args)) => Box::pin(commands::status::run(args, "miner", stop)).await,
    })
}

async fn examine(args: &DoctorArgs<MinerFlags>, settings: &Settings) -> Result<()> {
    let flags = &args.flags;
    commands::doctor::run(args, Subject::miner(flags, settings)).await
}

async fn mine(flags: &MinerFlags, settings: &Settings, stop: CancellationToken) -> Result<()> {
    let MinerFlags { common, miner: args } = flags;
    let parts = Box::pin(connect::connect(&Subject::miner(flags, settings), &stop)).await?;
    watch::start(common, &parts, &stop).await?;
    watch::ask_validators(parts.clone(), stop.clone());
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
