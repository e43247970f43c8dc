//! Judges the miners' deltas, sets weights, and publishes the master.

use std::process::ExitCode;

use anyhow::Result;
use bistro_cli::args::{Global, ValidatorFlags};
use bistro_cli::commands::doctor::DoctorArgs;
use bistro_cli::doctor::subject::Subject;
use bistro_cli::settings::{Loaded, Settings};
use bistro_cli::workshop::Workshop;
use bistro_cli::{commands, connect, program, run_rules, settings, watch};
use bistro_node::validator::{self, Options};
use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

/// Judges the miners' deltas on their own pages and on random ones, sets weights on the chain, and publishes the master.
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
    flags: ValidatorFlags,
}

/// What there is besides the loop.
#[derive(Subcommand)]
enum Command {
    /// Runs the loop, as without a command.
    Run(Box<ValidatorFlags>),
    /// Shows, checks and begins a configuration.
    Config(commands::config::ConfigArgs<ValidatorFlags>),
    /// Examines the set-up: wallet, chain, bucket, dataset, device, memory, disk. Exit status: 0, or 3 if a check failed.
    Doctor(Box<DoctorArgs<ValidatorFlags>>),
    /// Prints completions for a shell.
    Completions(commands::manual::CompletionsArgs),
    /// Prints the manual.
    Man(commands::manual::ManArgs),
    /// Checks the own bucket, with your keys and with a stranger's eyes.
    Bucket(commands::bucket::BucketArgs),
    /// Makes and checks the index that pins a dataset.
    Dataset(commands::dataset::DatasetArgs),
    /// Makes, converts, measures and samples models.
    Model(commands::model::ModelArgs),
    /// Says how the running validator is.
    Status(commands::status::StatusArgs),
    /// Follows a validator's log once more: whether verdicts, scores and weights follow from what it states, and the losses
    /// from the objects. Anybody may, for anybody's log.
    ///
    /// Exit status: 0 if everything follows, 2 otherwise.
    Replay(commands::replay::ReplayArgs),
}

fn main() -> ExitCode {
    bistro_model::mkl::keep();
    let Loaded { cli, settings } = match settings::load::<Cli>("validator") {
        Ok(loaded) => loaded,
        Err(status) => return status,
    };
    program::run(&cli.global.logging, async |stop| match &cli.command {
        // Each on the heap: together on the stack they are larger than a page.
        None => Box::pin(validate(&cli.flags, &settings, stop)).await,
        Some(Command::Run(flags)) => Box::pin(validate(flags, &settings, stop)).await,
        Some(Command::Doctor(args)) => Box::pin(examine(args, &settings)).await,
        Some(Command::Config(args)) => commands::config::run(args, &settings, "bistro-validator"),
        Some(Command::Completions(args)) => commands::manual::completions(args, settings::command::<Cli>()),
        Some(Command::Man(args)) => commands::manual::man(args, settings::command::<Cli>()),
        Some(Command::Bucket(args)) => Box::pin(commands::bucket::run(args, stop)).await,
        Some(Command::Dataset(args)) => Box::pin(commands::dataset::run(args, stop)).await,
        Some(Command::Model(args)) => Box::pin(commands::model::run(args, stop)).await,
        Some(Command::Status(args)) => Box::pin(commands::status::run(args, "validator", stop)).await,
        Some(Command::Replay(args)) => Box::pin(commands::replay::run(args, stop)).await,
    })
}

async fn examine(args: &DoctorArgs<ValidatorFlags>, settings: &Settings) -> Result<()> {
    let flags = &args.flags;
    commands::doctor::run(args, Subject::validator(flags, settings)?).await
}

async fn validate(flags: &ValidatorFlags, settings: &Settings, stop: CancellationToken) -> Result<()> {
    let ValidatorFlags { common, run } = flags;
    let parts = Box::pin(connect::connect(&Subject::validator(flags, settings)?, &stop)).await?;
    watch::start(common, &parts, &stop).await?;
    let rules = run_rules::assemble(run, &common.dataset, parts.netuid)?;
    let training = run.options(common.threads);
    let checkpoint = run_rules::checkpoint(&run.model);
    let workshop = Workshop {
        dataset: common.dataset.clone(),
        device: common.device.clone(),
        training,
        init_seed: run.init_seed,
        checkpoint,
    };
    let options = Options { rules, seed: rand::random(), version: env!("CARGO_PKG_VERSION").into() };
    let summary = validator::run(parts, &workshop, options, stop).await?;
    let (computing, waiting) = (summary.compute_share, summary.page_wait_share);
    tracing::info!(seq = summary.seq, hash = %summary.hash, computing, waiting_for_pages = waiting, "stopped; this master is published, state is in the data folder");
    Ok(())
}
