//! What each encoding of a delta costs and keeps, with a real model on real text; `scripts/bench/encodings.sh` runs it.
//! `cargo run --release -p bistro-model --example encodings -- --text corpus/sotu`
#![allow(clippy::print_stdout)] // its output is what it is for

#[path = "../common/mod.rs"]
mod common;
mod plot;

use std::path::{Path, PathBuf};
use std::time::Instant;

use bistro_core::ids::{Block, Hash, Hotkey, NetUid, Uid};
use bistro_core::params::Params;
use bistro_core::ports::Learner;
use bistro_core::protocol::Encoding;
use bistro_core::tokens::TokenBatch;
use bistro_delta::{DeltaMeta, encode_with_values};
use bistro_model::{LlamaConfig, LlamaLearner, TrainOptions, device, mkl};
use clap::Parser;

/// Rounds with feedback; each of the two judged uploads is the work of half of them.
const ROUNDS: usize = 10;

/// Trains a preset on text and measures every encoding on its deltas.
#[derive(Parser)]
struct Args {
    /// Folder of `.txt` files.
    #[arg(long)]
    text: PathBuf,
    /// Preset of the model.
    #[arg(long, default_value = "nano")]
    model: String,
    /// Steps before the first delta.
    #[arg(long, default_value_t = 250)]
    warm: usize,
    /// Steps of a round.
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// Held-out sequences.
    #[arg(long, default_value_t = 48)]
    pages: usize,
    /// Seed of the weights and of the order of the pages.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads that compute.
    #[arg(long)]
    threads: Option<usize>,
    /// Fewer steps and pages.
    #[arg(long)]
    quick: bool,
    /// Writes an SVG of the table.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// The corpus, cut into what is trained on and what is judged on.
struct Text {
    ids: Vec<u32>,
    held_out: TokenBatch,
    spread: usize,
    draw: common::Draw,
}

/// Tokens of a sequence and the one after.
const ROW: usize = 257;

impl Text {
    fn read(folder: &Path, pages: usize, seed: u64) -> anyhow::Result<Self> {
        let ids = common::tokens(folder)?;
        let spread = ids.len() / pages;
        let held_out = (0..pages).flat_map(|i| ids[i * spread..i * spread + ROW].iter().copied()).collect();
        Ok(Self { ids, held_out: TokenBatch { seq: ROW, ids: held_out }, spread, draw: common::Draw(seed) })
    }

    /// Two sequences that share no token with the held-out ones.
    fn batch(&mut self) -> TokenBatch {
        let mut batch = TokenBatch { seq: ROW, ids: Vec::new() };
        while batch.rows() < 2 {
            let start = self.draw.below(self.ids.len() - ROW);
            if (ROW..=self.spread - ROW).contains(&(start % self.spread)) {
                batch.ids.extend_from_slice(&self.ids[start..start + ROW]);
            }
        }
        batch
    }
}

/// What one encoding did.
struct Row {
    encoding: Encoding,
    /// Bits a parameter of a judged upload, and its share of the gain.
    single: (f64, f64),
    /// The same, mean and end of the rounds with feedback.
    rounds: (f64, f64),
    seconds: f64,
}

/// The trained models: the first master, and the model after each round; and their losses.
struct Run {
    learner: LlamaLearner,
    held_out: TokenBatch,
    models: Vec<(Params, f64)>,
}

impl Run {
    fn train(args: &Args) -> anyhow::Result<Self> {
        let mut text = Text::read(&args.text, args.pages, args.seed)?;
        let options = TrainOptions { threads: args.threads, ..TrainOptions::default() };
        let config = LlamaConfig::preset(&args.model)?;
        let mut learner = LlamaLearner::init(config, args.seed, device::parse("cpu")?, options)?;
        let mut models = Vec::new();
        for round in 0..=ROUNDS {
            for _ in 0..if round == 0 { args.warm } else { args.steps } {
                learner.train_step(&text.batch())?;
            }
            models.push((learner.params()?, learner.loss(&text.held_out)?));
        }
        Ok(Self { learner, held_out: text.held_out, models })
    }

    fn loss(&mut self, params: &Params) -> anyhow::Result<f64> {
        self.learner.load(params)?;
        Ok(self.learner.loss(&self.held_out)?)
    }

