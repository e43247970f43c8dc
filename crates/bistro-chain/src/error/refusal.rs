//! The chain's refusals by name: what each means for an operator, and when to try again.

use std::fmt;

use bistro_core::ports::Retry;

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
        let (retry, hint) = advice(&name);
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

/// Blocks to wait after a rate limit whose length could not be read.
const RATE_LIMIT_BLOCKS: u64 = 10;
/// One epoch at the main network's tempo: permits, space for commitments and the like are given anew.
const EPOCH_BLOCKS: u64 = 360;

/// When to try again, and what an operator can do. The names are those of runtimes 293 to 381.
fn advice(name: &str) -> (Retry, &'static str) {
    match name {
        "SettingWeightsTooFast" | "CommittingWeightsTooFast" | "RateLimitExceeded" => {
            (Retry::After(RATE_LIMIT_BLOCKS), "the subnet's rate limit for this hotkey")
        }
        "ServingRateLimitExceeded" | "TooManyRegistrationsThisBlock" | "TooManyRegistrationsThisInterval" => {
            (Retry::After(RATE_LIMIT_BLOCKS), "too many at once: wait some blocks")
        }
        "SpaceLimitExceeded" => {
            (Retry::After(EPOCH_BLOCKS), "too many commitments in this epoch: commit only what changed")
        }
        "TooManyUnrevealedCommits" => (Retry::After(EPOCH_BLOCKS), "earlier weights wait for their reveal"),
        "NeuronNoValidatorPermit" => {
            // Permits change at each epoch, by stake.
            (
                Retry::After(EPOCH_BLOCKS),
                "the hotkey has no validator permit: it needs more stake than the other validators",
            )
        }
        "NotEnoughStakeToSetWeights" | "StakeAmountTooLow" => {
            (Retry::Never, "the hotkey has less stake than the subnet wants for weights: add stake")
        }
        "HotKeyNotRegisteredInSubNet"
        | "HotKeyNotRegisteredInNetwork"
        | "HotkeyAccountDoesntExist"
        | "HotKeyAccountNotExists"
        | "UidNotFound"
        | "AccountNotAllowedCommit" => (Retry::Never, NOT_REGISTERED),
        "HotKeyAlreadyRegisteredInSubNet" => (Retry::Never, "nothing is left to do"),
        "SubnetNotExists" | "MechanismDoesNotExist" | "SubNetworkDoesNotExist" => {
            (Retry::Never, "check --netuid and --subtensor.network")
        }
        "CommitRevealEnabled" => (Retry::Soon, "the subnet takes weights by commit-reveal now"),
        "CommitRevealDisabled" => (Retry::Soon, "the subnet takes plain weights now"),
        "InvalidRevealRound" => (Retry::Soon, "the round is past already: check this machine's clock"),
        "IncorrectCommitRevealVersion" => (Retry::Never, "the chain wants another version of commitments than it says"),
        "IncorrectWeightVersionKey" => (Retry::Never, "the subnet wants a newer version of this program"),
        "WeightVecLengthIsLow" => (Retry::Soon, "the subnet wants weights for more miners"),
        "MaxWeightExceeded" | "WeightVecNotEqualSize" | "DuplicateUids" | "InputLengthsUnequal" => {
            (Retry::Never, "a fault of this program: please report it")
        }
        // A slot went between the metagraph and the call: the next metagraph knows.
        "UidVecContainInvalidOne" | "UidsLengthExceedUidsInSubNet" => {
            (Retry::Soon, "a slot that the subnet does not have")
        }
        "Payment" | "BalanceTooLow" | "NotEnoughBalanceToStake" | "CannotAffordRegistration" | "FundsUnavailable" => {
            (Retry::Never, "the account has too little TAO")
        }
        "Stale" | "Future" | "AncientBirthBlock" | "PriorityTooLow" | "TemporarilyBanned" | "ImmediatelyDropped"
        | "ExhaustsResources" | "FutureDropped" | "UnknownValidity" => {
            (Retry::Soon, "another transaction of this key, a busy pool or a reorganised chain: passes by itself")
        }
        "BadProof" => {
            (Retry::Soon, "the signature was made for another fork or runtime version; it is made anew next time")
        }
        "Unsupported" | "CallNotAllowed" | "SafeModeEntered" | "Entered" | "Call" => {
            (Retry::After(EPOCH_BLOCKS), "the chain does not take this call now")
        }
        "BadRequest" => (Retry::Never, "the chain does not say more"),
        // A name from the future: whatever it is may have passed in an epoch.
        _ => (Retry::After(EPOCH_BLOCKS), ""),
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
