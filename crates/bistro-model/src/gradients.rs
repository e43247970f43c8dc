//! Loss and gradients of one micro-batch. Autograd runs through the blocks; the two tables of V rows stay out of it, and their
//! gradients are written by hand into one buffer each.

use std::collections::BTreeMap;

use tch::{Kind, TchError, Tensor};

use crate::llama::{EMBEDDING, HEAD, Llama, NORM};
use crate::loss::FusedLoss;
use crate::rope::Angles;

/// Gradients by the names of their weights.
pub type Gradients = BTreeMap<String, Tensor>;

/// A micro-batch: inputs `[B, T]` and the tokens that follow them, `[B·T]` less padding.
#[derive(Debug)]
pub struct Micro {
    /// Token ids.
    pub inputs: Tensor,
    /// The token after each.
    pub targets: Tensor,
    /// Which of the `B·T` positions have a target, where padding leaves some without.
    predicted: Option<Tensor>,
}

impl Micro {
    /// From `[B, T + 1]` token ids, where `padded` with -1 for padding. It is embedded as token 0: at the end of its sequence
    /// nothing that is predicted looks at it.
    pub fn new(ids: &Tensor, padded: bool) -> Result<Self, TchError> {
        let t = ids.size2()?.1 - 1;
        let (inputs, targets) = (ids.f_narrow(1, 0, t)?, ids.f_narrow(1, 1, t)?.f_reshape([-1])?);
        if !padded {
            return Ok(Self { inputs, targets, predicted: None });
        }
        let predicted = targets.f_ge(0)?.f_nonzero()?.f_squeeze_dim(1)?;
        let targets = targets.f_index_select(0, &predicted)?;
        Ok(Self { inputs: inputs.f_clamp_min(0)?, targets, predicted: Some(predicted) })
    }

    /// The positions `[B·T, H]` that have a target.
    pub fn predicted(&self, hidden: &Tensor) -> Result<Tensor, TchError> {
        self.predicted.as_ref().map_or_else(|| Ok(hidden.shallow_clone()), |which| hidden.f_index_select(0, which))
    }

    /// Back to all `positions`: zero where nothing is predicted.
    fn spread(&self, grad: Tensor, positions: i64) -> Result<Tensor, TchError> {
        let Some(which) = &self.predicted else { return Ok(grad) };
        grad.f_new_zeros([positions, grad.size2()?.1], (grad.kind(), grad.device()))?.f_index_copy(0, which, &grad)
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
    let mut head_grad = tape.gradients.remove(head_name);
    let predicted = micro.predicted(&hidden.f_detach()?)?;
    let (sum, grad) =
        loss.sum_and_gradients(&predicted, llama.head(), &micro.targets, llama.products(), scale, &mut head_grad)?;
    tape.gradients.extend(head_grad.map(|grad| (head_name.to_owned(), grad)));
    let hidden_grad = micro.spread(grad, hidden.size2()?.0)?;
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
        let leaves: Vec<_> = self.llama.leaves().filter(|(name, _)| wanted(name)).map(|(_, leaf)| leaf).collect();
        let tensors: Vec<&Tensor> = std::iter::once(&input).chain(leaves.iter().map(|leaf| &leaf.tensor)).collect();
        let mut grads = Tensor::f_run_backward(&[&surrogate], &tensors, false, false)?.into_iter();
        let Some(first) = grads.next() else { return Err(TchError::Torch("backward returned no gradient".into())) };
        tch::no_grad(|| {
            for (leaf, grad) in leaves.into_iter().zip(grads) {
                for (name, grad) in leaf.split(&grad)? {
                    match self.gradients.get_mut(&name) {
                        Some(sum) => drop(sum.f_add_(&grad)?),
                        None => drop(self.gradients.insert(name, grad)),
                    }
                }
            }
            Ok(first)
        })
    }
}
