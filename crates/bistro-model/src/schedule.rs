//! The learning rate of each step.

/// What comes after warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// The full rate, always: a run has no known end.
    Constant,
    /// Half a cosine down to `floor` times the rate over `steps` steps after warm-up; the floor from then on.
    Cosine {
        /// Steps from the full rate to the floor.
        steps: u64,
        /// Share of the full rate that remains.
        floor: f64,
    },
}

/// The share of the full learning rate in step `step`, counted from 1, after a linear rise over `warmup` steps.
pub fn share(step: u64, warmup: u32, decay: Decay) -> f64 {
    let warmup = u64::from(warmup);
    if step < warmup {
        return step as f64 / warmup as f64;
    }
    match decay {
        Decay::Constant => 1.0,
        Decay::Cosine { steps, floor } => {
            let done = ((step - warmup) as f64 / steps.max(1) as f64).min(1.0);
            floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn it_rises_stays_and_falls() {
        close(share(1, 4, Decay::Constant), 0.25);
        close(share(4, 4, Decay::Constant), 1.0);
        close(share(1, 0, Decay::Constant), 1.0);
        let cosine = Decay::Cosine { steps: 10, floor: 0.1 };
        close(share(2, 4, cosine), 0.5);
        close(share(4, 4, cosine), 1.0);
        close(share(9, 4, cosine), 0.55);
        close(share(14, 4, cosine), 0.1);
        close(share(1_000_000, 4, cosine), 0.1);
    }
}
