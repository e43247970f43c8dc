//! Reads a model folder as this crate does, writes it again into another, and prints its logits of the last place and its loss
//! on the token ids of standard input (sequences of `seq`, JSON): one side of `scripts/conformance/model/run.sh`.
#![allow(clippy::print_stdout)] // its output is what it is for

use anyhow::{Context, Result};
use bistro_core::tokens::TokenBatch;
use bistro_model::tch::{Device, Tensor};
use bistro_model::{LlamaLearner, TrainOptions, hf};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = |what: &str| args.next().context(what.to_owned());
    let (folder, seq, copy) = (next("which folder?")?, next("how long?")?.parse::<usize>()?, next("where to?")?);
    let ids: Vec<u32> = serde_json::from_reader(std::io::stdin())?;
    let (config, params) = hf::import(folder.as_ref())?;
    hf::export(copy.as_ref(), &config, &params)?;
    let mut learner = LlamaLearner::from_params(config, &params, Device::Cpu, TrainOptions::default())?;
    let batch = TokenBatch { seq, ids };
    let loss = learner.evaluate(&batch)?;
    let ids: Vec<i64> = batch.ids.iter().map(|id| i64::from(*id)).collect();
    let ids = Tensor::from_slice(&ids).reshape([batch.rows() as i64, seq as i64]);
    let llama = learner.llama();
    let hidden = llama.body(&llama.embed(&ids)?)?.reshape([batch.rows() as i64, seq as i64, -1]);
    let logits = hidden.narrow(1, seq as i64 - 1, 1).matmul(&llama.head().tr()).reshape([-1]);
    let logits = Vec::<f32>::try_from(logits)?;
    println!("{}", serde_json::json!({"loss": loss, "logits": logits}));
    Ok(())
}
