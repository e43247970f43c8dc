//! AdamW with decoupled weight decay. Moments live beside the weights; a step makes as few passes over memory as libtorch's
//! single operations allow.

use std::collections::BTreeMap;

use tch::{TchError, Tensor};

/// What an optimizer step needs besides weights and gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of a matrix that each step takes away, times the learning rate. Norms (one side) are not decayed.
    pub weight_decay: f64,
}

/// Running moments of each tensor's gradient, and how many steps they have seen.
#[derive(Debug, Default)]
pub struct Moments {
    steps: i32,
    /// First and second moment; the second is kept as `v / (1 - beta2)`, which saves a pass.
    tensors: BTreeMap<String, (Tensor, Tensor)>,
}

impl AdamW {
    /// One step: weights move against their gradients, which are multiplied by `clip` first and are used up.
    pub fn step(
        &self,
        moments: &mut Moments,
        weights: &mut BTreeMap<String, Tensor>,
        gradients: &mut BTreeMap<String, Tensor>,
        lr: f64,
        clip: f64,
    ) -> Result<(), TchError> {
        moments.steps = moments.steps.saturating_add(1);
        let (bias1, bias2) = (1.0 - self.beta1.powi(moments.steps), 1.0 - self.beta2.powi(moments.steps));
        tch::no_grad(|| {
            for (name, gradient) in gradients {
                let Some(weight) = weights.get_mut(name) else { continue };
                if !moments.tensors.contains_key(name) {
                    let fresh = (weight.f_zeros_like()?.f_detach()?, weight.f_zeros_like()?.f_detach()?);
                    moments.tensors.insert(name.clone(), fresh);
                }
                let Some((mean, square)) = moments.tensors.get_mut(name) else { continue };
                if clip != 1.0 {
                    let _ = gradient.f_mul_scalar_(clip)?;
                }
                let _ = mean.f_lerp_(gradient, 1.0 - self.beta1)?;
                let _ = square.f_mul_scalar_(self.beta2)?.f_addcmul_(gradient, gradient)?;
                // weight -= lr · (mean / bias1) / (sqrt(square · (1 - beta2) / bias2) + eps), the factors gathered below the line
                let root = ((1.0 - self.beta2) / bias2).sqrt();
                let mut below = square.f_sqrt()?;
                let _ = below.f_add_scalar_(self.eps / root)?.f_mul_scalar_(-root * bias1 / lr)?;
                if self.weight_decay > 0.0 && weight.dim() > 1 {
                    let _ = weight.f_mul_scalar_(1.0 - lr * self.weight_decay)?;
                }
                let _ = weight.f_addcdiv_(mean, &below)?;
            }
            Ok(())
        })
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
