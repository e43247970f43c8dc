//! Clock and chain: D04 to D10.

use std::fmt::Write as _; // into a string, which never fails

use bistro_chain::ChainError;
use bistro_chain::client::survey::Survey;
use bistro_core::ids::Hotkey;
use bistro_core::ports::{Metagraph, PortError};

use super::Outcome;
use super::subject::Subject;
use crate::exit;
use crate::settings::value::shown;

/// More than this, and something that depends on time is late: seconds.
const CLOCK_WARNS: u64 = 5;
/// More than this, and weights are encrypted for the wrong round: seconds.
const CLOCK_FAILS: u64 = 60;
/// A node whose newest block is older by so many block times is not at its head.
const BEHIND_BLOCKS: u64 = 10;
/// Rao of one TAO.
const TAO: f64 = 1e9;

/// D04. `server` is the time of the bucket's server, seconds since 1970.
pub(super) fn clock(now: u64, server: Option<u64>, survey: Option<&Survey>) -> Outcome {
    let chain = survey.and_then(|survey| survey.block_millis).map(|millis| millis / 1000);
    let (reference, whose) = match (server, chain) {
        (Some(server), _) => (server, "the bucket's server"),
        // A block is made before it is seen; so only one from the future tells.
        (None, Some(chain)) if chain > now => (chain, "the chain"),
        (None, Some(_)) => return Outcome::pass("the newest block is not from the future"),
        (None, None) => return Outcome::skip("neither bucket nor chain tells the time"),
    };
    let off = now.abs_diff(reference);
    let way = if now > reference { "ahead of" } else { "behind" };
    let says = format!("this clock is {off} s {way} {whose}");
    let mend = "timedatectl set-ntp true";
    if off <= CLOCK_WARNS {
        Outcome::pass(format!("within {CLOCK_WARNS} s of {whose}"))
    } else if off <= CLOCK_FAILS {
        Outcome::warn(says, mend)
    } else {
        Outcome::fail(format!("{says}: signatures and reveals of weights will be refused"), mend)
    }
}

/// D05, where there is no connection or no answer.
pub(super) fn no_node(error: &ChainError) -> Outcome {
    let status = exit::status(&anyhow::Error::new(error.clone()));
    Outcome::fail(error.to_string(), "try another node: --subtensor.chain_endpoint wss://…").ending(status)
}

/// D05.
pub(super) fn node(survey: &Survey, now: u64) -> Outcome {
    let Survey { block, runtime, latency, .. } = survey;
    let chain = survey.network.map_or_else(|| "a chain of its own".to_owned(), |name| format!("the chain of {name}"));
    let milliseconds = latency.as_millis();
    let says =
        format!("{} answers in {milliseconds} ms: {chain}, runtime {runtime}, block {block}", shown(&survey.endpoint));
    let age = survey.block_millis.map_or(0, |millis| now.saturating_sub(millis / 1000));
    if age > (survey.block_time.as_secs_f64() * BEHIND_BLOCKS as f64).max(60.0) as u64 {
        let says = format!("{says}, which is {age} s old: the node is syncing, or the chain stands still");
        return Outcome::fail(says, "wait, or try another node: --subtensor.chain_endpoint wss://…")
            .ending(exit::TEMPORARY);
    }
    if latency.as_secs() >= 2 {
        return Outcome::warn(says, "a node nearer by: --subtensor.chain_endpoint wss://…");
    }
    Outcome::pass(says)
}

/// D06.
pub(super) fn subnet(subject: &Subject, metagraph: &Result<Metagraph, PortError>) -> Outcome {
    match metagraph {
        Ok(subnet) => {
            let (netuid, neurons, tempo) = (subnet.netuid, subnet.neurons.len(), subnet.tempo);
            Outcome::pass(format!("netuid {netuid}: {neurons} neurons, an epoch of {tempo} blocks"))
        }
        Err(error) => {
            let mend = format!("{} --netuid N --subtensor.network finney|test|local", subject.program());
            Outcome::fail(error.message.clone(), mend).ending(exit::of_port(error))
        }
    }
}

/// D07.
pub(super) fn registration(subject: &Subject, hotkey: &Hotkey, survey: &Survey) -> Outcome {
    let netuid = subject.common.subtensor.netuid;
    if let Some(place) = survey.place {
        return Outcome::pass(format!("uid {} on netuid {netuid}", place.uid));
    }
    let terms = &survey.registration;
    let mut says = format!("hotkey {hotkey} is not registered on netuid {netuid}");
    if let Some(price) = terms.price {
        let _ = write!(says, "; it costs τ{} now", price as f64 / TAO);
    }
    if let Some((done, wanted)) = terms.this_interval {
        let _ = write!(says, ", {done} of {wanted} registrations of this interval are taken");
    }
    if let Some((taken, slots)) = terms.slots {
        let full = if taken >= slots { " (whoever earns least makes room)" } else { "" };
        let _ = write!(says, ", {taken} of {slots} slots{full}");
    }
    if terms.open == Some(false) {
        says += "; the subnet takes no newcomers now";
    }
    Outcome::fail(says, subject.register_line()).ending(exit::NO_PLACE)
}

