//! What to do about a refusal: when to try again, and what an operator can mend. Names are those of runtimes 293 to 381 and of the
//! sources after them.

use bistro_core::ports::Retry::{self, After, Never, Soon};

use super::refusal::NOT_REGISTERED;

/// Blocks to wait after a rate limit whose length could not be read.
const RATE_LIMIT: Retry = After(10);
/// One epoch at the main network's tempo: permits, room for commitments and the like are given anew.
const EPOCH: Retry = After(360);

/// Names, when to try again, what to do.
type Advice = (&'static [&'static str], Retry, &'static str);

/// Errors of pallets, found in a block.
const DISPATCH: &[Advice] = &[
    (&["SettingWeightsTooFast", "CommittingWeightsTooFast"], RATE_LIMIT, "the subnet's rate limit for this hotkey"),
    (
        &["ServingRateLimitExceeded", "TooManyRegistrationsThisBlock", "TooManyRegistrationsThisInterval"],
        RATE_LIMIT,
        "too many at once: wait some blocks",
    ),
    (&["SpaceLimitExceeded"], EPOCH, "too many commitments in this epoch: commit only what changed"),
    (&["TooManyUnrevealedCommits"], EPOCH, "earlier weights wait for their reveal"),
    // Permits change at each epoch, by stake.
    (
        &["NeuronNoValidatorPermit"],
        EPOCH,
        "the hotkey has no validator permit: it needs more stake than the other validators",
    ),
    (&["NotEnoughStakeToSetWeights"], Never, "the hotkey has less stake than the subnet wants for weights: add stake"),
    (
        &[
            "HotKeyNotRegisteredInSubNet",
            "HotKeyNotRegisteredInNetwork",
            "HotKeyAccountNotExists",
            "AccountNotAllowedCommit",
        ],
        Never,
        NOT_REGISTERED,
    ),
    (&["HotKeyAlreadyRegisteredInSubNet"], Never, "nothing is left to do"),
    (&["SubnetNotExists", "MechanismDoesNotExist"], Never, "check --netuid and --subtensor.network"),
    (
        &["CanNotSetRootNetworkWeights", "RegistrationNotPermittedOnRootSubnet"],
        Never,
        "subnet 0 is the root network: check --netuid",
    ),
    (&["CommitRevealEnabled"], Soon, "the subnet takes weights by commit-reveal now"),
    (&["CommitRevealDisabled"], Soon, "the subnet takes plain weights now"),
    (&["IncorrectCommitRevealVersion"], Never, "the chain wants another version of commitments than it says"),
    (&["IncorrectWeightVersionKey"], Never, "the subnet wants a newer version of this program"),
    (&["WeightVecLengthIsLow"], Soon, "the subnet wants weights for more miners"),
    (&["MaxWeightExceeded"], Soon, "one miner weighs more than the subnet allows: more miners must score"),
    (
        &["WeightVecNotEqualSize", "DuplicateUids", "InputLengthsUnequal", "TooManyFieldsInCommitmentInfo"],
        Never,
        "a fault of this program: please report it",
    ),
    // A slot went between the metagraph and the call: the next metagraph knows.
    (&["UidVecContainInvalidOne", "UidsLengthExceedUidsInSubNet"], Soon, "a slot that the subnet does not have"),
    (&["SubNetRegistrationDisabled", "NoNeuronIdAvailable"], EPOCH, "the subnet takes no registrations now"),
    (&["SubtokenDisabled"], EPOCH, "the subnet has not been started by its owner"),
    (&["NonAssociatedColdKey"], Never, "the hotkey belongs to another coldkey: check --wallet.name"),
    (
        &["NotEnoughBalanceToStake", "FundsUnavailable", "InsufficientBalance", "BelowMinimum"],
        Never,
        "the account has too little TAO",
    ),
    (&["AmountTooLow"], Never, "the amount is below the chain's minimum"),
    (&["CallFiltered", "CallDisabled"], EPOCH, "the chain does not take this call now"),
    (&["UnexpectedUnreserveLeftover"], EPOCH, "the chain could not give a deposit back"),
];

