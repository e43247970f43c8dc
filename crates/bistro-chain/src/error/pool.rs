//! Refusals of the transaction pool: JSON-RPC errors 1010 to 1018, as a Substrate node and as chopsticks word them.

use serde_json::Value;

use super::refusal::Refusal;

/// The pool has these very bytes already.
pub(crate) const ALREADY_IMPORTED: &str = "AlreadyImported";

/// Names of subtensor's `CustomTransactionError`, by number. The one list of names that metadata does not have.
const CUSTOM: [&str; 41] = [
    "ColdkeyInSwapSchedule",
    "StakeAmountTooLow",
    "BalanceTooLow",
    "SubnetNotExists",
    "HotkeyAccountDoesntExist",
    "NotEnoughStakeToWithdraw",
    "RateLimitExceeded",
    "InsufficientLiquidity",
    "SlippageTooHigh",
    "TransferDisallowed",
    "HotKeyNotRegisteredInNetwork",
    "InvalidIpAddress",
    "ServingRateLimitExceeded",
    "InvalidPort",
    "ZeroMaxAmount",
    "InvalidRevealRound",
    "CommitNotFound",
    "CommitBlockNotInRevealRange",
    "InputLengthsUnequal",
    "UidNotFound",
    "EvmKeyAssociateRateLimitExceeded",
    "ColdkeySwapDisputed",
    "InvalidRealAccount",
    "FailedShieldedTxParsing",
    "InvalidShieldedTxPubKeyHash",
    "CommitRevealEnabled",
    "CommitRevealDisabled",
    "NonAssociatedColdKey",
    "InvalidIpType",
    "IncorrectCommitRevealVersion",
    "CommittingWeightsTooFast",
    "TooManyUnrevealedCommits",
    "NewHotKeyIsSameWithOld",
    "HotKeyAlreadyRegisteredInSubNet",
    "NotEnoughBalanceToPaySwapHotKey",
    "HotKeySwapOnSubnetIntervalNotPassed",
    "DelegateTakeTooLow",
    "DelegateTakeTooHigh",
    "InvalidWorkBlock",
    "InvalidDifficulty",
    "InvalidSeal",
];

/// Where newer runtimes have another name: none of these meets a commitment or weights.
const NEWER: [(u64, &str); 3] = [(25, "NonAssociatedColdKey"), (26, "DelegateTakeTooLow"), (27, "DelegateTakeTooHigh")];

/// What a Substrate node writes for `InvalidTransaction`, and the variant's name.
const WORDS: [(&str, &str); 13] = [
    ("call is not expected", "Call"),
    ("pay some fees", "Payment"),
    ("valid in the future", "Future"),
    ("is outdated", "Stale"),
    ("bad signature", "BadProof"),
    ("ancient birth block", "AncientBirthBlock"),
    ("exhaust the block limits", "ExhaustsResources"),
    ("signing address", "BadSigner"),
    ("mandatory", "BadMandatory"),
    ("implicit data", "IndeterminateImplicit"),
    ("did not authorize any origin", "UnknownOrigin"),
    ("Could not lookup information", "CannotLookup"),
    ("unsigned validator", "NoUnsignedValidator"),
];

/// Whether this JSON-RPC error says that the node did not take the transaction: a transaction that it could not read or
/// validate, the pool's own codes, and a request that it did not understand. An internal error says nothing of the kind.
pub(crate) fn is_refusal(code: i32) -> bool {
    matches!(code, 1001 | 1002 | 1010..=1018 | -32602..=-32600)
}

/// The refusal of `call` behind a JSON-RPC error of `author_submit…`. `data` is the raw JSON of the error's `data` field.
pub(crate) fn refusal(call: &str, code: i32, message: &str, data: Option<&str>) -> Refusal {
    Refusal::named(name(call, code, message, data))
}

