//! AdamW with decoupled weight decay, by libtorch's fused kernel: one call for all weights that share a decay, each value read
//! and written once.

use std::collections::BTreeMap;

use tch::{TchError, Tensor};

use crate::kernels::{self, AdamWStep, Quad};

/// AdamW's numbers and its running moments.
#[derive(Debug)]
pub struct AdamW {
    beta1: f64,
    beta2: f64,
    /// Share of a matrix that each step takes away, times the learning rate. Norms and biases (one side) are not decayed.
    weight_decay: f64,
    steps: u64,
    /// First and second moment of each weight's gradient.
    moments: BTreeMap<String, (Tensor, Tensor)>,
}

impl AdamW {
    /// Without moments.
    pub fn new(beta1: f64, beta2: f64, weight_decay: f64) -> Self {
        Self { beta1, beta2, weight_decay, steps: 0, moments: BTreeMap::new() }
    }

    /// Forgets the moments.
    pub fn reset(&mut self) {
        self.steps = 0;
        self.moments.clear();
    }

    /// One step: weights move against their gradients, which are multiplied by `factor` first and are used up.
    pub fn step(
        &mut self,
        weights: &BTreeMap<String, Tensor>,
        gradients: &BTreeMap<String, Tensor>,
        lr: f64,
        factor: f64,
    ) -> Result<(), TchError> {
        self.steps += 1;
        for (name, gradient) in gradients {
            if !self.moments.contains_key(name) {
                self.moments.insert(name.clone(), (gradient.f_zeros_like()?, gradient.f_zeros_like()?));
            }
        }
        let quad = |(name, gradient): (&String, &'_ Tensor)| -> Option<(Tensor, Tensor, Tensor, Tensor)> {
            let (mean, square) = self.moments.get(name)?;
            Some((
                weights.get(name)?.shallow_clone(),
                gradient.shallow_clone(),
                mean.shallow_clone(),
                square.shallow_clone(),
            ))
        };
        let (decayed, plain): (Vec<_>, Vec<_>) = gradients.iter().filter_map(quad).partition(|(w, ..)| w.dim() > 1);
        for (group, decay) in [(decayed, self.weight_decay), (plain, 0.0)] {
            let Some((first, ..)) = group.first() else { continue };
            let scalar = |value: f64| Tensor::f_from_slice(&[value as f32])?.f_squeeze()?.f_to(first.device());
            let quads: Vec<Quad> = group.iter().map(|(w, g, m, v)| (w, g, m, v)).collect();
            let rates = AdamWStep { lr, beta1: self.beta1, beta2: self.beta2, decay, eps: 1e-8 };
            kernels::adamw(&quads, &scalar(self.steps as f64)?, &scalar(1.0 / factor)?, rates)?;
        }
        Ok(())
    }
}
