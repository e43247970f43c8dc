//! What moves the weights.

use std::collections::BTreeMap;

use tch::{TchError, Tensor};

use crate::options::{OptimizerKind, TrainOptions};

pub mod adafactor;
pub mod adamw;

/// One of the optimizers, with its state.
#[derive(Debug)]
pub enum Optimizer {
    /// AdamW.
    AdamW(adamw::AdamW),
    /// Adafactor.
    Adafactor(adafactor::Adafactor),
}

impl Optimizer {
    /// As `options` want it, without state.
    pub fn new(options: &TrainOptions) -> Self {
        match options.optimizer {
            OptimizerKind::AdamW => Self::AdamW(adamw::AdamW::new(options.beta1, options.beta2, options.weight_decay)),
            OptimizerKind::Adafactor => Self::Adafactor(adafactor::Adafactor::new(options.weight_decay)),
        }
    }

    /// Forgets all state.
    pub fn reset(&mut self) {
        match self {
            Self::AdamW(adamw) => adamw.reset(),
            Self::Adafactor(adafactor) => adafactor.reset(),
        }
    }

    /// One step: weights move against their gradients, which are multiplied by `factor` first and are used up.
    pub fn step(
        &mut self,
        weights: &mut BTreeMap<String, Tensor>,
        gradients: &mut BTreeMap<String, Tensor>,
        lr: f64,
        factor: f64,
    ) -> Result<(), TchError> {
        match self {
            Self::AdamW(adamw) => adamw.step(weights, gradients, lr, factor),
            Self::Adafactor(adafactor) => adafactor.step(weights, gradients, lr, factor),
        }
    }
}

/// Euclidean norm over all gradients.
pub fn norm(gradients: &BTreeMap<String, Tensor>) -> Result<f64, TchError> {
    let mut sum = 0.0;
    for gradient in gradients.values() {
        sum += gradient.f_norm()?.f_double_value(&[])?.powi(2);
    }
    Ok(sum.sqrt())
}
