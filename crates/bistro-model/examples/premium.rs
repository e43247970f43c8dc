//! By how much more a delta lowers the loss on the pages that it was trained on than on others: what pay is capped by
//! (docs/mechanism.md). `cargo run --release -p bistro-model --example premium -- --text corpus/sotu`
#![allow(clippy::print_stdout)] // its output is what it is for

mod common;

use std::path::PathBuf;

use bistro_core::params::Params;
use bistro_core::ports::Learner as _;
use bistro_core::tokens::TokenBatch;
use bistro_model::{LlamaConfig, LlamaLearner, TrainOptions, device, mkl};
use clap::Parser;

/// Tokens of a sequence and the one after.
const ROW: usize = 257;

/// Sequences of a page.
const ROWS: usize = 4;

/// Pages on which no delta was trained.
const OTHERS: usize = 24;

/// Trains a preset on text, and now and then measures a delta on its own pages and on others.
#[derive(Parser)]
struct Args {
    /// Folder of `.txt` files.
    #[arg(long)]
    text: PathBuf,
    /// Preset of the model.
    #[arg(long, default_value = "nano")]
    model: String,
    /// Pages of training before each measurement.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 100, 400, 1000])]
    warm: Vec<usize>,
    /// Pages that a delta is trained on.
    #[arg(long, value_delimiter = ',', default_values_t = [4, 16])]
    pages: Vec<usize>,
}

fn main() -> anyhow::Result<()> {
    mkl::keep();
    let args = Args::parse();
    let (ids, mut random) = (common::tokens(&args.text)?, common::Draw(7));
    let mut draw = |count: usize| -> Vec<TokenBatch> {
        let page = |at: usize| TokenBatch { seq: ROW, ids: ids[at..at + ROWS * ROW].to_vec() };
        (0..count).map(|_| page(random.below(ids.len() - ROWS * ROW))).collect()
    };
    let config = LlamaConfig::preset(&args.model)?;
    let mut learner = LlamaLearner::init(config, 1, device::parse("cpu")?, TrainOptions::default())?;
    println!("| trained before | pages | scale | gain on them | on others | premium | in deviations of one page |");
    println!("|---|---|---|---|---|---|---|");
    let mut warm = 0;
    for until in args.warm {
        train(&mut learner, &draw(until - warm))?;
        warm = until;
        for pages in &args.pages {
            let (base, own, others) = (learner.params()?, draw(*pages), draw(OTHERS));
            train(&mut learner, &own)?;
            let delta = learner.params()?.minus(&base);
            for scale in [1.0, 0.25] {
                let next = base.plus_scaled(&delta, scale);
                let (own, own_sd) = spread(&gains(&mut learner, &base, &next, &own)?);
                let (other, other_sd) = spread(&gains(&mut learner, &base, &next, &others)?);
                let (premium, sd) = (own - other, own_sd.hypot(other_sd));
                println!(
                    "| {until} | {pages} | {scale} | {own:.4} | {other:.4} | {premium:.4} | {:.1} |",
                    premium / sd
                );
            }
            learner.load(&base)?;
        }
    }
    Ok(())
}

/// One pass over `pages`, two sequences a step.
fn train(learner: &mut LlamaLearner, pages: &[TokenBatch]) -> anyhow::Result<()> {
    for step in pages.iter().flat_map(|page| page.chunks(2)) {
        learner.train_step(&step)?;
    }
    Ok(())
}

/// What each page's loss loses from `base` to `next`, nats a token.
fn gains(learner: &mut LlamaLearner, base: &Params, next: &Params, pages: &[TokenBatch]) -> anyhow::Result<Vec<f64>> {
    let mut losses = |params: &Params| -> anyhow::Result<Vec<f64>> {
        learner.load(params)?;
        Ok(pages.iter().map(|page| learner.loss(page)).collect::<Result<_, _>>()?)
    };
    let (before, after) = (losses(base)?, losses(next)?);
    Ok(before.iter().zip(&after).map(|(before, after)| before - after).collect())
}

/// Mean and standard deviation.
fn spread(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
    (mean, variance.sqrt())
}
