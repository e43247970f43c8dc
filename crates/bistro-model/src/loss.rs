//! Cross-entropy fused with the output head. The logits of 4 × 512 tokens over 50257 words are 412 MB, and plain autograd
//! holds several of them. Here a few tokens at a time go through head, softmax, and both of the head's gradients in one buffer
//! that is kept, so memory does not depend on the batch and the logits are touched as rarely as possible.

use tch::{Device, Kind, TchError, Tensor};

/// Computes the loss of hidden states against target tokens.
pub struct FusedLoss {
    /// `[chunk, V]`, reused for every chunk: allocating it anew would cost as much as a pass over it.
    logits: Tensor,
}

impl FusedLoss {
    /// For a vocabulary of `vocab` words, `chunk` tokens at a time.
    pub fn new(vocab: usize, chunk: usize, device: Device) -> Result<Self, TchError> {
        Ok(Self { logits: Tensor::f_empty([chunk as i64, vocab as i64], (Kind::Float, device))? })
    }

    /// Sum over tokens of the cross-entropy, in nats. `hidden` is `[tokens, H]`, `head` `[V, H]`, `targets` `[tokens]`.
    pub fn sum(&self, hidden: &Tensor, head: &Tensor, targets: &Tensor) -> Result<f64, TchError> {
        tch::no_grad(|| {
            let mut sum = 0.0;
            for (start, len) in self.chunks(hidden) {
                let targets = targets.f_narrow(0, start, len)?.f_unsqueeze(1)?;
                sum += self.log_softmax(&hidden.f_narrow(0, start, len)?, head, &targets)?.1;
            }
            Ok(sum)
        })
    }

    /// As [`Self::sum`], and the gradients of `scale` times the sum: the one to `hidden` is returned, the one to `head` is
    /// added to `head_grad`.
    pub fn sum_and_gradients(
        &self,
        hidden: &Tensor,
        head: &Tensor,
        targets: &Tensor,
        scale: f64,
        head_grad: &mut Tensor,
    ) -> Result<(f64, Tensor), TchError> {
        tch::no_grad(|| {
            let mut sum = 0.0;
            let hidden_grad = hidden.f_empty_like()?;
            let scaled = hidden.f_mul_scalar(scale)?;
            for (start, len) in self.chunks(hidden) {
                let targets = targets.f_narrow(0, start, len)?.f_unsqueeze(1)?;
                let (mut p, loss) = self.log_softmax(&hidden.f_narrow(0, start, len)?, head, &targets)?;
                sum += loss;
                // d loss / d logits = softmax - one-hot of the target
                let _ = p.f_exp_()?;
                let minus_one = Tensor::f_full([len, 1], -1.0, (Kind::Float, hidden.device()))?;
                let _ = p.f_scatter_add_(1, &targets, &minus_one)?;
                let _ = p.f_mm_out(&hidden_grad.f_narrow(0, start, len)?, head)?; // [len, V] · [V, H]
                let _ = head_grad.f_addmm_(&p.f_transpose(0, 1)?, &scaled.f_narrow(0, start, len)?)?; // [V, len] · [len, H]
            }
            let mut hidden_grad = hidden_grad;
            let _ = hidden_grad.f_mul_scalar_(scale)?;
            Ok((sum, hidden_grad))
        })
    }

    /// Log-probabilities `[len, V]` of one chunk, in the buffer, and the sum of the loss. `targets` is `[len, 1]`.
    fn log_softmax(&self, hidden: &Tensor, head: &Tensor, targets: &Tensor) -> Result<(Tensor, f64), TchError> {
        let logits = self.logits.f_narrow(0, 0, targets.size2()?.0)?;
        let _ = hidden.f_mm_out(&logits, &head.f_transpose(0, 1)?)?; // [len, H] · [H, V]
        let _ = logits.f_internal_log_softmax_out(&logits, 1, false)?; // in place
        let sum = logits.f_gather(1, targets, false)?.f_sum(Kind::Double)?.f_double_value(&[])?;
        Ok((logits, -sum))
    }

    /// (start, length) of each chunk of tokens.
    fn chunks(&self, hidden: &Tensor) -> impl Iterator<Item = (i64, i64)> + use<> {
        let (tokens, chunk) = (hidden.size()[0], self.logits.size()[0]);
        (0..tokens).step_by(chunk as usize).map(move |start| (start, chunk.min(tokens - start)))
    }
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
            let loss = FusedLoss::new(VOCAB as usize, chunk, Device::Cpu).unwrap();
            let mut head_grad = Tensor::ones_like(&head);
            let (sum, hidden_grad) =
                loss.sum_and_gradients(&hidden.detach(), &head.detach(), &targets, 1.0 / 37.0, &mut head_grad).unwrap();
            assert!((sum / 37.0 - plain.double_value(&[])).abs() < 1e-5);
            assert!((loss.sum(&hidden, &head, &targets).unwrap() - sum).abs() < 1e-5);
            close(&hidden_grad, &hidden.grad());
            close(&(head_grad - 1.0), &head.grad()); // added to what was there
        }
    }

    #[test]
    fn hopeless_predictions_have_a_finite_loss() {
        // The target's probability is far below the least f32; its logarithm is not.
        let (hidden, head, targets) = example();
        let loss = FusedLoss::new(VOCAB as usize, 8, Device::Cpu).unwrap();
        let head = head.detach() * 100.0;
        let plain =
            hidden.detach().matmul(&head.tr()).log_softmax(-1, Kind::Float).gather(1, &targets.unsqueeze(1), false);
        let sum = loss.sum(&hidden, &head, &targets).unwrap();
        assert!(sum > 37.0 * 200.0 && sum.is_finite());
        assert!((sum + plain.sum(Kind::Double).double_value(&[])).abs() < 1e-4 * sum);
    }
}
