//! The validator's inner loop on one preset: master and delta on the device, each scale tried on the same pages, the master
//! taken back. Prints one JSON object; one side of `scripts/bench/inner_loop.sh`.
#![allow(clippy::print_stdout)] // its output is what it is for

use std::time::Instant;

use anyhow::Result;
use bistro_core::params::Params;
use bistro_core::ports::Learner;
use bistro_core::tokens::TokenBatch;
use bistro_model::{LlamaConfig, LlamaLearner, TrainOptions, device, init, mkl};
use clap::Parser;

#[derive(Parser)]
struct Args {
    preset: String,
    /// Sequences of the global pages together, and of the local ones.
    #[arg(long)]
    rows: usize,
    /// Tokens predicted in each.
    #[arg(long)]
    seq: usize,
    /// Deltas judged.
    #[arg(long, default_value_t = 3)]
    deltas: u64,
    #[arg(long)]
    threads: Option<usize>,
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// The factors of `config/rules/recommended.toml`.
const SCALES: [f32; 3] = [1.0, 0.5, 0.25];

fn main() -> Result<()> {
    mkl::keep();
    let args = Args::parse();
    let config = LlamaConfig::preset(&args.preset)?;
    let options = TrainOptions { trains: false, threads: args.threads, ..TrainOptions::default() };
    let vocab = config.vocab_size;
    let master = init::weights(&config, 1);
    let mut learner = LlamaLearner::from_params(config, &master, device::parse(&args.device)?, options)?;
    let batch = |salt: usize| {
        let id = |i: usize| ((i * i * 31 + i * salt) % vocab) as u32;
        TokenBatch { seq: args.seq + 1, ids: (0..args.rows * (args.seq + 1)).map(id).collect() }
    };
    let (global, local) = (batch(7), batch(11));
    let hash = master.hash();
    learner.loss(&global)?;

    let (mut forward, mut all, mut exact) = (0.0, 0.0, true);
    for seed in 0..args.deltas {
        let delta = delta(&master, seed);
        let start = Instant::now();
        let mut loss = |learner: &mut LlamaLearner, batch: &TokenBatch| -> Result<f64> {
            let start = Instant::now();
            let loss = learner.loss(batch)?;
            forward += start.elapsed().as_secs_f64();
            Ok(loss)
        };
        learner.load(&master)?;
        let mut best = (loss(&mut learner, &global)?, 0.0);
        for scale in SCALES {
            learner.load_sum(&master, &delta, scale)?;
            let with = loss(&mut learner, &global)?;
            best = if with < best.0 || best.1 <= 0.0 { (with, scale) } else { best };
        }
        learner.load_sum(&master, &delta, best.1)?;
        loss(&mut learner, &local)?;
        all += start.elapsed().as_secs_f64();
        learner.load(&master)?;
        exact &= learner.params()?.hash() == hash;
    }
    let per_minute = 60.0 * args.deltas as f64 / all;
    println!(
        "{}",
        serde_json::json!({"evals_per_min": per_minute, "forward_share": forward / all, "undo_exact": u8::from(exact)})
    );
    Ok(())
}

/// Small and different for each seed.
fn delta(master: &Params, seed: u64) -> Params {
    let scale = 1e-3 * (1.0 + seed as f32);
    Params::zeros(&master.spec()).plus_scaled(master, scale)
}
