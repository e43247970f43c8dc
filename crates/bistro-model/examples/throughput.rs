//! Tokens a second of training and evaluation of a model folder, and the speed of this process's matrix products: one side of
//! `scripts/bench/train.sh`. Prints one JSON object.
#![allow(clippy::print_stdout)] // its output is what it is for

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use bistro_core::ports::Learner;
use bistro_core::tokens::TokenBatch;
use bistro_model::options::Precision;
use bistro_model::tch::{self, Device, Kind, Tensor};
use bistro_model::{LlamaLearner, TrainOptions, device, hf, mkl};
use clap::Parser;

#[derive(Parser)]
struct Args {
    folder: PathBuf,
    #[arg(long)]
    rows: usize,
    /// Tokens predicted in each sequence.
    #[arg(long)]
    seq: usize,
    /// Timed steps, after one to warm up.
    #[arg(long, default_value_t = 3)]
    steps: usize,
    #[arg(long)]
    threads: Option<usize>,
    #[arg(long, default_value = "cpu")]
    device: String,
    #[arg(long)]
    checkpointing: bool,
    /// Leave MKL's path on AMD as it is, to see what the symbol gives.
    #[arg(long)]
    plain_mkl: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if !args.plain_mkl {
        mkl::keep();
    }
    let device = device::parse(&args.device)?;
    let (config, params) = hf::import(&args.folder)?;
    let options = TrainOptions {
        lr: 1e-4,
        warmup_steps: 0,
        clip: 0.0,
        threads: args.threads,
        micro_batch: args.rows,
        checkpointing: args.checkpointing,
        precision: Precision::Auto,
        ..TrainOptions::default()
    };
    let vocab = config.vocab_size;
    let mut learner = LlamaLearner::from_params(config, &params, device, options)?;
    drop(params);
    let ids = (0..args.rows * (args.seq + 1)).map(|i| ((i * i * 31 + i * 7) % vocab) as u32).collect();
    let batch = TokenBatch { seq: args.seq + 1, ids };
    let peak = peak(device)?;
    let loss = learner.loss(&batch)?;
    let (eval, eval_cpu) = seconds(device, args.steps, || Ok(learner.loss(&batch).map(|_| ())?))?;
    learner.train_step(&batch)?;
    let (train, train_cpu) = seconds(device, args.steps, || Ok(learner.train_step(&batch).map(|_| ())?))?;
    let tokens = batch.targets() as f64;
    let peak = peak.max(self::peak(device)?);
    println!(
        "{}",
        serde_json::json!({
            "train": tokens / train, "eval": tokens / eval, "peak_flops": peak, "loss": loss,
            "train_cpu_s": train_cpu, "eval_cpu_s": eval_cpu
        })
    );
    Ok(())
}

/// The least time of `rounds`, and the least processor time of this thread: with one thread, what to compare beside a busy machine.
fn seconds(device: Device, rounds: usize, mut run: impl FnMut() -> Result<()>) -> Result<(f64, f64)> {
    let (mut best, mut best_cpu) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds.max(1) {
        let (start, cpu) = (Instant::now(), cpu_seconds());
        run()?;
        synchronize(device);
        best = best.min(start.elapsed().as_secs_f64());
        best_cpu = best_cpu.min(cpu_seconds() - cpu);
    }
    Ok((best, best_cpu))
}

/// Processor time of this thread so far, as Linux counts it.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|n| n.parse::<f64>().ok());
    nanoseconds.unwrap_or(0.0) / 1e9
}

fn synchronize(device: Device) {
    if let Device::Cuda(index) = device {
        tch::Cuda::synchronize(index as i64);
    }
}

/// Floating-point operations a second of the best of some square matrix products, in the numbers that training uses there.
fn peak(device: Device) -> Result<f64> {
    let (side, kind) = if device == Device::Cpu { (2048, Kind::Float) } else { (8192, Kind::BFloat16) };
    let [a, b] = [(); 2].map(|()| Tensor::randn([side, side], (kind, device)));
    let out = Tensor::zeros([side, side], (kind, device));
    let once = || Ok(a.f_mm_out(&out, &b).map(|_| ())?);
    seconds(device, 1, once)?;
    Ok(2.0 * (side as f64).powi(3) / seconds(device, 10, once)?.0)
}
