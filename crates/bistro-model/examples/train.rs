//! Trains a preset on a folder of texts and prints loss against seconds: how the demo's learning rate and batch were chosen.
//! `cargo run --release -p bistro-model --example train -- --text FOLDER --lr 2e-3 --rows 2`
#![allow(clippy::print_stdout)] // its output is what it is for

mod common;

use std::path::PathBuf;
use std::time::Instant;

use bistro_core::ports::Learner;
use bistro_core::tokens::TokenBatch;
use bistro_model::{LlamaConfig, LlamaLearner, TrainOptions, device, mkl};
use clap::Parser;

/// Trains a preset on text.
#[derive(Parser)]
struct Args {
    /// File or folder of `.txt` files, or a Python source file with text in it.
    #[arg(long)]
    text: PathBuf,
    /// Preset or path of a `config.json`.
    #[arg(long, default_value = "nano")]
    model: String,
    #[arg(long, default_value_t = 2e-3)]
    lr: f64,
    #[arg(long, default_value_t = 20)]
    warmup: u32,
    #[arg(long, default_value_t = 0.1)]
    weight_decay: f64,
    /// Sequences a step.
    #[arg(long, default_value_t = 2)]
    rows: usize,
    /// Tokens predicted of each.
    #[arg(long, default_value_t = 256)]
    seq: usize,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Stop when the held-out loss is below this.
    #[arg(long, default_value_t = 6.5)]
    until: f64,
    /// Stop after so many tokens.
    #[arg(long, default_value_t = 500_000)]
    tokens: usize,
    /// Tokens between two looks at the held-out text.
    #[arg(long, default_value_t = 16_384)]
    every: usize,
    #[arg(long, default_value = "cpu")]
    device: String,
}

fn main() -> anyhow::Result<()> {
    mkl::keep();
    let args = Args::parse();
    let config = match LlamaConfig::preset(&args.model) {
        Ok(config) => config,
        Err(_) => LlamaConfig::from_json(&std::fs::read_to_string(&args.model)?)?,
    };
    let ids = common::tokens(&args.text)?;
    let row = args.seq + 1;
    // Sixteen sequences spread over the corpus are held out; a batch that would touch one is drawn again.
    let spread = ids.len() / 16;
    let held_out = (0..16).flat_map(|i| ids[i * spread..i * spread + row].iter().copied()).collect();
    let held_out = TokenBatch { seq: row, ids: held_out };
    let is_held_out = |start: usize| start % spread < row || start % spread > spread - row;
    let options = TrainOptions {
        lr: args.lr,
        warmup_steps: args.warmup,
        weight_decay: args.weight_decay,
        threads: Some(args.threads),
        ..TrainOptions::default()
    };
    let mut learner = LlamaLearner::init(config, 1, device::parse(&args.device)?, options)?;

    let (mut seconds, mut tokens, mut next, mut draw) = (0.0, 0, 0, common::Draw(0));
    loop {
        if tokens >= next {
            let loss = learner.loss(&held_out)?;
            println!("seconds={seconds:.1} tokens={tokens} held_out={loss:.3}");
            if loss < args.until || tokens >= args.tokens {
                println!("lr={} rows={} tokens_per_s={:.0}", args.lr, args.rows, tokens as f64 / seconds);
                return Ok(());
            }
            next += args.every;
        }
        let mut batch = TokenBatch { seq: row, ids: Vec::new() };
        while batch.rows() < args.rows {
            let start = draw.below(ids.len() - row);
            if !is_held_out(start) {
                batch.ids.extend_from_slice(&ids[start..start + row]);
            }
        }
        let start = Instant::now();
        tokens += learner.train_step(&batch)?.tokens;
        seconds += start.elapsed().as_secs_f64();
    }
}
