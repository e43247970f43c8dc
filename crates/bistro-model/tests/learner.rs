//! The learner behind its port: exact weights, right gradients, and steps that cannot spoil a model.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use bistro_core::params::{Params, Tensor};
use bistro_core::ports::Learner;
use bistro_core::tokens::TokenBatch;
use bistro_model::tch::Device;
use bistro_model::{LlamaConfig, LlamaLearner, TrainOptions, init};
use common::{batch, options, tiny};

fn learner(config: LlamaConfig) -> LlamaLearner {
    LlamaLearner::init(config, 5, Device::Cpu, options()).unwrap()
}

/// `params` moved by `step` along `direction`.
fn moved(params: &Params, direction: &Params, step: f32) -> Params {
    params.plus_scaled(direction, step)
}

fn gradient(learner: &mut LlamaLearner, batch: &TokenBatch) -> Params {
    let (_, gradients) = learner.gradients(batch).unwrap();
    let host = |(name, g): (String, bistro_model::tch::Tensor)| {
        let shape = g.size().iter().map(|side| *side as usize).collect();
        let mut data = vec![0.0; g.numel()];
        let numel = data.len();
        g.copy_data(&mut data, numel);
        (name, Tensor::new(shape, data))
    };
    Params { tensors: gradients.into_iter().map(host).collect() }
}

#[test]
fn weights_go_in_and_out_bit_for_bit() {
    let mut learner = learner(tiny());
    let mut params = learner.params().unwrap();
    assert_eq!(params.hash(), init::weights(&tiny(), 5).hash());
    let odd = [-0.0, f32::MIN_POSITIVE / 4.0, f32::NAN, f32::INFINITY, f32::MAX, 1.0 + f32::EPSILON];
    let norm = params.tensors.get_mut("model.norm.weight").unwrap();
    *norm = Tensor::new(vec![32], odd.iter().cycle().take(32).copied().collect());
    learner.load(&params).unwrap();
    assert_eq!(learner.params().unwrap().hash(), params.hash());
}

#[test]
fn weights_of_another_model_are_refused_by_name() {
    let mut learner = learner(tiny());
    let params = learner.params().unwrap();
    let mut missing = params.clone();
    missing.tensors.remove("model.norm.weight");
    let mut extra = params.clone();
    extra.tensors.insert("lm_head.weight".into(), Tensor::new(vec![1], vec![0.0]));
    let mut turned = params.clone();
    turned.tensors.get_mut("model.layers.0.mlp.up_proj.weight").unwrap().shape.reverse();
    for (bad, name) in [(missing, "model.norm.weight"), (extra, "lm_head.weight"), (turned, "mlp.up_proj")] {
        assert!(learner.load(&bad).unwrap_err().message.contains(name));
    }
    assert_eq!(learner.params().unwrap().hash(), params.hash());
}

#[test]
fn gradients_are_the_slope_of_the_loss() {
    for (tied, biased) in [(true, false), (false, true)] {
        let biases = LlamaConfig { attention_bias: biased, mlp_bias: biased, ..tiny() };
        let config = LlamaConfig { tie_word_embeddings: tied, ..biases };
        let mut learner = learner(config.clone());
        // From a steeper place than the first weights, where all tensors matter.
        learner.load(&init::weights(&LlamaConfig { initializer_range: 0.2, ..config.clone() }, 9)).unwrap();
        let (params, batch) = (learner.params().unwrap(), batch(3, 17, 5));
        let gradient = gradient(&mut learner, &batch);
        for name in gradient.tensors.keys() {
            // Along this tensor's gradient alone, by a step of fixed length.
            let mut direction = Params::zeros(&params.spec());
            direction.tensors.insert(name.clone(), gradient.tensors[name].clone());
            let norm = direction.norm();
            let step = 2e-2 / norm;
            let mut loss_at = |step: f64| {
                learner.load(&moved(&params, &direction, step as f32)).unwrap();
                learner.loss(&batch).unwrap()
            };
            let slope = (loss_at(step) - loss_at(-step)) / (2.0 * step);
            let wanted = norm * norm;
            assert!((slope - wanted).abs() < 0.02 * wanted + 1e-5 * norm, "{name}: slope {slope}, gradient {wanted}");
        }
    }
}

#[test]
fn micro_batches_add_up_to_the_batch() {
    let gradient_with = |micro_batch| {
        let options = TrainOptions { micro_batch, ..options() };
        let mut learner = LlamaLearner::init(tiny(), 5, Device::Cpu, options).unwrap();
        (learner.loss(&batch(5, 17, 7)).unwrap(), gradient(&mut learner, &batch(5, 17, 7)))
    };
    let (whole_loss, whole) = gradient_with(5);
    let (loss, pieces) = gradient_with(2);
    assert!((loss - whole_loss).abs() < 1e-6);
    assert!(whole.minus(&pieces).norm() < 1e-5 * whole.norm());
}

