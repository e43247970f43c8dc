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
    let jobs: Vec<(Scenario, u64)> = seeds.clone().map(|seed| (scenario.clone(), seed)).collect();
    let blocks = scenario.blocks;
    eprintln!("seeds {seeds:?}, {blocks} blocks each: minutes a seed, and nothing to be seen before the first ends");
    let mut broken = 0;
    let all = batch::with(&subject, &jobs, |i, outcome| {
        let seed = jobs[i].1;
        for promise in &outcome.broken {
            println!("seed {seed}: {promise}");
        }
        if !outcome.broken.is_empty() {
            println!("  again: the same command with --first-seed {seed} --seeds 1");
            broken += 1;
        }
        eprintln!("seed {seed} is done");
        Ok(())
    })?;
    if let Some(folder) = &args.report {
        report::write(folder, &scenario, &all)?;
        eprintln!("report: {}", folder.join("index.html").display());
    }
    print!("{}", report::text(&scenario, &all)?);
    anyhow::ensure!(broken == 0, "{broken} of {} seeds broke a promise", jobs.len());
    println!("every promise held");
    Ok(())
}
