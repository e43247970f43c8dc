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
