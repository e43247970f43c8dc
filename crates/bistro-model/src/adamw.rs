//! AdamW with decoupled weight decay. Moments live beside the weights; a step reads and
//! writes each of them once.

use std::collections::BTreeMap;

use tch::{Device, TchError, Tensor};

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
        let bias1 = 1.0 - self.beta1.powi(moments.steps);
        let root = ((1.0 - self.beta2) / (1.0 - self.beta2.powi(moments.steps))).sqrt();
        tch::no_grad(|| {
            for (name, gradient) in gradients {
                let Some(weight) = weights.get_mut(name) else { continue };
                if !moments.tensors.contains_key(name) {
                    moments.tensors.insert(name.clone(), (gradient.f_zeros_like()?, gradient.f_zeros_like()?));
                }
                let (mean, square) = &moments.tensors[name];
                let keep = if weight.dim() > 1 { 1.0 - lr * self.weight_decay } else { 1.0 };
                let pieces = |tensor: &Tensor| tensor.f_view([-1])?.f_split(piece(weight.device()), 0);
                let parts = pieces(weight)?.into_iter().zip(pieces(gradient)?).zip(pieces(mean)?).zip(pieces(square)?);
                for (((mut weight, mut gradient), mut mean), mut square) in parts {
                    let _ = gradient.f_mul_scalar_(clip)?;
                    let _ = mean.f_lerp_(&gradient, 1.0 - self.beta1)?;
                    let _ = square.f_mul_scalar_(self.beta2)?.f_addcmul_(&gradient, &gradient)?;
                    // weight -= lr · (mean / bias1) / (sqrt(v / bias2) + eps), with all factors gathered below the line
                    let mut below = square.f_sqrt_out(&gradient)?; // the gradient is used up
                    let _ = below.f_add_scalar_(self.eps / root)?.f_mul_scalar_(-root * bias1 / lr)?;
                    let _ = weight.f_mul_scalar_(keep)?.f_addcdiv_(&mean, &below)?;
                }
            }
            Ok(())
        })
    }
}

/// How many values go through all operations together. On a CPU a piece and its moments stay in the cache from the first
/// operation to the last, so that memory is read and written once; on a GPU launches would cost more than that saves.
fn piece(device: Device) -> i64 {
    if device == Device::Cpu { 1 << 16 } else { 1 << 30 }
}

/// Euclidean norm over all gradients.
pub fn norm(gradients: &BTreeMap<String, Tensor>) -> Result<f64, TchError> {
    let mut sum = 0.0;
    for gradient in gradients.values() {
        sum += gradient.f_norm()?.f_double_value(&[])?.powi(2);
    }
    Ok(sum.sqrt())
}
