//! Whether a delta stays in the master.

use serde::{Deserialize, Serialize};

/// The rule and its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AcceptanceRules {
    /// The README's: the global loss with the delta is below `min_loss`; after a merge, `min_loss` is that loss times
    /// `threshold_factor`. Losses of different random pages are compared, so a lucky page blocks good deltas for long.
    Readme {
        /// The original's is 0.999.
        threshold_factor: f64,
    },
    /// Master and master + scale · delta are compared on the same pages, for each scale; the best wins if it gains more
    /// than `margin`.
    Paired {
        /// Factors that are tried, such as 1, ½, ¼.
        scales: Vec<f32>,
        /// Least improvement of the global loss, nats a token.
        margin: f64,
    },
}

/// Global loss of master + scale · delta.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The factor.
    pub scale: f32,
    /// Nats a token on the verdict's global pages.
    pub loss: f64,
}

impl Candidate {
    /// The one with the lowest finite loss.
    pub fn best(candidates: &[Self]) -> Option<Self> {
        candidates.iter().copied().filter(|c| c.loss.is_finite()).min_by(|a, b| a.loss.total_cmp(&b.loss))
    }
}

/// What becomes of the delta.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It stays, with the candidate's factor.
    Accept(Candidate),
    /// It goes.
    Reject,
}

/// The rule with what it remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// The loss to get below (README's rule); `None` before the first merge, when any finite loss will do.
    pub min_loss: Option<f64>,
}

impl Acceptance {
    /// Before the first merge.
    pub fn new() -> Self {
        Self { min_loss: None }
    }

    /// The better of the candidates, and whether it stays. `base` is the master's own loss on the same pages; the README's
    /// rule ignores it.
    pub fn judge(&self, rules: &AcceptanceRules, base: f64, candidates: &[Candidate]) -> Verdict {
        let Some(best) = Candidate::best(candidates) else { return Verdict::Reject };
        let accept = match rules {
            AcceptanceRules::Readme { .. } => self.min_loss.is_none_or(|min| best.loss < min),
            AcceptanceRules::Paired { margin, .. } => best.loss < base - margin,
        };
        if accept { Verdict::Accept(best) } else { Verdict::Reject }
    }

    /// Takes note of a merge with this global loss.
    pub fn merged(&mut self, rules: &AcceptanceRules, global_loss: f64) {
        if let AcceptanceRules::Readme { threshold_factor } = rules {
            self.min_loss = Some(global_loss * threshold_factor);
        }
    }
}

impl Default for Acceptance {
    fn default() -> Self {
        Self::new()
    }
}

impl AcceptanceRules {
    /// The factors with which a delta is tried.
    pub fn scales(&self) -> &[f32] {
        match self {
            Self::Readme { .. } => &[1.0],
            Self::Paired { scales, .. } => scales,
        }
    }

    /// Whether the master's own loss on the pages of the verdict is needed.
    pub fn needs_base(&self) -> bool {
        matches!(self, Self::Paired { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: AcceptanceRules = AcceptanceRules::Readme { threshold_factor: 0.999 };

    fn one(loss: f64) -> [Candidate; 1] {
        [Candidate { scale: 1.0, loss }]
    }

    fn accepts(acceptance: &Acceptance, rules: &AcceptanceRules, base: f64, candidates: &[Candidate]) -> bool {
        matches!(acceptance.judge(rules, base, candidates), Verdict::Accept(_))
    }

    #[test]
    fn readme_takes_the_first_finite_loss_and_then_only_strictly_lower_ones() {
        let mut acceptance = Acceptance::new();
        assert!(!accepts(&acceptance, &README, 0.0, &one(f64::NAN)));
        assert!(!accepts(&acceptance, &README, 0.0, &one(f64::INFINITY)));
        assert!(accepts(&acceptance, &README, 0.0, &one(9.0)));
        acceptance.merged(&README, 9.0);
        assert_eq!(acceptance.min_loss, Some(9.0 * 0.999));
        assert!(!accepts(&acceptance, &README, 0.0, &one(9.0 * 0.999)));
        assert!(accepts(&acceptance, &README, 0.0, &one(8.99)));
    }

    #[test]
    fn paired_takes_the_best_scale_beyond_the_margin() {
        let rules = AcceptanceRules::Paired { scales: vec![1.0, 0.5], margin: 0.01 };
        let candidates = [Candidate { scale: 1.0, loss: 7.2 }, Candidate { scale: 0.5, loss: 6.9 }];
        let acceptance = Acceptance::new();
        assert_eq!(acceptance.judge(&rules, 7.0, &candidates), Verdict::Accept(candidates[1]));
        assert_eq!(acceptance.judge(&rules, 6.909, &candidates), Verdict::Reject);
        assert_eq!(acceptance.judge(&rules, f64::NAN, &candidates), Verdict::Reject);
    }

    #[test]
    fn what_equals_the_master_is_no_improvement() {
        let rules = AcceptanceRules::Paired { scales: vec![1.0], margin: 0.0 };
        assert!(!accepts(&Acceptance::new(), &rules, 7.0, &one(7.0)));
    }

    #[test]
    fn a_rule_says_what_it_tries_and_whether_it_needs_the_masters_loss() {
        let paired = AcceptanceRules::Paired { scales: vec![1.0, 0.25], margin: 0.0 };
        assert_eq!((paired.scales(), paired.needs_base()), (&[1.0, 0.25][..], true));
        assert_eq!((README.scales(), README.needs_base()), (&[1.0][..], false));
    }

    #[test]
    fn a_lucky_page_does_not_block_the_paired_rule() {
        let rules = AcceptanceRules::Paired { scales: vec![1.0], margin: 0.0 };
        let mut acceptance = Acceptance::new();
        acceptance.merged(&rules, 3.0);
        assert!(accepts(&acceptance, &rules, 7.0, &one(6.9)));
    }
}
