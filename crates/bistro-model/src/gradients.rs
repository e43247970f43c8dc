//! Loss and gradients of one micro-batch. Autograd runs through the blocks; the two tables of V rows stay out of it, and their
//! gradients are written by hand into one buffer each.

use std::collections::BTreeMap;

use tch::{Kind, TchError, Tensor};

use crate::llama::{EMBEDDING, HEAD, Llama, NORM};
use crate::loss::FusedLoss;
use crate::rope::Angles;

/// Gradients by the names of their weights.
pub type Gradients = BTreeMap<String, Tensor>;

/// A micro-batch: inputs `[B, T]` and the tokens that follow them `[B·T]`.
#[derive(Debug)]
pub struct Micro {
    /// Token ids.
    pub inputs: Tensor,
    /// The token after each.
    pub targets: Tensor,
}

impl Micro {
    /// From `[B, T + 1]` token ids.
    pub fn new(ids: &Tensor) -> Result<Self, TchError> {
        let t = ids.size2()?.1 - 1;
        Ok(Self { inputs: ids.f_narrow(1, 0, t)?, targets: ids.f_narrow(1, 1, t)?.f_reshape([-1])? })
    }
}

/// Adds the gradients of `scale` times the summed loss of one micro-batch, and returns that sum. With `checkpointing` only
/// the input of each block is kept, and what lies between is computed again.
pub fn add(
    llama: &Llama,
    loss: &mut FusedLoss,
    micro: &Micro,
    scale: f64,
    checkpointing: bool,
    gradients: &mut Gradients,
) -> Result<f64, TchError> {
    let embedded = tch::no_grad(|| llama.embed(&micro.inputs))?;
    let angles = llama.angles(&embedded)?;
    let mut tape = Tape { llama, angles, gradients, inputs: Vec::new() };
    let last = tape.forward(embedded, checkpointing)?;
    let hidden = llama.finish(&last)?; // [B·T, H]
    let head_name = if llama.config().tie_word_embeddings { EMBEDDING } else { HEAD };
    let head_grad = match tape.gradients.get_mut(head_name) {
        Some(sum) => sum,
        None => tape.gradients.entry(head_name.into()).or_insert(llama.head().f_zeros_like()?),
    };
    let (sum, hidden_grad) =
        loss.sum_and_gradients(&hidden.f_detach()?, llama.head(), &micro.targets, llama.products(), scale, head_grad)?;
    let embedded_grad = tape.backward(&hidden, &hidden_grad)?;
    tch::no_grad(|| {
        let h = llama.config().hidden_size as i64;
        let table = match tape.gradients.get_mut(EMBEDDING) {
            Some(sum) => sum,
            None => tape.gradients.entry(EMBEDDING.into()).or_insert(llama.weights()[EMBEDDING].f_zeros_like()?),
        };
        let _ = table.f_index_add_(0, &micro.inputs.f_reshape([-1])?, &embedded_grad.f_reshape([-1, h])?)?;
        Ok(sum)
    })
}

/// The blocks' way back.
struct Tape<'a> {
    llama: &'a Llama,
    angles: Angles,
    gradients: &'a mut Gradients,
    /// Where autograd begins: the embedded tokens, and with checkpointing the input of every later block and of the last norm.
    inputs: Vec<Tensor>,
}

impl Tape<'_> {
    fn leaf(&mut self, x: &Tensor) -> Result<Tensor, TchError> {
        let leaf = x.f_detach()?.f_set_requires_grad(true)?;
        self.inputs.push(leaf.shallow_clone());
        Ok(leaf)
    }

    /// Through all blocks; what is returned leads autograd to the last of `inputs`.
    fn forward(&mut self, embedded: Tensor, checkpointing: bool) -> Result<Tensor, TchError> {
        let mut x = self.leaf(&embedded)?;
        drop(embedded);
        for block in 0..self.llama.config().num_hidden_layers {
            if checkpointing {
                let y = tch::no_grad(|| self.llama.block(&x, &self.angles, block))?;
                x = self.leaf(&y)?;
            } else {
                x = self.llama.block(&x, &self.angles, block)?;
            }
        }
        Ok(x)
    }

    /// From the gradient of `hidden` to that of the embedded tokens.
    fn backward(&mut self, hidden: &Tensor, hidden_grad: &Tensor) -> Result<Tensor, TchError> {
        let blocks = self.llama.config().num_hidden_layers;
        if self.inputs.len() == 1 {
            return self.pull(hidden, hidden_grad, |name| name == NORM || name.starts_with("model.layers."));
        }
        let mut grad = self.pull(hidden, hidden_grad, |name| name == NORM)?;
        for block in (0..blocks).rev() {
            let Some(x) = self.inputs.last() else { break };
            let y = self.llama.block(x, &self.angles, block)?;
            let prefix = Llama::block_prefix(block);
            grad = self.pull(&y, &grad, |name| name.starts_with(&prefix))?;
        }
        Ok(grad)
    }

    /// Given the gradient of `y`, adds those of the weights that `wanted` names and returns that of the last of `inputs`,
    /// which is used up.
    fn pull(&mut self, y: &Tensor, grad: &Tensor, wanted: impl Fn(&str) -> bool) -> Result<Tensor, TchError> {
        let Some(input) = self.inputs.pop() else { return Err(TchError::Torch("a tape without inputs".into())) };
        // A sum whose gradient to `y` is exactly `grad`.
        let surrogate = y.f_mul(&grad.f_view_as(y)?)?.f_sum(Kind::Float)?;
        let weights: Vec<_> = self.llama.weights().iter().filter(|(name, _)| wanted(name)).collect();
        let leaves: Vec<&Tensor> = std::iter::once(&input).chain(weights.iter().map(|(_, weight)| *weight)).collect();
        let mut grads = Tensor::f_run_backward(&[&surrogate], &leaves, false, false)?.into_iter();
        let Some(first) = grads.next() else { return Err(TchError::Torch("backward returned no gradient".into())) };
        tch::no_grad(|| {
            for ((name, _), grad) in weights.into_iter().zip(grads) {
                match self.gradients.get_mut(name) {
                    Some(sum) => drop(sum.f_add_(&grad)?),
                    None => drop(self.gradients.insert(name.clone(), grad)),
                }
            }
            Ok(first)
        })
    }
}
