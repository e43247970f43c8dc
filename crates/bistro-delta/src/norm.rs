//! The bound on a delta's size against the master's.

use bistro_core::params::Params;
use bistro_core::skip::{Reason, Skip};

/// Passes a delta whose Euclidean norm is at most `max_ratio` times the master's.
pub fn check_norm(delta: &Params, master: &Params, max_ratio: f64) -> Result<(), Skip> {
    let (norm, bound) = (delta.norm(), master.norm() * max_ratio);
    // NaN compares as false, and so is refused.
    if norm <= bound {
        return Ok(());
    }
    Err(Skip::new(Reason::NormTooLarge, format!("the delta's norm is {norm:.4}, at most {bound:.4} is allowed")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bistro_core::params::Tensor;

    fn params(values: [f32; 2]) -> Params {
        Params { tensors: [("w".to_owned(), Tensor::new(vec![2], values.to_vec()))].into() }
    }

    #[test]
    fn the_bound_is_a_share_of_the_masters_norm() {
        let master = params([30.0, 40.0]);
        check_norm(&params([0.3, 0.4]), &master, 0.0101).unwrap();
        check_norm(&params([0.0, 0.0]), &params([0.0, 0.0]), 0.1).unwrap();
        for (delta, ratio) in [([3.0, 4.0], 0.0999), ([f32::NAN, 0.0], 1e6), ([f32::MAX, f32::MAX], 1e6)] {
            assert_eq!(check_norm(&params(delta), &master, ratio).unwrap_err().reason, Reason::NormTooLarge);
        }
    }
}
