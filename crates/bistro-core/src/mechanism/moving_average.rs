//! An exponential moving average whose weight on a new sample grows with the blocks since the last one.

use serde::{Deserialize, Serialize};

use crate::ids::Block;

/// `value ← alpha · sample + (1 - alpha) · value`, with `alpha = min(1, base_alpha · Δblocks)` and 1 for the first sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MovingAverage {
    /// The average, nats a token.
    pub value: f64,
    /// Block of the newest sample.
    pub block: Block,
}

impl MovingAverage {
    /// The average after `sample` at `block`; `previous` is `None` before the first. A sample that is not finite changes
    /// nothing.
    pub fn observe(previous: Option<Self>, block: Block, sample: f64, base_alpha: f64) -> Option<Self> {
        if !sample.is_finite() {
            return previous;
        }
        let Some(old) = previous else { return Some(Self { value: sample, block }) };
        let alpha = (base_alpha * block.since(old.block) as f64).clamp(0.0, 1.0);
        let value = alpha * sample + (1.0 - alpha) * old.value;
        Some(Self { value, block: block.max(old.block) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(samples: &[(u64, f64)]) -> f64 {
        let average = samples
            .iter()
            .fold(None, |average, (block, loss)| MovingAverage::observe(average, Block(*block), *loss, 0.01));
        average.unwrap().value
    }

    #[test]
    fn alpha_is_a_hundredth_a_block() {
        assert!((run(&[(10, 8.0)]) - 8.0).abs() < 1e-12);
        assert!((run(&[(10, 8.0), (30, 7.0)]) - (0.2 * 7.0 + 0.8 * 8.0)).abs() < 1e-12);
    }

    #[test]
    fn alpha_never_exceeds_one() {
        // Unclamped, as the original once was, a gap of 300 blocks would give 3·6 - 2·7 = 4.
        assert!((run(&[(0, 7.0), (300, 6.0)]) - 6.0).abs() < 1e-12);
    }

    #[test]
    fn a_sample_of_the_same_block_or_not_finite_changes_nothing() {
        assert!((run(&[(5, 7.0), (5, 1.0), (9, f64::NAN)]) - 7.0).abs() < 1e-12);
    }
}