/// D08.
pub(super) fn immunity(survey: &Survey) -> Outcome {
    let Some(place) = survey.place else { return Outcome::skip("there is no slot") };
    match place.immune_for(survey.block) {
        None => Outcome::skip("the runtime does not tell"),
        Some(0) => Outcome::pass("over: the slot is kept as long as another earns less"),
        Some(blocks) => {
            let hours = blocks as f64 * survey.block_time.as_secs_f64() / 3600.0;
            Outcome::pass(format!("the slot is safe for {blocks} more blocks, about {hours:.1} hours"))
        }
    }
}

/// D09.
pub(super) fn weights(subject: &Subject, hotkey: &Hotkey, subnet: &Metagraph, survey: &Survey) -> Outcome {
    if !subject.validates() {
        return Outcome::skip("a miner sets none");
    }
    let Some(own) = subnet.neuron(hotkey) else { return Outcome::skip("there is no slot") };
    let tao = |rao: u64| rao as f64 / TAO;
    let add = format!(
        "btcli stake add --netuid {} --wallet.name {} --wallet.hotkey {} --amount …",
        subnet.netuid,
        subject.common.wallet.name(),
        subject.common.wallet.hotkey
    );
    // Either may come with the next epoch, and a validator without them still measures: no reason not to begin.
    if own.stake < subnet.stake_threshold {
        let (has, wants) = (tao(own.stake), tao(subnet.stake_threshold));
        let says = format!("the stake is {has:.2}, and the chain takes weights from {wants:.2} on");
        return Outcome::fail(says, add).ending(exit::TEMPORARY);
    }
    if !own.validator_permit {
        let least = subnet.by_authority().last().map_or(0.0, |neuron| tao(neuron.stake));
        let says = format!(
            "no validator permit: the stake is {:.2}, the least of those that have one {least:.2}; permits come with the epoch",
            tao(own.stake)
        );
        return Outcome::fail(says, add).ending(exit::TEMPORARY);
    }
    let due = (own.last_update.0 + subnet.weights_rate_limit).saturating_sub(subnet.block.0);
    let way = if subnet.commit_reveal { "by commit-reveal" } else { "in the open" };
    Outcome::pass(format!(
        "permit, stake {:.2}; every {} blocks, next in {due}; {way}; at least {} weights, version {}",
        tao(own.stake),
        subnet.weights_rate_limit,
        subnet.min_allowed_weights,
        survey.version_key.unwrap_or(0)
    ))
}

/// D10.
pub(super) fn commitment(subject: &Subject, committed: Option<&str>, survey: &Survey) -> Outcome {
    let Some(bucket) = &subject.common.bucket else { return Outcome::skip("no bucket is named") };
    if committed == Some(bucket) {
        return Outcome::pass(format!("the chain names {bucket}"));
    }
    let now = committed.map_or_else(|| "nothing".to_owned(), |other| format!("`{}`", printable(other)));
    if let Some(blocks) = survey.commitment_in {
        let says = format!(
            "the chain names {now} instead of {bucket}, and takes no other name of this hotkey for {blocks} blocks"
        );
        return Outcome::fail(says, "wait; does a second program use this hotkey?").ending(exit::TEMPORARY);
    }
    if committed.is_none() {
        return Outcome::pass(format!("none yet: the program commits {bucket} as it starts"));
    }
    let says = format!("the chain names {now}: the program replaces it by {bucket} as it starts");
    Outcome::warn(says, format!("{} --bucket NAME, if the other one is right", subject.program()))
}

/// A stranger's or an older text, short and without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().take(64).map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_clock_that_is_wrong_is_told_by_how_much_and_from_whom() {
        let verdict = |server| clock(1_000_000, server, None);
        assert_eq!(verdict(Some(1_000_004)).verdict, Verdict::Pass);
        let warned = verdict(Some(1_000_030));
        assert!(warned.verdict == Verdict::Warn && warned.says.contains("30 s behind the bucket"), "{warned:?}");
        let failed = verdict(Some(999_000));
        assert!(failed.verdict == Verdict::Fail && failed.says.contains("1000 s ahead"), "{failed:?}");
        assert_eq!(verdict(None).verdict, Verdict::Skip);
    }

    #[test]
    fn a_stranger_s_text_cannot_speak_to_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a?[2Jb");
        assert_eq!(printable(&"x".repeat(500)).len(), 64);
    }
}
