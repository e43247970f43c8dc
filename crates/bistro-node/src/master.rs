//! A master, and the way from one to the next.

use std::sync::OnceLock;

use bistro_core::ids::Hash;
use bistro_core::params::Params;

/// A master model on the host: the canonical f32 weights, changed only by decoded deltas.
#[derive(Clone, Debug)]
pub struct Master {
    /// 0 for the first, one more for each accepted delta.
    pub seq: u64,
    /// Canonical hash of the weights.
    pub hash: Hash,
    /// The weights; cloning them copies nothing.
    pub params: Params,
    norm: OnceLock<f64>,
}

impl Master {
    /// Master number `seq` with these weights.
    pub fn new(seq: u64, params: Params) -> Self {
        Self::known(seq, params.hash(), params)
    }

    /// The same with weights whose hash was taken already.
    pub fn known(seq: u64, hash: Hash, params: Params) -> Self {
        Self { seq, hash, params, norm: OnceLock::new() }
    }

    /// The weights' Euclidean norm, taken once.
    pub fn norm(&self) -> f64 {
        *self.norm.get_or_init(|| self.params.norm())
    }

    /// The master after this one: `weights + scale · delta`. This one stays as it is, so a refused delta leaves no trace
    /// (P2): there is nothing to take out.
    #[must_use]
    pub fn next(&self, delta: &Params, scale: f32) -> Self {
        Self::new(self.seq + 1, self.params.plus_scaled(delta, scale))
    }
}

/// Where a miner's model goes when the master moves: `new + keep · (model - old - own)`, with `own` the sum of what the
/// master took from this very miner. Of what was not merged, the share `keep` stays.
#[must_use]
pub fn rebased(model: &Params, old: &Params, new: &Params, own: Option<&Params>, keep: f32) -> Params {
    let moved = model.minus(old);
    let unmerged = match own {
        Some(own) => moved.minus(own),
        None => moved,
    };
    new.plus_scaled(&unmerged, keep)
}

#[cfg(test)]
mod tests {
    use bistro_core::params::Tensor;

    use super::*;

    fn params(values: &[f32]) -> Params {
        Params { tensors: [("w".to_owned(), Tensor::new(vec![values.len()], values.to_vec()))].into() }
    }

    #[test]
    fn rebase_keeps_what_was_not_merged() {
        // Old master 0; this miner moved by (4, 8); half of that was merged, and (16, 0) of somebody else.
        let (old, model) = (params(&[0.0, 0.0]), params(&[4.0, 8.0]));
        let own = params(&[2.0, 4.0]);
        let new = params(&[18.0, 4.0]);
        assert_eq!(rebased(&model, &old, &new, Some(&own), 1.0), params(&[20.0, 8.0]));
        assert_eq!(rebased(&model, &old, &new, Some(&own), 0.75), params(&[19.5, 7.0]));
        assert_eq!(rebased(&model, &old, &new, None, 1.0), params(&[22.0, 12.0]));
    }

    #[test]
    fn a_rejected_delta_leaves_the_master_bit_identical() {
        let master = Master::new(3, params(&[0.1, -0.7, 1e-30]));
        let before = master.params.hash();
        for i in 0..100 {
            let trial = master.next(&params(&[0.3 / (1 + i) as f32, f32::NAN, 1e30]), 0.25);
            assert_ne!(trial.hash, master.hash);
        }
        assert_eq!(master.params.hash(), before);
    }
}
