//! A whole network of separate processes on this machine, and the proof that it trained: one validator, honest miners, one
//! miner that uploads poison, a chain and an S3 server.
//!
//! - this file: the run, from the first process to the verdict.
//! - [`processes`]: the programs as child processes.
//! - [`progress`]: what is shown meanwhile.
//! - [`report`]: what the event log, the chain and the buckets say in the end.

pub mod processes;
pub mod progress;
pub mod report;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bistro_core::ids::NetUid;
use bistro_node::{audit, leader, log, replay};
use fs_err as fs;
use tokio_util::sync::CancellationToken;

use crate::network::{LocalNetwork, Setup};
use processes::Processes;
use report::{Inputs, Report};

/// Largest master that is verified, bytes.
const MAX_MASTER_BYTES: u64 = 4 << 30;

/// What an operator decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder with the text.
    pub corpus: PathBuf,
    /// How long the programs run.
    pub duration: Duration,
    /// Honest miners.
    pub miners: usize,
    /// The mechanism, by name or file.
    pub rules: String,
    /// The model, by preset or file.
    pub model: String,
    /// Time between blocks.
    pub block_time: Duration,
    /// Where everything stays afterwards; a folder that is removed if absent.
    pub keep: Option<PathBuf>,
    /// Where the report goes as JSON.
    pub json: Option<PathBuf>,
    /// Global loss to get below.
    pub target_loss: f64,
    /// How often a program, drawn at random at a random moment, is killed without warning and started again.
    pub kills: usize,
}

/// Runs the network, prints the table, and says whether everything holds.
pub async fn run(options: &Options, out: &mut impl std::io::Write, stop: CancellationToken) -> Result<bool> {
    let temporary = tempfile::Builder::new().prefix("bistro-demo-").tempdir()?;
    let dir = match &options.keep {
        Some(dir) => std::path::absolute(dir)?,
        None => temporary.path().to_owned(),
    };
    fs::create_dir_all(&dir)?;
    anyhow::ensure!(
        !dir.join("state").exists(),
        "{} holds an earlier demo: remove it, or give --keep another folder",
        dir.display()
    );
    let network = LocalNetwork::start(setup(options, dir.clone())).await?;
    writeln!(out, "chain {}  S3 {}  files {}", network.chain.url(), network.s3.endpoint(), dir.display())?;
    let begin = Instant::now();
    let mut processes = Processes::start(&network, options)?;
    let watched = progress::watch(&network, options, &mut processes, out, &stop).await;
    let seconds = begin.elapsed().as_secs_f64();
    processes.stop().await?;
    watched?;
    let report = conclude(&network, options, seconds).await?;
    writeln!(out, "\n{}", report.table())?;
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    if options.keep.is_some() {
        writeln!(out, "the master, as transformers loads it: {}", dir.join("master").display())?;
    } else if !report.ok {
        writeln!(out, "run with --keep DIR to keep the logs of every program")?;
    }
    network.stop().await;
    Ok(report.ok)
}

fn setup(options: &Options, dir: PathBuf) -> Setup {
    let miners = (1..=options.miners).map(|n| format!("miner-{n}"));
    Setup {
        dir,
        netuid: NetUid(212),
        block_time: options.block_time,
        names: std::iter::once("validator".to_owned()).chain(miners).chain(["poisoner".to_owned()]).collect(),
        ..Setup::default()
    }
}

/// Reads what the run left behind, recomputes the master from its published deltas, and exports it.
async fn conclude(network: &LocalNetwork, options: &Options, seconds: f64) -> Result<Report> {
    let validator = &network.members[0];
    let parts = network.parts(validator).await?;
    let metagraph = parts.chain.metagraph().await?;
    let leader = leader::find(&parts, &metagraph).await?.context("the validator has published no master")?;
    let spec = leader.published_spec(&parts, MAX_MASTER_BYTES).await?;
    let rules = leader.rules(&parts).await?;
    let lineage = audit::lineage(&parts, &leader, &spec).await;
    if let Err(error) = &lineage {
        tracing::error!(%error, "the published lineage does not hold");
    }
    let lineage = lineage.ok();
    if let Some(lineage) = &lineage {
        export(&network.setup.dir.join("master"), &rules.model, &lineage.master.params)?;
    }
    let state = network.setup.dir.join("state").join(&validator.name);
    let (records, _) = log::read(&state.join(log::FOLDER))?;
    let replayed = replay::source::of_path(&state.join(log::FOLDER), &*parts.identity, 0)?.report;
    if !replayed.holds() {
        tracing::error!(?replayed, "the validator's log does not follow from itself");
    }
    let weights = network.chain.weights()?.remove(&validator.uid).unwrap_or_default();
    Ok(Report::new(&Inputs {
        seconds,
        members: &network.members,
        records: &records,
        scoring: rules.mechanism.scoring,
        weights: &weights,
        master: &leader.manifest,
        lineage_ok: lineage.is_some_and(|lineage| lineage.holds()),
        log_ok: replayed.holds(),
        target_loss: options.target_loss,
    }))
}

fn export(dir: &Path, config: &serde_json::Value, params: &bistro_core::params::Params) -> Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join("config.json"), serde_json::to_vec_pretty(config)?)?;
    fs::write(dir.join("model.safetensors"), bistro_delta::write_master(params))?;
    Ok(())
}
