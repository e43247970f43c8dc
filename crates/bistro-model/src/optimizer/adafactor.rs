//! Adafactor as Hugging Face's with `relative_step=False`, which is what the original miner ran: no first moment, the second
//! one of a matrix as the product of a row's and a column's, steps in proportion to each weight's own size.

use std::collections::BTreeMap;

use tch::{Kind, TchError, Tensor};

/// Added to squared gradients.
const EPS_SQUARE: f64 = 1e-30;
/// Least size that a weight counts with.
const EPS_SIZE: f64 = 1e-3;
/// An update whose root mean square is larger is cut to it.
const CLIP: f64 = 1.0;
/// The memory of squares grows as `1 - step^DECAY`.
const DECAY: f64 = -0.8;

/// Adafactor's numbers and its second moments.
#[derive(Debug, Default)]
pub struct Adafactor {
    weight_decay: f64,
    steps: u64,
    moments: BTreeMap<String, Moment>,
}

#[derive(Debug)]
enum Moment {
    /// Mean over columns `[rows]` and over rows `[columns]` of a matrix's squares.
    Factored(Tensor, Tensor),
    /// All squares of a vector.
    Whole(Tensor),
}

impl Adafactor {
    /// Without moments.
    pub fn new(weight_decay: f64) -> Self {
        Self { weight_decay, ..Self::default() }
    }

    /// Forgets the moments.
    pub fn reset(&mut self) {
        self.steps = 0;
        self.moments.clear();
    }

    /// One step: weights move against their gradients, which are multiplied by `factor` first and are used up.
    pub fn step(
        &mut self,
        weights: &mut BTreeMap<String, Tensor>,
        gradients: &mut BTreeMap<String, Tensor>,
        lr: f64,
        factor: f64,
    ) -> Result<(), TchError> {
        self.steps += 1;
        let keep = 1.0 - (self.steps as f64).powf(DECAY);
        tch::no_grad(|| {
            for (name, gradient) in gradients {
                let Some(weight) = weights.get_mut(name) else { continue };
                let _ = gradient.f_mul_scalar_(factor)?;
                let square = gradient.f_square()?.f_add_scalar(EPS_SQUARE)?;
                let moment = match self.moments.remove(name) {
                    Some(moment) => moment,
                    None => Moment::zeros(&square)?,
                };
                let mut update = moment.scaled(&square, gradient, keep)?;
                self.moments.insert(name.clone(), moment);
                let size = rms(weight)?.max(EPS_SIZE) * lr;
                let _ = update.f_mul_scalar_(-size / (rms(&update)? / CLIP).max(1.0))?;
                if weight.dim() > 1 {
                    let _ = weight.f_mul_scalar_(1.0 - self.weight_decay * size)?;
                }
                let _ = weight.f_add_(&update)?;
            }
            Ok(())
        })
    }
}

impl Moment {
    fn zeros(square: &Tensor) -> Result<Self, TchError> {
        if square.dim() < 2 {
            return Ok(Self::Whole(square.f_zeros_like()?));
        }
        let mean = |side: i64| square.f_mean_dim(&[side][..], false, Kind::Float).and_then(|t| t.f_zeros_like());
        Ok(Self::Factored(mean(-1)?, mean(-2)?))
    }

    /// Takes the squares in and gives the gradient over the root of the moment.
    fn scaled(&self, square: &Tensor, gradient: &Tensor, keep: f64) -> Result<Tensor, TchError> {
        let mix = |moment: &Tensor, new: &Tensor| {
            let mut moment = moment.shallow_clone();
            moment.f_mul_scalar_(keep)?.f_add_(&new.f_mul_scalar(1.0 - keep)?)
        };
        match self {
            Self::Whole(moment) => mix(moment, square)?.f_rsqrt()?.f_mul(gradient),
            Self::Factored(row, column) => {
                let row = mix(row, &square.f_mean_dim(&[-1][..], false, Kind::Float)?)?;
                let column = mix(column, &square.f_mean_dim(&[-2][..], false, Kind::Float)?)?;
                let mean = row.f_mean_dim(&[-1][..], true, Kind::Float)?;
                let rows = row.f_div(&mean)?.f_rsqrt()?.f_unsqueeze(-1)?;
                rows.f_mul(&column.f_rsqrt()?.f_unsqueeze(-2)?)?.f_mul(gradient)
            }
        }
    }
}

/// Root of the mean square.
fn rms(tensor: &Tensor) -> Result<f64, TchError> {
    Ok(tensor.f_norm()?.f_double_value(&[])? / (tensor.numel().max(1) as f64).sqrt())
}