/// Errors of the transaction pool, before any block.
const POOL: &[Advice] = &[
    (&["RateLimitExceeded"], RATE_LIMIT, "the subnet's rate limit for this hotkey"),
    (
        &["StakeAmountTooLow"],
        Never,
        "the hotkey has less stake than the subnet wants for weights, or the amount is below the minimum: add stake",
    ),
    (&["HotkeyAccountDoesntExist", "UidNotFound"], Never, NOT_REGISTERED),
    (&["InvalidRevealRound"], Soon, "the round is past already: check this machine's clock"),
    (&["Payment", "BalanceTooLow"], Never, "the account has too little TAO"),
    (
        &[
            "Stale",
            "Future",
            "AncientBirthBlock",
            "PriorityTooLow",
            "TemporarilyBanned",
            "ImmediatelyDropped",
            "ExhaustsResources",
            "FutureDropped",
            "UnknownValidity",
            "CannotLookup",
            "CycleDetected",
            "Unactionable",
        ],
        Soon,
        "another transaction of this key, a busy pool or a reorganised chain: passes by itself",
    ),
    (
        &["BadProof", "BadFormat", "Unverifiable", "IndeterminateImplicit"],
        Soon,
        "the transaction was made for another fork or runtime version; it is made anew next time",
    ),
    (&["Call", "ColdkeyInSwapSchedule", "ColdkeySwapDisputed"], EPOCH, "the chain does not take this call now"),
    (&["BadRequest"], Never, "the chain does not say more"),
    (
        &["BadSigner", "BadMandatory", "UnknownOrigin", "NoUnsignedValidator"],
        Never,
        "a fault of this program: please report it",
    ),
    (
        &["Rpc-32601", "Rpc-32600", "Rpc-32602"],
        Never,
        "the node does not take transactions over this address: use another endpoint",
    ),
];

/// When to try again after the refusal `name`, and what to do; empty if nothing is known. A name from the future may have passed in an
/// epoch, whatever it is.
pub(super) fn on(name: &str) -> (Retry, &'static str) {
    let known = DISPATCH.iter().chain(POOL).find(|(names, ..)| names.contains(&name));
    known.map_or((EPOCH, ""), |&(_, retry, hint)| (retry, hint))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::client::real_runtimes;

    #[test]
    fn no_name_stands_twice() {
        let names: Vec<_> = DISPATCH.iter().chain(POOL).flat_map(|(names, ..)| *names).collect();
        let different: HashSet<_> = names.iter().collect();
        assert_eq!(names.len(), different.len());
    }

    /// What our calls can meet on the chain, by the order of its checks.
    const MET: [&str; 25] = [
        "CommitRevealEnabled",
        "CanNotSetRootNetworkWeights",
        "WeightVecNotEqualSize",
        "MechanismDoesNotExist",
        "SubnetNotExists",
        "UidsLengthExceedUidsInSubNet",
        "HotKeyNotRegisteredInSubNet",
        "NotEnoughStakeToSetWeights",
        "IncorrectWeightVersionKey",
        "SettingWeightsTooFast",
        "NeuronNoValidatorPermit",
        "DuplicateUids",
        "UidVecContainInvalidOne",
        "WeightVecLengthIsLow",
        "MaxWeightExceeded",
        "CommitRevealDisabled",
        "IncorrectCommitRevealVersion",
        "CommittingWeightsTooFast",
        "TooManyUnrevealedCommits",
        "InvalidRevealRound",
        "TooManyFieldsInCommitmentInfo",
        "AccountNotAllowedCommit",
        "SpaceLimitExceeded",
        "UnexpectedUnreserveLeftover",
        "HotKeyAlreadyRegisteredInSubNet",
    ];

    #[test]
    fn all_that_our_calls_can_meet_is_known_and_spelt_as_real_runtimes_spell_it() {
        for name in MET {
            assert!(!on(name).1.is_empty(), "no advice on {name}");
        }
        let runtimes = real_runtimes();
        if runtimes.is_empty() {
            return;
        }
        let mut spelt = HashSet::new();
        for (_, runtime) in runtimes {
            for pallet in runtime.metadata().pallets() {
                spelt.extend(pallet.error_variants().unwrap_or_default().iter().map(|error| error.name.clone()));
            }
        }
        // FRAME's own, which stand in no pallet's list.
        let frames = ["FundsUnavailable", "BelowMinimum", "CallDisabled"];
        for name in DISPATCH.iter().flat_map(|(names, ..)| *names).filter(|name| !frames.contains(name)) {
            assert!(spelt.contains(*name), "no real runtime has {name}");
        }
    }
}
