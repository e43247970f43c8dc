//! The chain's refusals by name: what each means for an operator, and when to try again.

use std::fmt;

use bistro_core::ports::Retry;

use super::advice;

/// What to do about a key without a slot.
pub(crate) const NOT_REGISTERED: &str =
    "register the hotkey (`btcli subnet register`), or it lost its slot: check wallet, network and --netuid";

/// A refusal of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The chain's own name: an error of a pallet, of the transaction pool, or of `CustomTransactionError`.
    pub name: String,
    /// What to do about it; empty if nothing is known.
    pub hint: &'static str,
    /// When to try again.
    pub retry: Retry,
}

impl Refusal {
    /// The refusal of this name.
    pub fn named(name: impl Into<String>) -> Self {
        let name = name.into();
        let (retry, hint) = advice::on(&name);
        Self { name, hint, retry }
    }

    /// Whether the chain asks for more time between two submissions.
    pub fn is_rate_limit(&self) -> bool {
        matches!(self.name.as_str(), "SettingWeightsTooFast" | "CommittingWeightsTooFast" | "RateLimitExceeded")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.hint.is_empty() {
            write!(f, ": {}", self.hint)?;
        }
        if let Retry::After(blocks) = self.retry {
            write!(f, " (try again in {blocks} blocks)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_retry_class() {
        let cases = [
            ("SettingWeightsTooFast", "After"),
            ("RateLimitExceeded", "After"),
            ("NeuronNoValidatorPermit", "After"),
            ("HotKeyNotRegisteredInSubNet", "Never"),
            ("UidNotFound", "Never"),
            ("AccountNotAllowedCommit", "Never"),
            ("CommitRevealEnabled", "Soon"),
            ("Stale", "Soon"),
            ("UidVecContainInvalidOne", "Soon"),
            ("MaxWeightExceeded", "Soon"),
            ("BadFormat", "Soon"),
            ("Rpc-32601", "Never"),
            ("SomethingNobodyKnows", "After"),
        ];
        for (name, class) in cases {
            let retry = format!("{:?}", Refusal::named(name).retry);
            assert!(retry.starts_with(class), "{name}: {retry}");
        }
    }

    #[test]
    fn a_refusal_says_its_name_and_when() {
        let mut refusal = Refusal::named("SettingWeightsTooFast");
        refusal.retry = Retry::After(37);
        assert_eq!(
            refusal.to_string(),
            "SettingWeightsTooFast: the subnet's rate limit for this hotkey (try again in 37 blocks)"
        );
        assert_eq!(Refusal::named("Weird").to_string(), "Weird (try again in 360 blocks)");
    }
}
