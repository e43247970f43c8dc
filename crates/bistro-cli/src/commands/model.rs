//! Makes, converts, measures and samples models.
//!
//! - this file: the flags.
//! - `folder`: new folders, and folders made from others.
//! - `master`: the newest master of a run, read by anybody.
//! - `measure`: the loss on a text.
//! - `text`: prompts to text.
//! - `tokenizer`: which tokenizer a folder has, and GPT-2's as a `tokenizer.json`.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Result, bail};
use bistro_flags::SubtensorArgs;
use bistro_model::hf::StoredAs;
use clap::{Args, Subcommand, ValueEnum};
use tokio_util::sync::CancellationToken;

mod folder;
mod master;
mod measure;
mod text;
mod tokenizer;

/// Flags of `model`.
#[derive(Args, Clone, Debug)]
pub struct ModelArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Makes a new model from a preset or a `config.json`: the weights that a run of this seed begins with.
    Init(InitArgs),
    /// Reads any Llama of Hugging Face's (several files, bf16, f16) and writes it as the folder that `--model` takes, from
    /// which a validator begins a run.
    Import(ImportArgs),
    /// Downloads a run's newest master, with its tokenizer, as a folder that `transformers` loads. Needs no keys.
    Export(ExportArgs),
    /// Measures a model on a text.
    Eval(EvalArgs),
    /// Writes text that follows a prompt.
    Sample(SampleArgs),
}

/// Where the folder goes, and as what.
#[derive(Args, Clone, Debug)]
struct OutArgs {
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// In which numbers the weights are stored. Only f32 keeps every bit.
    #[arg(long, default_value = "f32", value_name = "KIND")]
    dtype: Dtype,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dtype {
    F32,
    Bf16,
    F16,
}

impl From<Dtype> for StoredAs {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::Bf16 => Self::Bf16,
            Dtype::F16 => Self::F16,
        }
    }
}

#[derive(Args, Clone, Debug)]
struct InitArgs {
    /// A preset (`nano`, `135m`, `small`, `1b`, `7b`) or a `config.json` of a Llama.
    #[arg(value_name = "PRESET|FILE")]
    model: String,
    /// Seed of the weights.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    out: OutArgs,
}

#[derive(Args, Clone, Debug)]
struct ImportArgs {
    /// The folder to read.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    out: OutArgs,
}

#[derive(Args, Clone, Debug)]
struct ExportArgs {
    #[command(flatten)]
    subtensor: SubtensorArgs,
    /// The run's `tokenizer.json`, where it is not GPT-2's.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    #[command(flatten)]
    out: OutArgs,
}

/// The model, and where it computes.
#[derive(Args, Clone, Debug)]
struct DeviceArgs {
    /// A model folder. Its `tokenizer.json` is used; GPT-2's tokenizer if there is none.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// `cpu`, `cuda` or `cuda:N`.
    #[arg(long, env = "BISTRO_DEVICE", default_value = "cpu")]
    device: String,
    /// Threads; all cores by default.
    #[arg(long, env = "BISTRO_THREADS", value_name = "N")]
    threads: Option<usize>,
}

#[derive(Args, Clone, Debug)]
struct EvalArgs {
    #[command(flatten)]
    on: DeviceArgs,
    /// A text, or a folder whose files are read in the order of their names.
    #[arg(long, value_name = "FILE|DIR")]
    text: PathBuf,
    /// Tokens predicted in one go; the model's own length, at most 2048, by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    seq: Option<u32>,
    /// Only so many tokens from the beginning of the text: the first of them is given, the others are predicted.
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// One JSON object: `loss` (nats a predicted token), `perplexity`, `tokens` (predicted), `tokens_per_s`.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Clone, Debug)]
struct SampleArgs {
    #[command(flatten)]
    on: DeviceArgs,
    /// What the text begins with.
    #[arg(long, default_value = "", value_name = "TEXT")]
    prompt: String,
    /// At most so many tokens.
    #[arg(long, default_value_t = 100, value_name = "N")]
    tokens: usize,
    /// Boldness: 0 always takes the likeliest token.
    #[arg(long, default_value_t = 0.8, value_name = "T")]
    temperature: f64,
    /// Only the likeliest tokens that together have this probability.
    #[arg(long, default_value_t = 0.95, value_name = "P")]
    top_p: f64,
    /// Seed of the draws; another text each time by default.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Runs the command until it is done or `stop`.
pub async fn run(args: &ModelArgs, stop: CancellationToken) -> Result<()> {
    let what = args.what.clone();
    let work = async {
        match what {
            What::Export(args) => master::export(&args).await,
            // Computes: off the threads that serve signals.
            other => tokio::task::spawn_blocking(move || compute(&other)).await?,
        }
    };
    tokio::select! {
        () = stop.cancelled() => bail!("stopped before it was done"),
        outcome = work => outcome,
    }
}

fn compute(what: &What) -> Result<()> {
    match what {
        What::Init(args) => folder::init(args),
        What::Import(args) => folder::import(args),
        What::Eval(args) => measure::run(args),
        What::Sample(args) => text::sample(args),
        What::Export(_) => Ok(()),
    }
}

fn print(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
