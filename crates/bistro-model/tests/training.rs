//! How a learner trains: batches gathered over calls, less memory for the same gradients, and what becomes of its state.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::process::Command;

use bistro_core::ports::Learner;
use bistro_model::options::{OptimizerState, Precision};
use bistro_model::{LlamaLearner, TrainOptions};
use common::{batch, learner, options};

fn hash_after(learner: &mut LlamaLearner) -> String {
    learner.params().unwrap().hash().to_string()
}

/// The largest difference of a gradient, against the largest gradient.
fn apart(a: &mut LlamaLearner, b: &mut LlamaLearner) -> f64 {
    let batch = batch(4, 33, 7);
    let ((loss_a, a), (loss_b, b)) = (a.gradients(&batch).unwrap(), b.gradients(&batch).unwrap());
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    let worst =
        a.iter().map(|(name, x)| (x - &b[name]).abs().max().double_value(&[]) / x.abs().max().double_value(&[]));
    worst.fold((loss_a - loss_b).abs(), f64::max)
}

#[test]
fn checkpointing_gives_the_same_gradients() {
    let thrifty = TrainOptions { checkpointing: true, ..options() };
    assert!(apart(&mut learner(options()), &mut learner(thrifty)) < 1e-6);
}

#[test]
fn bf16_products_give_nearly_the_same_gradients() {
    for checkpointing in [false, true] {
        let short = TrainOptions { precision: Precision::Bf16, checkpointing, ..options() };
        let apart = apart(&mut learner(options()), &mut learner(short));
        assert!((1e-6..0.1).contains(&apart), "{apart}");
    }
}

#[test]
fn a_batch_gathered_over_calls_is_one_step() {
    let mut whole = learner(options());
    whole.train_step(&batch(4, 17, 1)).unwrap();
    let mut parts = learner(TrainOptions { batch_tokens: 64, ..options() });
    let before = hash_after(&mut parts);
    let half = |i: usize| {
        let all = batch(4, 17, 1);
        bistro_core::tokens::TokenBatch { seq: 17, ids: all.ids[i * 34..(i + 1) * 34].to_vec() }
    };
    parts.train_step(&half(0)).unwrap();
    assert_eq!(hash_after(&mut parts), before);
    parts.train_step(&half(1)).unwrap();
    let (a, b) = (whole.params().unwrap(), parts.params().unwrap());
    assert!(a.minus(&b).norm() < 1e-4 * a.minus(&learner(options()).params().unwrap()).norm());

    // Other weights void what was gathered.
    parts.train_step(&half(0)).unwrap();
    let master = learner(options()).params().unwrap();
    parts.load(&master).unwrap();
    parts.train_step(&half(1)).unwrap();
    assert_eq!(parts.params().unwrap().hash(), master.hash());
}

#[test]
fn the_optimizers_state_is_kept_or_forgotten_as_configured() {
    let start = learner(options()).params().unwrap();
    let second_step = |state, reset: bool| {
        let mut learner = learner(TrainOptions { optimizer_state: state, ..options() });
        learner.train_step(&batch(2, 17, 1)).unwrap();
        learner.load(&start).unwrap();
        if reset {
            learner.reset_optimizer();
        }
        learner.train_step(&batch(2, 17, 2)).unwrap();
        hash_after(&mut learner)
    };
    let mut new = learner(options());
    new.train_step(&batch(2, 17, 2)).unwrap();
    let new = hash_after(&mut new);
    assert_eq!(second_step(OptimizerState::AsRules, true), new);
    assert_ne!(second_step(OptimizerState::AsRules, false), new);
    assert_ne!(second_step(OptimizerState::Keep, true), new);
    assert_eq!(second_step(OptimizerState::Reset, false), new);
}

/// Set in the process whose memory is bounded.
const BOUNDED: &str = "BISTRO_TEST_BOUNDED";

#[test]
fn out_of_memory_is_a_smaller_micro_batch() {
    if std::env::var_os(BOUNDED).is_some() {
        return starve();
    }
    let test = std::env::current_exe().unwrap();
    let output = Command::new("sh")
        .args([
            "-c",
            "ulimit -v $(($1 + 0)); exec \"$2\" --exact out_of_memory_is_a_smaller_micro_batch --nocapture",
            "sh",
        ])
        .args(["750000", test.to_str().unwrap()])
        .env(BOUNDED, "1")
        .env("OMP_NUM_THREADS", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

/// With less address space than the whole batch needs: it goes through all the same, and the loss is the right one.
fn starve() {
    let mut learner = learner(TrainOptions { micro_batch: 1024, ..options() });
    let batch = batch(1024, 129, 3);
    let report = learner.train_step(&batch).unwrap();
    assert!(learner.micro_batch() < 1024, "nothing ran out");
    assert!((report.loss - 97_f64.ln()).abs() < 0.3, "{}", report.loss);
    let loss = learner.loss(&batch).unwrap();
    assert!(loss.is_finite() && loss < report.loss, "{loss}");
}
