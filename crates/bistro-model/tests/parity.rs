//! Against Hugging Face's `transformers`: the same weights give the same logits, losses, gradients, and training steps.
//! The answers in `tests/reference` are made by `make.py` beside them.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use bistro_core::params::{Params, Tensor};
use bistro_core::ports::Learner;
use bistro_core::tokens::TokenBatch;
use bistro_model::options::OptimizerKind;
use bistro_model::tch::{Device, Tensor as TorchTensor};
use bistro_model::{LlamaConfig, LlamaLearner, TrainOptions};
use serde_json::Value;

fn options(optimizer: OptimizerKind) -> TrainOptions {
    let (lr, weight_decay) = if optimizer == OptimizerKind::AdamW { (1e-2, 0.1) } else { (1e-1, 0.0) };
    let warmup_steps = 0;
    TrainOptions {
        optimizer,
        lr,
        warmup_steps,
        weight_decay,
        threads: Some(1),
        micro_batch: 2,
        ..TrainOptions::default()
    }
}

struct Reference {
    answers: Value,
    batch: TokenBatch,
    learner: LlamaLearner,
}

impl Reference {
    fn new(text: &str, optimizer: OptimizerKind) -> Self {
        let answers: Value = serde_json::from_str(text).unwrap();
        let config = LlamaConfig::from_json(&answers["config"].to_string()).unwrap();
        let mut params = Params::default();
        for (k, (name, shape)) in config.spec().tensors.into_iter().enumerate() {
            let base = if name.contains("norm") { 1.0 } else { 0.0 };
            let value = |i: usize| ((0.37 * i as f64 + k as f64).sin() * 0.1 + base) as f32;
            let data = (0..shape.iter().product()).map(value).collect();
            params.tensors.insert(name, Tensor::new(shape, data));
        }
        let ids = answers["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        let batch = TokenBatch { seq: answers["seq"].as_u64().unwrap() as usize, ids };
        let learner = LlamaLearner::from_params(config, &params, Device::Cpu, options(optimizer)).unwrap();
        Self { answers, batch, learner }
    }

    fn losses(&self, of: &str) -> Vec<f64> {
        self.answers[of].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).collect()
    }
}

const ANSWERS: [&str; 4] = [
    include_str!("reference/tied.json"),
    include_str!("reference/grouped.json"),
    include_str!("reference/llama3.json"),
    include_str!("reference/biased.json"),
];

fn all() -> [Reference; 4] {
    ANSWERS.map(|text| Reference::new(text, OptimizerKind::AdamW))
}

#[test]
fn logits_are_those_of_transformers() {
    for reference in all() {
        let (rows, seq) = (reference.batch.rows() as i64, reference.batch.seq as i64);
        let ids: Vec<i64> = reference.batch.ids.iter().map(|id| i64::from(*id)).collect();
        let ids = TorchTensor::from_slice(&ids).reshape([rows, seq]);
        let llama = reference.learner.llama();
        let hidden = llama.body(&llama.embed(&ids).unwrap()).unwrap();
        let logits = hidden.matmul(&llama.head().tr()).reshape([rows, seq, -1]);
        for entry in reference.answers["logits"].as_array().unwrap() {
            let at: Vec<i64> = (0..3).map(|i| entry[i].as_i64().unwrap()).collect();
            let (got, wanted) = (logits.double_value(&at), entry[3].as_f64().unwrap());
            assert!((got - wanted).abs() < 1e-4, "logit {at:?}: {got}, transformers says {wanted}");
        }
    }
}

#[test]
fn losses_of_four_training_steps_are_those_of_transformers() {
    for mut reference in all() {
        let wanted = reference.losses("losses");
        let loss = reference.learner.loss(&reference.batch).unwrap();
        assert!((loss - wanted[0]).abs() < 1e-5, "evaluation: {loss}, transformers says {}", wanted[0]);
        for (step, wanted) in wanted.iter().enumerate() {
            let got = reference.learner.train_step(&reference.batch).unwrap().loss;
            assert!((got - wanted).abs() < 1e-4, "step {step}: {got}, transformers says {wanted}");
        }
    }
}

#[test]
fn gradients_are_those_of_transformers() {
    for mut reference in all() {
        let (_, gradients) = reference.learner.gradients(&reference.batch).unwrap();
        let wanted: BTreeMap<String, f64> =
            serde_json::from_value(reference.answers["gradient_norms"].clone()).unwrap();
        assert_eq!(gradients.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
        for (name, wanted) in wanted {
            let got = gradients[&name].norm().double_value(&[]);
            assert!((got - wanted).abs() < 1e-4 * wanted.max(1e-2), "{name}: {got}, transformers says {wanted}");
        }
    }
}

#[test]
fn losses_of_four_adafactor_steps_are_those_of_transformers() {
    for text in ANSWERS {
        let mut reference = Reference::new(text, OptimizerKind::Adafactor);
        for (step, wanted) in reference.losses("adafactor_losses").iter().enumerate() {
            let got = reference.learner.train_step(&reference.batch).unwrap().loss;
            assert!((got - wanted).abs() < 1e-4, "step {step}: {got}, transformers says {wanted}");
        }
    }
}
