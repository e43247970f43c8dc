//! Cross-entropy fused with the output head. The logits of 4 × 512 tokens over 50257 words are 412 MB, and plain autograd
//! holds several of them. Here a few tokens at a time go through head, softmax, and both of the head's gradients in one buffer
//! that is kept, so memory does not depend on the batch and the logits are touched as rarely as possible.

use tch::{Device, Kind, TchError, Tensor};

use crate::kernels;

/// Computes the loss of hidden states against target tokens.
#[derive(Debug)]
pub struct FusedLoss {
    vocab: i64,
    chunk: i64,
    /// `[chunk, V]`, reused for every chunk: allocating it anew would cost as much as a pass over it. Made when first needed.
    logits: Option<Tensor>,
}

impl FusedLoss {
    /// For a vocabulary of `vocab` words, at most `chunk` tokens at a time.
    pub fn new(vocab: usize, chunk: usize) -> Self {
        Self { vocab: vocab as i64, chunk: (chunk as i64).max(1), logits: None }
    }

    /// Sum over tokens of the cross-entropy, in nats. `hidden` is `[tokens, H]`, `head` `[V, H]`, `targets` `[tokens]`;
    /// matrices are multiplied in `products`.
    pub fn sum(&mut self, hidden: &Tensor, head: &Tensor, targets: &Tensor, products: Kind) -> Result<f64, TchError> {
        tch::no_grad(|| {
            let (hidden, head) = (hidden.f_to_kind(products)?, head.f_to_kind(products)?);
            let mut sum = 0.0;
            for (start, len) in self.chunks(&hidden) {
                let targets = targets.f_narrow(0, start, len)?;
                let mut logits = self.logits(&hidden.f_narrow(0, start, len)?, &head)?;
                sum += cross_entropy(&mut logits, &targets, false)?;
            }
            Ok(sum)
        })
    }

    /// As [`Self::sum`], and the gradients of `scale` times the sum: the one to `hidden` is returned, the one to `head` is
    /// added to `head_grad`, or is it if there is none yet: f32 `[V, H]`.
    pub fn sum_and_gradients(
        &mut self,
        hidden: &Tensor,
        head: &Tensor,
        targets: &Tensor,
        products: Kind,
        scale: f64,
        head_grad: &mut Option<Tensor>,
    ) -> Result<(f64, Tensor), TchError> {
        tch::no_grad(|| {
            let scaled = hidden.f_mul_scalar(scale)?.f_to_kind(products)?;
            let (hidden, head) = (hidden.f_to_kind(products)?, head.f_to_kind(products)?);
            let mut sum = 0.0;
            let mut hidden_grad = hidden.f_empty_like()?;
            for (start, len) in self.chunks(&hidden) {
                let targets = targets.f_narrow(0, start, len)?;
                let mut logits = self.logits(&hidden.f_narrow(0, start, len)?, &head)?;
                sum += cross_entropy(&mut logits, &targets, true)?;
                let logits_grad = logits.f_to_kind(products)?;
                let _ = logits_grad.f_mm_out(&hidden_grad.f_narrow(0, start, len)?, &head)?; // [len, V] · [V, H]
                let (turned, scaled) = (logits_grad.f_transpose(0, 1)?, scaled.f_narrow(0, start, len)?);
                match head_grad {
                    None => *head_grad = Some(turned.f_mm(&scaled)?.f_to_kind(Kind::Float)?), // [V, len] · [len, H]
                    Some(sum) if products == Kind::Float => drop(sum.f_addmm_(&turned, &scaled)?),
                    Some(sum) => drop(sum.f_add_(&turned.f_mm(&scaled)?)?),
                }
            }
            let hidden_grad = hidden_grad.f_mul_scalar_(scale)?.f_to_kind(Kind::Float)?;
            Ok((sum, hidden_grad))
        })
    }

    /// f32 logits `[len, V]` of one chunk.
    fn logits(&mut self, hidden: &Tensor, head: &Tensor) -> Result<Tensor, TchError> {
        let turned = head.f_transpose(0, 1)?;
        if hidden.kind() != Kind::Float {
            return hidden.f_mm(&turned)?.f_to_kind(Kind::Float);
        }
        let len = hidden.size()[0];
        let buffer = match self.logits.take() {
            Some(buffer) if buffer.size()[0] >= len => buffer,
            _ => Tensor::f_empty([len, self.vocab], (Kind::Float, hidden.device()))?,
        };
        let logits = buffer.f_narrow(0, 0, len)?;
        let _ = hidden.f_mm_out(&logits, &turned)?; // [len, H] · [H, V]
        self.logits = Some(buffer);
        Ok(logits)
    }

