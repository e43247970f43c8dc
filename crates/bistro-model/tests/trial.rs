//! Trials of deltas: exact, undone exactly, and without a growing memory.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use bistro_core::params::{Params, Tensor};
use bistro_core::ports::Learner;
use bistro_model::init;
use common::{batch, learner, options, tiny};

/// A delta whose products with odd scales do not fit f32, so that rounding once or twice differs.
fn delta(seed: u64) -> Params {
    Params::zeros(&tiny().spec()).plus_scaled(&init::weights(&tiny(), seed), 0.37)
}

#[test]
fn a_hundred_trials_have_the_bits_of_the_host_and_leave_the_master_as_it_was() {
    let mut learner = learner(options());
    let master = learner.params().unwrap();
    let loss = learner.loss(&batch(2, 17, 3)).unwrap();
    for seed in 0..50 {
        let delta = delta(seed);
        for scale in [1.0, 0.3_f32.powi(3)] {
            learner.load_sum(&master, &delta, scale).unwrap();
            assert_eq!(learner.params().unwrap().hash(), master.plus_scaled(&delta, scale).hash());
            learner.loss(&batch(2, 17, 3)).unwrap();
        }
        learner.load(&master).unwrap();
        assert_eq!(learner.params().unwrap().hash(), master.hash());
    }
    assert_eq!(learner.loss(&batch(2, 17, 3)).unwrap().to_bits(), loss.to_bits());
}

#[test]
fn values_that_are_not_finite_come_and_go() {
    let mut learner = learner(options());
    let master = learner.params().unwrap();
    let mut bad = delta(1);
    bad.tensors.insert("model.norm.weight".into(), Tensor::new(vec![32], [f32::NAN, f32::INFINITY].repeat(16)));
    learner.load_sum(&master, &bad, 1.0).unwrap();
    assert!(!learner.loss(&batch(2, 17, 3)).unwrap().is_finite());
    learner.load(&master).unwrap();
    assert_eq!(learner.params().unwrap().hash(), master.hash());
    assert!(learner.loss(&batch(2, 17, 3)).unwrap().is_finite());
}

#[test]
fn a_delta_of_another_model_is_refused_by_name() {
    let mut learner = learner(options());
    let master = learner.params().unwrap();
    let mut bad = delta(1);
    bad.tensors.remove("model.norm.weight");
    assert!(learner.load_sum(&master, &bad, 1.0).unwrap_err().message.contains("model.norm.weight"));
    assert_eq!(learner.params().unwrap().hash(), master.hash());
}

#[test]
fn a_thousand_evaluations_leave_the_memory_flat() {
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let mut learner = learner(options());
    let master = learner.params().unwrap();
    let mut after_warm_up = 0;
    for i in 0..1000 {
        if i == 100 {
            after_warm_up = resident();
        }
        learner.load_sum(&master, &delta(i), 0.5).unwrap();
        learner.loss(&batch(4, 65, 3)).unwrap();
        learner.load(&master).unwrap();
    }
    let grown = resident().saturating_sub(after_warm_up);
    // One trial holds 0.1 MB of weights and as much of activations: 900 leaks of either would be far more.
    assert!(grown < 16 << 20, "{grown} bytes more after 900 evaluations");
}