#[test]
fn no_token_sees_what_follows_it() {
    // Only the last target may change when the last token does: the loss of the rest is that of the shorter sequence.
    let mut learner = learner(tiny());
    let long = batch(1, 12, 3);
    let mut other = long.clone();
    *other.ids.last_mut().unwrap() = (other.ids[11] + 1) % 97;
    let short = TokenBatch { seq: 11, ids: long.ids[..11].to_vec() };
    let loss = |learner: &mut LlamaLearner, batch: &TokenBatch| learner.loss(batch).unwrap() * batch.targets() as f64;
    let last = |learner: &mut LlamaLearner, batch: &TokenBatch| loss(learner, batch) - loss(learner, &short);
    // The logits at the last place know nothing of its target: the two losses differ by two logits, nothing else.
    let probability = (-last(&mut learner, &long)).exp() + (-last(&mut learner, &other)).exp();
    assert!(probability < 1.0 && probability > 0.0);
    let all: f64 = (0..97)
        .map(|id| {
            *other.ids.last_mut().unwrap() = id;
            (-last(&mut learner, &other)).exp()
        })
        .sum();
    assert!((all - 1.0).abs() < 1e-4, "the probabilities of all last tokens add up to {all}");
}

#[test]
fn one_batch_is_learnt_by_heart() {
    let mut learner = learner(tiny());
    let batch = batch(2, 17, 11);
    let first = learner.train_step(&batch).unwrap();
    assert!((first.loss - 97_f64.ln()).abs() < 0.2, "a new model guesses: {}", first.loss);
    assert_eq!(first.tokens, 32);
    for _ in 0..150 {
        learner.train_step(&batch).unwrap();
    }
    let last = learner.loss(&batch).unwrap();
    assert!(last < 0.1, "{last}");
}

#[test]
fn the_same_seed_gives_the_same_losses() {
    let run = || {
        let mut learner = learner(tiny());
        (0..5).map(|i| learner.train_step(&batch(3, 17, i)).unwrap().loss.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn a_step_that_is_not_finite_never_reaches_the_weights() {
    let mut learner = learner(tiny());
    learner.train_step(&batch(2, 17, 1)).unwrap();
    let good = learner.params().unwrap();
    let mut bad = good.clone();
    let name = "model.layers.1.mlp.up_proj.weight";
    let mut data = good.tensors[name].data.to_vec();
    data[7] = f32::NAN;
    bad.tensors.insert(name.into(), Tensor::new(vec![48, 32], data));
    learner.load(&bad).unwrap();
    assert!(learner.loss(&batch(2, 17, 2)).unwrap().is_nan());
    let error = learner.train_step(&batch(2, 17, 2)).unwrap_err();
    assert_eq!(error.name, "NonFinite");
    assert_eq!(learner.params().unwrap().hash(), bad.hash());

    // Nor the optimizer's moments: the next step is the one that another learner, never poisoned, makes.
    learner.load(&good).unwrap();
    learner.train_step(&batch(2, 17, 3)).unwrap();
    let mut other = LlamaLearner::init(tiny(), 5, Device::Cpu, options()).unwrap();
    other.train_step(&batch(2, 17, 1)).unwrap();
    other.train_step(&batch(2, 17, 3)).unwrap();
    assert_eq!(learner.params().unwrap().hash(), other.params().unwrap().hash());
}

#[test]
fn a_reset_optimizer_is_a_new_one() {
    let mut learner = learner(tiny());
    let start = learner.params().unwrap();
    learner.train_step(&batch(2, 17, 1)).unwrap();
    let first = learner.params().unwrap().hash();
    learner.load(&start).unwrap();
    learner.reset_optimizer();
    learner.train_step(&batch(2, 17, 1)).unwrap();
    assert_eq!(learner.params().unwrap().hash(), first);
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let mut learner = learner(tiny());
    let stranger = TokenBatch { seq: 3, ids: vec![1, 2, 97] };
    let ragged = TokenBatch { seq: 3, ids: vec![1, 2, 3, 4] };
    let long = TokenBatch { seq: 258, ids: vec![1; 258] };
    for bad in [TokenBatch::default(), TokenBatch { seq: 1, ids: vec![1] }, stranger, ragged, long] {
        assert_eq!(learner.loss(&bad).unwrap_err().name, "Batch");
        assert_eq!(learner.train_step(&bad).unwrap_err().name, "Batch");
    }
}
