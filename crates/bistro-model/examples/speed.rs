//! How fast `nano` trains and evaluates here: `cargo run --release -p bistro-model --example speed [preset]`.
#![allow(clippy::print_stdout)] // its output is what it is for

use std::time::Instant;

use anyhow::Context;
use bistro_core::ports::Learner;
use bistro_core::tokens::TokenBatch;
use bistro_model::{LlamaConfig, LlamaLearner, TrainOptions, mkl};

fn main() -> anyhow::Result<()> {
    if std::env::var_os("NO_MKL_SYMBOL").is_none() {
        mkl::keep();
    }
    let preset = std::env::args().nth(1).unwrap_or_else(|| "nano".into());
    let config = LlamaConfig::preset(&preset)?;
    let seq = 256.min(config.max_position_embeddings);
    println!("{preset}: {} parameters, sequences of {seq} + 1 tokens", config.parameters().context("counted")?);
    for threads in [1, 2] {
        let options = TrainOptions { threads: Some(threads), ..TrainOptions::default() };
        let device = bistro_model::device::parse("cpu")?;
        let mut learner = LlamaLearner::init(config.clone(), 1, device, options)?;
        for rows in [2, 4, 8] {
            let ids = (0..rows * (seq + 1)).map(|i| (i * i * 31 + i * 7) as u32 % 50257).collect();
            let batch = TokenBatch { seq: seq + 1, ids };
            let train = rate(&batch, || learner.train_step(&batch).map(|_| ()))?;
            let eval = rate(&batch, || learner.loss(&batch).map(|_| ()))?;
            println!("threads={threads} batch={rows}x{seq} train_tokens_per_s={train:.0} eval_tokens_per_s={eval:.0}");
        }
    }
    Ok(())
}

/// Tokens a second: the best of three rounds after one to warm up.
fn rate<E>(batch: &TokenBatch, mut run: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    run()?;
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        for _ in 0..3 {
            run()?;
        }
        best = best.min(start.elapsed().as_secs_f64() / 3.0);
    }
    Ok(batch.targets() as f64 / best)
}
