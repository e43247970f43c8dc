//! Writes a new model of a preset as a folder that `transformers` loads, and what this crate says its loss is:
//! `cargo run -p bistro-model --example export FOLDER [preset]`. `tests/reference/load.py FOLDER` compares.
#![allow(clippy::print_stdout)] // its output is what it is for

use anyhow::Context;
use bistro_core::ports::Learner;
use bistro_core::tokens::TokenBatch;
use bistro_model::{LlamaConfig, LlamaLearner, TrainOptions, hf, tch::Device};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().context("which folder?")?;
    let config = LlamaConfig::preset(&args.next().unwrap_or_else(|| "nano".into()))?;
    let mut learner = LlamaLearner::init(config.clone(), 1, Device::Cpu, TrainOptions::default())?;
    let batch = TokenBatch { seq: 128, ids: (0..256).map(|i| i * i * 31 % 50257).collect() };
    for _ in 0..5 {
        learner.train_step(&batch)?;
    }
    hf::export(folder.as_ref(), &config, &learner.params()?)?;
    println!("loss={}", learner.loss(&batch)?);
    Ok(())
}
