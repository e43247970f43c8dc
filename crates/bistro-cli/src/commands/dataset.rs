//! Makes and checks the index that pins a dataset.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use bistro_pages::survey::{self, SurveyOptions};
use bistro_pages::{DatasetName, IndexFile, SourceOptions};
use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::data::DataArgs;

/// Flags of `dataset`.
#[derive(Args, Clone, Debug)]
pub struct DatasetArgs {
    #[command(subcommand)]
    command: DatasetCommand,
}

/// What is done with the index.
#[derive(Subcommand, Clone, Debug)]
enum DatasetCommand {
    /// Reads row counts, and for `parquet:` the files and their row groups, and writes them down with a digest.
    Index(IndexArgs),
    /// Holds an index against its dataset as it is now; the exit status is 2 if they differ.
    Verify(VerifyArgs),
}

/// Flags of `dataset index`.
#[derive(Args, Clone, Debug)]
struct IndexArgs {
    #[command(flatten)]
    data: DataArgs,
    /// File to write; standard output if absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only configs whose names start so, such as `CC-MAIN-`.
    #[arg(long, default_value = "", value_name = "PREFIX")]
    configs: String,
    /// Only this split.
    #[arg(long, value_name = "SPLIT")]
    split: Option<String>,
    /// Name of the dataset, where its place does not tell it.
    #[arg(long, value_name = "OWNER/NAME")]
    name: Option<String>,
}

/// Flags of `dataset verify`.
#[derive(Args, Clone, Debug)]
struct VerifyArgs {
    #[command(flatten)]
    data: DataArgs,
}

/// Runs the command until it is done or `stop`.
pub async fn run(args: &DatasetArgs, stop: CancellationToken) -> Result<()> {
    let work = async {
        match &args.command {
            DatasetCommand::Index(args) => index(args).await,
            DatasetCommand::Verify(args) => verify(args).await,
        }
    };
    stop.run_until_cancelled(work).await.unwrap_or_else(|| bail!("stopped; nothing was written"))
}

async fn index(args: &IndexArgs) -> Result<()> {
    let options = options(&args.data)?;
    let what =
        SurveyOptions { config_prefix: args.configs.clone(), split: args.split.clone(), name: args.name.clone() };
    let file = survey::survey(&args.data.dataset, &options, &what).await?;
    file.index(1).check()?;
    match &args.out {
        Some(path) => fs_err::write(path, file.to_text())?,
        None => std::io::stdout().write_all(file.to_text().as_bytes())?,
    }
    tracing::info!("{}", summary(&file));
    Ok(())
}

async fn verify(args: &VerifyArgs) -> Result<()> {
    let options = options(&args.data)?;
    let name = DatasetName::parse(&args.data.dataset)?;
    let shipped = || name.on_hub().and_then(|dataset| IndexFile::shipped(&dataset)).transpose();
    let pinned = options.index.clone().map_or_else(shipped, |file| Ok(Some(file)))?;
    let pinned = pinned.context("say which index to check: --dataset.index FILE")?;
    let differences = survey::verify(&args.data.dataset, &options, &pinned).await?;
    if !differences.is_empty() {
        bail!("{} is no longer what its index {} says:\n  {}", pinned.dataset, pinned.digest, differences.join("\n  "));
    }
    writeln!(std::io::stdout(), "{}: as it was pinned", summary(&pinned))?;
    Ok(())
}

fn options(data: &DataArgs) -> Result<SourceOptions> {
    Ok(data.source_options(1, None)?)
}

fn summary(file: &IndexFile) -> String {
    let rows: u64 = file.configs.iter().map(|config| config.rows).sum();
    let files: usize = file.configs.iter().map(|config| config.files.len()).sum();
    format!("{}: {} configs, {rows} rows, {files} files, digest {}", file.dataset, file.configs.len(), file.digest)
}
