//! The bound on a delta's size against the master's.

use bistro_core::skip::{Reason, Skip};

/// Passes a delta whose Euclidean norm is at most `max_ratio` times the master's: both as
/// [`bistro_core::params::Params::norm`] gives them.
pub fn check_norm(norm: f64, masters: f64, max_ratio: f64) -> Result<(), Skip> {
    let bound = masters * max_ratio;
    // NaN compares as false, and so is refused.
    if norm <= bound {
        return Ok(());
    }
    Err(Skip::new(Reason::NormTooLarge, format!("the delta's norm is {norm:.4}, at most {bound:.4} is allowed")))
}

#[cfg(test)]
mod tests {
    use bistro_core::params::{Params, Tensor};

    use super::*;

    fn norm(values: [f32; 2]) -> f64 {
        Params { tensors: [("w".to_owned(), Tensor::new(vec![2], values.to_vec()))].into() }.norm()
    }

    #[test]
    fn the_bound_is_a_share_of_the_masters_norm() {
        let master = norm([30.0, 40.0]);
        check_norm(norm([0.3, 0.4]), master, 0.0101).unwrap();
        check_norm(norm([0.0, 0.0]), norm([0.0, 0.0]), 0.1).unwrap();
        for (delta, ratio) in [([3.0, 4.0], 0.0999), ([f32::NAN, 0.0], 1e6), ([f32::MAX, f32::MAX], 1e6)] {
            assert_eq!(check_norm(norm(delta), master, ratio).unwrap_err().reason, Reason::NormTooLarge);
        }
    }
}