fn name(call: &str, code: i32, message: &str, data: Option<&str>) -> String {
    let data = data.map(|json| match serde_json::from_str(json) {
        Ok(Value::String(text)) => text,
        _ => json.to_owned(),
    });
    for text in [data.as_deref(), Some(message)].into_iter().flatten() {
        if let Some(name) = from_words(call, text).or_else(|| from_json(call, text)) {
            return name;
        }
    }
    match code {
        1001 => "BadFormat",
        1002 => "Unverifiable",
        1011 => "UnknownValidity",
        1012 => "TemporarilyBanned",
        1013 => ALREADY_IMPORTED,
        1014 => "PriorityTooLow",
        1015 => "CycleDetected",
        1016 => "ImmediatelyDropped",
        1017 => "Unactionable",
        1018 => "FutureDropped",
        _ => return format!("Rpc{code}"),
    }
    .to_owned()
}

/// `Custom error: 6`, or a sentence of [`WORDS`].
fn from_words(call: &str, text: &str) -> Option<String> {
    if let Some((_, number)) = text.split_once("Custom error: ") {
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        return Some(custom(call, digits.parse().ok()?));
    }
    WORDS.iter().find(|(words, _)| text.contains(words)).map(|(_, name)| (*name).to_owned())
}

/// `{"invalid":{"custom":1}}`, `{"invalid":{"stale":null}}` or `{"invalid":"Stale"}`.
fn from_json(call: &str, text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    let reason = value.get("invalid").or_else(|| value.get("Invalid")).or_else(|| value.get("unknown"))?;
    let (key, detail) = match reason {
        Value::String(key) => (key.as_str(), None),
        Value::Object(fields) => fields.iter().next().map(|(key, detail)| (key.as_str(), Some(detail)))?,
        _ => return None,
    };
    if key.eq_ignore_ascii_case("custom") {
        return Some(custom(call, detail?.as_u64()?));
    }
    let mut letters = key.chars();
    let first = letters.next()?.to_ascii_uppercase();
    Some(std::iter::once(first).chain(letters).take(64).collect())
}

fn custom(call: &str, number: u64) -> String {
    if number == 255 {
        return "BadRequest".to_owned();
    }
    let newer = NEWER.iter().find(|(n, _)| *n == number && !call.contains("weights"));
    if let Some((_, name)) = newer {
        return (*name).to_owned();
    }
    let known = usize::try_from(number).ok().and_then(|n| CUSTOM.get(n));
    known.map_or_else(|| format!("Custom{number}"), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_wordings_of_a_refusal_give_its_name() {
        let cases: [(i32, &str, Option<&str>, &str); 14] = [
            (1010, "Invalid Transaction", Some("\"Custom error: 1\""), "StakeAmountTooLow"),
            (1010, r#"{"invalid":{"custom":1}}"#, None, "StakeAmountTooLow"),
            (1010, "1010: Invalid Transaction: Custom error: 6", None, "RateLimitExceeded"),
            (1010, "Invalid Transaction", Some("\"Custom error: 19\""), "UidNotFound"),
            (1010, r#"{"invalid":{"custom":25}}"#, None, "CommitRevealEnabled"),
            (1010, r#"{"invalid":{"custom":255}}"#, None, "BadRequest"),
            (1010, r#"{"invalid":{"custom":77}}"#, None, "Custom77"),
            (1010, "Invalid Transaction", Some("\"Transaction is outdated\""), "Stale"),
            (1010, r#"{"invalid":{"stale":null}}"#, None, "Stale"),
            (1010, r#"{"invalid":"badProof"}"#, None, "BadProof"),
            (
                1010,
                "Invalid Transaction",
                Some("\"Inability to pay some fees (e.g. account balance too low)\""),
                "Payment",
            ),
            (1013, "Transaction Already Imported", Some("\"...\""), ALREADY_IMPORTED),
            (1014, "Priority is too low: (1 vs 1)", Some("\"The transaction has too low priority\""), "PriorityTooLow"),
            (-32603, "Internal error", Some("{\"a\":[]}"), "Rpc-32603"),
        ];
        for (code, message, data, wanted) in cases {
            let name = refusal("set_weights", code, message, data).name;
            assert_eq!(name, wanted, "{code} {message} {data:?}");
        }
        let number_25 = refusal("add_stake", 1010, "Invalid Transaction", Some("\"Custom error: 25\""));
        assert_eq!(number_25.name, "NonAssociatedColdKey", "of two lists the one that fits the call");
    }
}
