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
const OTHERS: usize = 60;

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
    println!(
        "| trained before | pages | factor | gain on them | on others | premium | in deviations of one page | chance's above 0 | picked |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut warm = 0;
    for until in args.warm {
        train(&mut learner, &draw(until - warm))?;
        warm = until;
        for pages in &args.pages {
            let (base, own, others) = (learner.params()?, draw(*pages), draw(OTHERS));
            let delta = trained(&mut learner, &base, &own)?;
            let rival = trained(&mut learner, &base, &draw(*pages))?;
            let rivals = gains(&mut learner, &base, &base.plus_scaled(&rival, 1.0), &others)?;
            for factor in [1.0, 0.25] {
                let next = base.plus_scaled(&delta, factor);
                let (own, own_sd) = spread(&gains(&mut learner, &base, &next, &own)?);
                let gains = gains(&mut learner, &base, &next, &others)?;
                let (other, other_sd) = spread(&gains);
                let (premium, sd) = (own - other, own_sd.hypot(other_sd));
                let (chance, picked) = (above(&gains), spread(&best_fifth(&gains, &rivals)).0 - other);
                println!(
                    "| {until} | {pages} | {factor} | {own:.3} | {other:.3} | {premium:.3} | {:.1} | {chance:.2} | {picked:.3} |",
                    premium / sd
                );
            }
            learner.load(&base)?;
        }
    }
    Ok(())
}

/// What one pass over `pages` adds to `base`.
fn trained(learner: &mut LlamaLearner, base: &Params, pages: &[TokenBatch]) -> anyhow::Result<Params> {
    learner.load(base)?;
    train(learner, pages)?;
    Ok(learner.params()?.minus(base))
}

/// How often the gain on a page is above the mean of those on two others: the premium of whoever states pages by chance, as the
/// recommended rules measure it.
fn above(gains: &[f64]) -> f64 {
    let (mut above, mut all) = (0_u32, 0_u32);
    for (i, a) in gains.iter().enumerate() {
        for (j, b) in gains.iter().enumerate().filter(|(j, _)| *j != i) {
            for (_, c) in gains.iter().enumerate().skip(j + 1).filter(|(k, _)| *k != i) {
                all += 1;
                above += u32::from(*a > f64::midpoint(*b, *c));
            }
        }
    }
    f64::from(above) / f64::from(all)
}

/// Gains on the fifth of all pages on which another delta gains most: what whoever trains on nothing could state by measuring
/// somebody else's delta on all pages of a window.
fn best_fifth(gains: &[f64], others: &[f64]) -> Vec<f64> {
    let mut pages: Vec<usize> = (0..gains.len()).collect();
    pages.sort_by(|a, b| others[*b].total_cmp(&others[*a]));
    pages.iter().take(gains.len() / 5).map(|page| gains[*page]).collect()
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
