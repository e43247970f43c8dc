//! Padding is neither predicted nor learnt from, and cannot spoil a loss.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use bistro_core::ports::Learner;
use bistro_core::tokens::{PAD, TokenBatch};
use bistro_model::tch::Device;
use bistro_model::{LlamaLearner, TrainOptions};
use common::{options, tiny};

fn learner(micro_batch: usize) -> LlamaLearner {
    LlamaLearner::init(tiny(), 5, Device::Cpu, TrainOptions { micro_batch, ..options() }).unwrap()
}

fn rows(seq: usize, rows: &[&[u32]]) -> TokenBatch {
    let filled = |row: &&[u32]| row.iter().copied().chain(std::iter::repeat(PAD)).take(seq).collect::<Vec<_>>();
    TokenBatch { seq, ids: rows.iter().flat_map(filled).collect() }
}

#[test]
fn a_padded_batch_has_the_loss_and_the_gradients_of_its_tokens() {
    let (long, short, empty): (&[u32], &[u32], &[u32]) = (&[5, 9, 31, 2, 77, 8], &[40, 41, 42], &[7]);
    // The sequences alone: five and two targets.
    let (alone_long, alone_short) = (rows(6, &[long]), rows(3, &[short]));
    for micro_batch in [1, 3] {
        let mut learner = learner(micro_batch);
        let padded = rows(6, &[long, short, empty]);
        assert_eq!(padded.targets(), 7);
        let expected = (learner.loss(&alone_long).unwrap() * 5.0 + learner.loss(&alone_short).unwrap() * 2.0) / 7.0;
        let found = learner.loss(&padded).unwrap();
        assert!((found - expected).abs() < 1e-5, "{found} for {expected}");

        let (_, of_long) = learner.gradients(&alone_long).unwrap();
        let (_, of_short) = learner.gradients(&alone_short).unwrap();
        let (loss, of_padded) = learner.gradients(&padded).unwrap();
        assert!((loss - expected).abs() < 1e-5);
        for (name, gradient) in of_padded {
            let expected = (&of_long[&name] * 5.0 + &of_short[&name] * 2.0) / 7.0;
            let difference = (&gradient - &expected).abs().max().double_value(&[]);
            assert!(difference < 1e-5, "{name} differs by {difference}");
        }
    }
}

#[test]
fn padding_alone_is_refused_and_trains_nothing() {
    let mut learner = learner(2);
    let before = learner.params().unwrap().hash();
    for nothing in [rows(4, &[&[]]), rows(4, &[&[3], &[]])] {
        assert!(learner.loss(&nothing).unwrap_err().message.contains("nothing to predict"));
        assert!(learner.train_step(&nothing).is_err());
    }
    assert_eq!(learner.params().unwrap().hash(), before);
    let report = learner.train_step(&rows(4, &[&[3, 4], &[5]])).unwrap();
    assert!(report.loss.is_finite() && report.tokens == 1);
}
