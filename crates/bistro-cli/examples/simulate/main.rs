//! `bistro-localnet simulate` with a real Llama on real text in place of the toy: whole networks in virtual time, with whatever
//! faults and attackers the scenario has. `scripts/simulate.sh --model nano` runs it.
#![allow(clippy::print_stdout, clippy::print_stderr)] // its output is what it is for

mod llama;
#[path = "../common/text.rs"]
mod text;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bistro_model::LlamaConfig;
use bistro_sim::subject::Subject;
use bistro_sim::{Scenario, batch, report};
use clap::Parser;
use llama::Llama;

/// Simulates whole networks that train a real Llama, seed by seed; the exit status says whether every promise held.
#[derive(Parser)]
// simulate.sh sets seeds and report; what is typed after those counts.
#[command(args_override_self = true)]
struct Args {
    /// Preset of the model.
    #[arg(long, default_value = "nano")]
    model: String,
    /// Folder of `.txt` files.
    #[arg(long, default_value = "corpus/sotu")]
    text: PathBuf,
    /// How many seeds.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// The scenario, as of `bistro-localnet simulate`.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Blocks, instead of the scenario's.
    #[arg(long)]
    blocks: Option<u64>,
    /// Write a page with plots, and the plots, into this folder.
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
}

fn main() -> Result<()> {
    bistro_model::mkl::keep();
    let args = Args::parse();
    let mut scenario = match &args.scenario {
        Some(file) => {
            Scenario::from_toml(&fs_err::read_to_string(file)?).with_context(|| file.display().to_string())?
        }
        None => Scenario::default(),
    };
    scenario.blocks = args.blocks.unwrap_or(scenario.blocks);
    let subject: Arc<dyn Subject> = Arc::new(Llama::new(LlamaConfig::preset(&args.model)?, &args.text)?);
    let seeds = args.first_seed..args.first_seed.saturating_add(args.seeds);
    let jobs: Vec<(Scenario, u64)> = seeds.map(|seed| (scenario.clone(), seed)).collect();
    eprintln!(
        "{} seeds of {} blocks: minutes each, and nothing to be seen before the first ends",
        jobs.len(),
        scenario.blocks
    );
    let mut broken = 0;
    let all = batch::with(&subject, &jobs, |i, outcome| {
        for promise in &outcome.broken {
            println!("seed {}: {promise}", jobs[i].1);
        }
        broken += usize::from(!outcome.broken.is_empty());
        eprintln!("seed {} is done", jobs[i].1);
        Ok(())
    })?;
    if let Some(folder) = &args.report {
        report::write(folder, &scenario, &all)?;
    }
    print!("{}", report::text(&scenario, &all)?);
    anyhow::ensure!(broken == 0, "{broken} of {} seeds broke a promise", jobs.len());
    println!("every promise held");
    Ok(())
}