    /// (start, length) of each chunk of tokens.
    fn chunks(&self, hidden: &Tensor) -> impl Iterator<Item = (i64, i64)> + use<> {
        let (tokens, chunk) = (hidden.size()[0], self.chunk);
        (0..tokens).step_by(chunk as usize).map(move |start| (start, chunk.min(tokens - start)))
    }
}

/// Sum of the cross-entropy of `logits` `[len, V]` against `targets` `[len]`; with `gradient` the logits become the sum's
/// gradient to them: softmax less the one-hot of the target.
fn cross_entropy(logits: &mut Tensor, targets: &Tensor, gradient: bool) -> Result<f64, TchError> {
    if logits.device() == Device::Cpu {
        return kernels::cross_entropy(logits, targets, gradient);
    }
    let targets = targets.f_unsqueeze(1)?;
    let _ = logits.f_internal_log_softmax_out(logits, 1, false)?; // in place
    let sum = logits.f_gather(1, &targets, false)?.f_sum(Kind::Double)?.f_double_value(&[])?;
    if gradient {
        let minus_one = Tensor::f_full(targets.size(), -1.0, (Kind::Float, logits.device()))?;
        let _ = logits.f_exp_()?.f_scatter_add_(1, &targets, &minus_one)?;
    }
    Ok(-sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCAB: i64 = 211;

    /// Hidden states, head and targets; the head is steep enough for probabilities from almost 0 to almost 1.
    fn example() -> (Tensor, Tensor, Tensor) {
        tch::manual_seed(3);
        let float = (Kind::Float, Device::Cpu);
        let hidden = Tensor::randn([37, 16], float).set_requires_grad(true);
        let head = (Tensor::randn([VOCAB, 16], float) * 1.5).set_requires_grad(true);
        (hidden, head, Tensor::randint(VOCAB, [37], (Kind::Int64, Device::Cpu)))
    }

    fn close(a: &Tensor, b: &Tensor) {
        let difference = (a - b).abs().max().double_value(&[]);
        assert!(difference < 1e-5 * b.abs().max().double_value(&[]).max(1.0), "differs by {difference}");
    }

    #[test]
    fn in_chunks_it_is_the_plain_cross_entropy_and_its_gradients() {
        let (hidden, head, targets) = example();
        let plain = hidden.matmul(&head.tr()).cross_entropy_for_logits(&targets);
        plain.backward();
        for chunk in [1, 8, 37, 64] {
            let mut loss = FusedLoss::new(VOCAB as usize, chunk);
            let mut head_grad = Some(Tensor::ones_like(&head));
            let (sum, hidden_grad) = loss
                .sum_and_gradients(&hidden.detach(), &head.detach(), &targets, Kind::Float, 1.0 / 37.0, &mut head_grad)
                .unwrap();
            assert!((sum / 37.0 - plain.double_value(&[])).abs() < 1e-5);
            assert!((loss.sum(&hidden, &head, &targets, Kind::Float).unwrap() - sum).abs() < 1e-5);
            close(&hidden_grad, &hidden.grad());
            close(&(head_grad.unwrap() - 1.0), &head.grad()); // added to what was there
            let mut head_grad = None;
            let _ = loss
                .sum_and_gradients(&hidden.detach(), &head.detach(), &targets, Kind::Float, 1.0 / 37.0, &mut head_grad)
                .unwrap();
            close(&head_grad.unwrap(), &head.grad());
        }
    }

    #[test]
    fn hopeless_predictions_have_a_finite_loss() {
        // The target's probability is far below the least f32; its logarithm is not.
        let (hidden, head, targets) = example();
        let mut loss = FusedLoss::new(VOCAB as usize, 8);
        let head = head.detach() * 100.0;
        let plain =
            hidden.detach().matmul(&head.tr()).log_softmax(-1, Kind::Float).gather(1, &targets.unsqueeze(1), false);
        let sum = loss.sum(&hidden, &head, &targets, Kind::Float).unwrap();
        assert!(sum > 37.0 * 200.0 && sum.is_finite());
        assert!((sum + plain.sum(Kind::Double).double_value(&[])).abs() < 1e-4 * sum);
    }
}
