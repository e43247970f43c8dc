//! Tokens that follow a prompt, drawn from the model.

use tch::{Kind, Tensor};

use crate::error::ModelError;
use crate::llama::Llama;

/// How tokens are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Logits are divided by this; 0 always takes the likeliest token.
    pub temperature: f64,
    /// Only the likeliest tokens that together have this probability are drawn from; 1 is all.
    pub top_p: f64,
}

/// Draws the token that follows `ids`; `chance` is uniform in [0, 1). Reads as many of the last tokens as the model has
/// positions.
pub fn next(llama: &Llama, ids: &[u32], sampling: Sampling, chance: f64) -> Result<u32, ModelError> {
    let seen = &ids[ids.len().saturating_sub(llama.config().max_position_embeddings)..];
    if seen.is_empty() {
        return Err(ModelError::Batch("a prompt has at least one token".into()));
    }
    if let Some(id) = seen.iter().find(|id| **id as usize >= llama.config().vocab_size) {
        return Err(ModelError::Batch(format!("token {id} is not of the vocabulary")));
    }
    let seen: Vec<i64> = seen.iter().map(|id| i64::from(*id)).collect();
    let ids = Tensor::f_from_slice(&seen)?.f_unsqueeze(0)?.f_to(llama.device())?;
    let logits = tch::no_grad(|| {
        let hidden = llama.body(&llama.embed(&ids)?)?;
        hidden.f_narrow(0, seen.len() as i64 - 1, 1)?.f_mm(&llama.head().f_transpose(0, 1)?)
    })?;
    let logits = Vec::<f32>::try_from(logits.f_reshape([-1])?.f_to_kind(Kind::Float)?)?;
    Ok(draw(&logits, sampling, chance))
}

/// A place of `logits`.
fn draw(logits: &[f32], sampling: Sampling, chance: f64) -> u32 {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let Some(best) = order.first().copied() else { return 0 };
    if sampling.temperature <= 0.0 {
        return best as u32;
    }
    let weight = |i: &usize| (f64::from(logits[*i] - logits[best]) / sampling.temperature).exp();
    let all: f64 = order.iter().map(weight).sum();
    let (mut kept, mut sum) = (0, 0.0);
    while kept < order.len() && (kept == 0 || sum < sampling.top_p * all) {
        sum += weight(&order[kept]);
        kept += 1;
    }
    let mut left = chance * sum;
    for i in &order[..kept] {
        left -= weight(i);
        if left < 0.0 {
            return *i as u32;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_probabilities_and_keep_to_the_likely_ones() {
        let logits = [0.1_f32.ln(), 0.6_f32.ln(), 0.3_f32.ln()];
        let all = |temperature, top_p| {
            let mut counts = [0; 3];
            for i in 0..1000 {
                let sampling = Sampling { temperature, top_p };
                counts[draw(&logits, sampling, (f64::from(i) + 0.5) / 1000.0) as usize] += 1;
            }
            counts
        };
        assert_eq!(all(1.0, 1.0), [100, 600, 300]);
        assert_eq!(all(0.0, 1.0), [0, 1000, 0]);
        assert_eq!(all(1.0, 0.5), [0, 1000, 0]);
        assert_eq!(all(1.0, 0.8)[0], 0);
    }
}