    /// Bytes and share of the gain of uploads judged alone: the first half of the rounds as one, and the second.
    fn single(&mut self, encoding: Encoding) -> anyhow::Result<(f64, f64)> {
        let (mut bytes, mut kept, mut gain) = (0, 0.0, 0.0);
        for (from, to) in [(0, ROUNDS / 2), (ROUNDS / 2, ROUNDS)] {
            let ((master, before), (model, after)) = (self.models[from].clone(), self.models[to].clone());
            let (object, values) = encode(&model.minus(&master), encoding)?;
            bytes += object;
            kept += before - self.loss(&master.plus_scaled(&values, 1.0))?;
            gain += before - after;
        }
        Ok((bytes as f64 / 2.0, kept / gain))
    }

    /// Bytes a round and share of the gain at the end, where each delta is what the master still lacks of the model.
    fn rounds(&mut self, encoding: Encoding) -> anyhow::Result<(f64, f64)> {
        let (mut master, before) = self.models[0].clone();
        let mut bytes = 0;
        for round in 1..=ROUNDS {
            let (object, values) = encode(&self.models[round].0.minus(&master), encoding)?;
            bytes += object;
            master = master.plus_scaled(&values, 1.0);
        }
        let after = self.models[ROUNDS].1;
        Ok((bytes as f64 / ROUNDS as f64, (before - self.loss(&master)?) / (before - after)))
    }
}

fn encode(delta: &Params, encoding: Encoding) -> anyhow::Result<(usize, Params)> {
    let (uid, hotkey, base) = (Uid(1), Hotkey([1; 32]), Hash([0; 32]));
    let meta = DeltaMeta { encoding, base, netuid: NetUid(1), uid, hotkey, block: Block(1) };
    let (object, values) = encode_with_values(delta, &meta).map_err(|skip| anyhow::anyhow!("{skip}"))?;
    Ok((object.len(), values))
}

fn main() -> anyhow::Result<()> {
    mkl::keep();
    let mut args = Args::parse();
    if args.quick {
        (args.warm, args.steps, args.pages) = (150, 8, 32);
    }
    let start = Instant::now();
    let mut run = Run::train(&args)?;
    let parameters = run.models[0].0.spec().numel() as f64;
    let losses: Vec<String> = run.models.iter().map(|(_, loss)| format!("{loss:.4}")).collect();
    println!("{} of {parameters} parameters, {} steps, then {ROUNDS} rounds of {}", args.model, args.warm, args.steps);
    println!("held-out loss {} after {:.0} s\n", losses.join(" "), start.elapsed().as_secs_f64());
    println!("| encoding | bits a parameter | smaller than f32 | gain kept | bits, rounds | smaller | gain kept | s |");
    println!("|---|---|---|---|---|---|---|---|");
    let bits = |bytes: f64| bytes * 8.0 / parameters;
    let mut rows = Vec::new();
    for encoding in Encoding::ALL {
        let start = Instant::now();
        let (single, rounds) = (run.single(encoding)?, run.rounds(encoding)?);
        let seconds = start.elapsed().as_secs_f64();
        let row = Row { encoding, single: (bits(single.0), single.1), rounds: (bits(rounds.0), rounds.1), seconds };
        println!(
            "| {} | {:.3} | {:.1} | {:.1} % | {:.3} | {:.1} | {:.1} % | {:.1} |",
            row.encoding.name(),
            row.single.0,
            32.0 / row.single.0,
            100.0 * row.single.1,
            row.rounds.0,
            32.0 / row.rounds.0,
            100.0 * row.rounds.1,
            row.seconds,
        );
        rows.push(row);
    }
    if let Some(file) = &args.plot {
        let points = |of: fn(&Row) -> (f64, f64)| {
            rows.iter().map(|row| (row.encoding.name(), of(row).0, of(row).1)).collect::<Vec<_>>()
        };
        std::fs::write(file, plot::svg(&points(|row| row.single), &points(|row| row.rounds)))?;
    }
    // The smallest that keeps so much.
    let ratio = |least: f64, of: fn(&Row) -> (f64, f64)| {
        let enough = rows.iter().map(of).filter(|(_, share)| *share >= least);
        enough.map(|(bits, _)| 32.0 / bits).fold(0.0, f64::max)
    };
    let (single, rounds) = (ratio(0.99, |row| row.single), ratio(0.9, |row| row.rounds));
    println!("RESULT ratio_at_99={single:.1} ratio_at_90_rounds={rounds:.1}");
    Ok(())
}
