//! A tiny model and batches for it.
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

use bistro_core::tokens::TokenBatch;
use bistro_model::{LlamaConfig, LlamaLearner, TrainOptions, tch::Device};

pub fn tiny() -> LlamaConfig {
    let mut config = LlamaConfig::preset("nano").unwrap();
    (config.vocab_size, config.hidden_size, config.intermediate_size, config.num_hidden_layers) = (97, 32, 48, 2);
    config.num_key_value_heads = Some(2);
    config
}

pub fn options() -> TrainOptions {
    TrainOptions { lr: 1e-2, warmup_steps: 0, weight_decay: 0.0, threads: Some(1), ..TrainOptions::default() }
}

pub fn learner(options: TrainOptions) -> LlamaLearner {
    LlamaLearner::init(tiny(), 5, Device::Cpu, options).unwrap()
}

pub fn batch(rows: usize, seq: usize, salt: usize) -> TokenBatch {
    TokenBatch { seq, ids: (0..rows * seq).map(|i| ((i * i * 13 + i * salt + salt) % 97) as u32).collect() }
}
