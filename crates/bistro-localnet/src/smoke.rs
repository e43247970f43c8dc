//! Whether a node serves Bistro: reads, writes and refusals of one registered hotkey, each a line with its outcome.
//!
//! It holds for any subtensor node, also for one that makes a block only when a transaction arrives. It registers nothing
//! and pays nothing; it replaces the hotkey's weights, and its commitment until it has been read back. The refusals that it
//! wants to see are the chain's own: what miner and validator check before they send is sent here all the same.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use bistro_chain::{ChainError, Deadlines, Keypair, Network, SubtensorChain};
use bistro_core::ids::{Block, Hotkey, NetUid, Uid};
use bistro_core::ports::{BucketAddress, Chain as _, Metagraph, PortError, Retry};
use tokio::time::Instant;

/// A subnet that no chain has: to see a refusal that does not depend on the hotkey's rights.
const NOWHERE: NetUid = NetUid(u16::MAX);
/// A slot that no subnet has.
const NO_SLOT: Uid = Uid(u16::MAX);
/// Names of test commitments begin so.
const PREFIX: &str = "bistro-smoke-";
/// A chain without a block for this many block times, and this long at most, makes blocks from transactions only.
const STILL: (f64, Duration) = (2.5, Duration::from_secs(30));

/// What the chain calls a hotkey that may not set weights, in a block and in the pool.
const NO_RIGHT: [&str; 3] = ["NeuronNoValidatorPermit", "NotEnoughStakeToSetWeights", "StakeAmountTooLow"];
/// What it calls a slot that is not there.
const BAD_UID: [&str; 2] = ["UidVecContainInvalidOne", "UidNotFound"];
/// What it calls weights before they are due.
const TOO_FAST: [&str; 3] = ["SettingWeightsTooFast", "CommittingWeightsTooFast", "RateLimitExceeded"];
/// What it calls a commitment of a hotkey that is not in the subnet.
const STRANGER: [&str; 1] = ["AccountNotAllowedCommit"];
/// What it calls weights in the way that the subnet does not take.
const OTHER_WAY: [[&str; 2]; 2] = [["CommitRevealDisabled", "BadRequest"], ["CommitRevealEnabled", "BadRequest"]];

/// What is tested.
#[derive(Clone)]
pub struct Options {
    /// The chain.
    pub network: Network,
    /// Subnet.
    pub netuid: NetUid,
    /// The hotkey.
    pub key: Keypair,
    /// How long to wait for the weights' rate limit.
    pub wait: Duration,
}

/// Runs all steps and prints a line for each. `false` if one failed.
///
/// # Errors
/// Only if `out` cannot be written.
pub async fn run(options: &Options, out: &mut impl Write) -> Result<bool> {
    let mut report = Report { out, failed: 0 };
    match Smoke::connect(options).await {
        Ok((smoke, seen)) => {
            report.note("connect", &Ok(seen))?;
            smoke.steps(&mut report).await?;
        }
        Err(error) => report.note("connect", &Err(error.to_string()))?,
    }
    report.end()
}

/// What a step saw, or what went wrong.
type Step = Result<String, String>;

struct Report<'a, W> {
    out: &'a mut W,
    failed: usize,
}

impl<W: Write> Report<'_, W> {
    fn note(&mut self, name: &str, step: &Step) -> Result<()> {
        let (mark, said) = match step {
            Ok(seen) => ("OK", seen),
            Err(why) => ("FAIL", why),
        };
        self.failed += usize::from(step.is_err());
        writeln!(self.out, "{mark:<5}{name:<12}{said}")?;
        self.out.flush()?;
        Ok(())
    }

    fn end(self) -> Result<bool> {
        let said = match self.failed {
            0 => "all steps OK".to_owned(),
            1 => "1 step failed".to_owned(),
            n => format!("{n} steps failed"),
        };
        writeln!(self.out, "{said}")?;
        Ok(self.failed == 0)
    }
}

struct Smoke {
    chain: SubtensorChain,
    /// The same key on a subnet that does not exist.
    nowhere: SubtensorChain,
    netuid: NetUid,
    own: Hotkey,
    wait: Duration,
}

impl Smoke {
    async fn connect(options: &Options) -> Result<(Self, String), ChainError> {
        // A step reads back what it wrote, and no block comes by itself everywhere: finality is not waited for.
        let deadlines = Deadlines { settle: Some(Duration::ZERO), ..Deadlines::default() };
        let key = || Some(options.key.clone());
        let to = |netuid| SubtensorChain::connect_with(&options.network, netuid, key(), deadlines);
        let (chain, nowhere) = (to(options.netuid).await?, to(NOWHERE).await?);
        let seen = format!("{}, a block every {} s", options.network.name, chain.block_time().as_secs_f32());
        let own = options.key.public();
        Ok((Self { chain, nowhere, netuid: options.netuid, own, wait: options.wait }, seen))
    }

    async fn steps<W: Write>(&self, report: &mut Report<'_, W>) -> Result<()> {
        let metagraph = match self.chain.metagraph().await {
            Ok(metagraph) => metagraph,
            Err(error) => return report.note("metagraph", &Err(named(&error))),
        };
        let known = self.registered(&metagraph).await;
        report.note("metagraph", &known)?;
        if known.is_err() {
            return Ok(());
        }
        report.note("commitment", &self.commitment(&metagraph).await)?;
        report.note("stranger", &refused(self.nowhere.commit(&name_at(metagraph.block)).await, &STRANGER))?;
        let permit = metagraph.neuron(&self.own).is_some_and(|neuron| neuron.validator_permit);
        report.note("other way", &self.other_way(&metagraph, permit).await)?;
        if metagraph.commit_reveal {
            // The chain looks at uids and permits when it reveals, and tells nobody.
            report.note("bad uid", &Ok("not seen: the subnet looks at weights only when it reveals them".into()))?;
        } else {
            let wanted: Vec<_> =
                NO_RIGHT.into_iter().chain(if permit { &BAD_UID[..] } else { &[] }.iter().copied()).collect();
            report.note("bad uid", &refused(self.when_due(&[(NO_SLOT, u16::MAX)]).await, &wanted))?;
        }
        self.weights(&metagraph, permit, report).await
    }

    /// Plain weights where the subnet wants commitments, and commitments where it wants plain weights.
    async fn other_way(&self, metagraph: &Metagraph, permit: bool) -> Step {
        let weights = even_weights(metagraph, &self.own);
        let wanted = OTHER_WAY[usize::from(metagraph.commit_reveal)];
        let outcome = if metagraph.commit_reveal {
            self.chain.send_plain_weights(&weights).await
        } else {
            self.chain.send_committed_weights(&weights).await
        };
        let stake = if permit { &[][..] } else { &NO_RIGHT[..] };
        refused(outcome.map_err(PortError::from), &[&wanted[..], stake].concat())
    }

    /// The subnet, and the own slot in it, as the runtime call and as storage tell it.
    async fn registered(&self, metagraph: &Metagraph) -> Step {
        let Some(neuron) = metagraph.neuron(&self.own) else {
            return Err(format!(
                "{} is not registered on subnet {}: register it with `btcli subnet register`, this test registers nothing",
                self.own, self.netuid
            ));
        };
        match self.chain.uid_of(&self.own).await {
            Ok(Some(uid)) if uid == neuron.uid => {}
            Ok(other) => return Err(format!("the metagraph says uid {}, storage says {other:?}", neuron.uid)),
            Err(error) => return Err(named(&error.into())),
        }
        Ok(format!(
            "block {}: {} neurons, own uid {}{}, weights every {} blocks{}",
            metagraph.block,
            metagraph.neurons.len(),
            neuron.uid,
            if neuron.validator_permit { " with a validator permit" } else { " without a validator permit" },
            metagraph.weights_rate_limit,
            if metagraph.commit_reveal { " by commit-reveal" } else { "" },
        ))
    }

    /// Commits a bucket's name, reads it back, and puts back what was there before.
    async fn commitment(&self, metagraph: &Metagraph) -> Step {
        let text = name_at(metagraph.block);
        let before = self.chain.commitment(&self.own).await.map_err(|e| named(&e))?;
        self.chain.commit(&text).await.map_err(|e| named(&e))?;
        let read = self.chain.commitment(&self.own).await.map_err(|e| named(&e))?;
        if let Some(before) = before.filter(|before| !before.starts_with(PREFIX)) {
            self.chain.commit(&before).await.map_err(|e| format!("`{before}` could not be put back: {}", named(&e)))?;
        }
        let address = read.as_deref().map(BucketAddress::parse);
        if read.as_deref() == Some(&text) && matches!(address, Some(Ok(_))) {
            Ok(format!("`{text}` committed and read back"))
        } else {
            Err(format!("`{text}` was committed, and the chain says {read:?}"))
        }
    }

    /// Sets weights, then at once again. A hotkey without the right to must be refused by name instead.
    async fn weights<W: Write>(&self, metagraph: &Metagraph, permit: bool, report: &mut Report<'_, W>) -> Result<()> {
        let weights = even_weights(metagraph, &self.own);
        let set = match self.when_due(&weights).await {
            Ok(()) if metagraph.commit_reveal => Ok(format!("{} weights committed for their reveal", weights.len())),
            Ok(()) => self.on_chain(metagraph, weights.len()).await,
            Err(error) if !permit && NO_RIGHT.contains(&error.name.as_str()) => {
                return report.note("weights", &Ok(format!("refused as they must be: {}", named(&error))));
            }
            Err(error) => Err(named(&error)),
        };
        let is_set = set.is_ok();
        report.note("weights", &set)?;
        if !is_set {
            return Ok(());
        }
        let again = match metagraph.weights_rate_limit {
            0 | 1 => Ok("not tried: the subnet has no rate limit".into()),
            _ => refused(self.chain.set_weights(&weights).await, &TOO_FAST),
        };
        report.note("too fast", &again)
    }

    /// Whether the chain shows `count` weights of our own.
    async fn on_chain(&self, metagraph: &Metagraph, count: usize) -> Step {
        let uid = metagraph.neuron(&self.own).map_or(NO_SLOT, |neuron| neuron.uid);
        match self.chain.weights_of(uid).await {
            Ok(found) if found.len() == count => Ok(format!("{count} weights set and read back")),
            Ok(found) => Err(format!("{count} weights were set, and the chain shows {}", found.len())),
            Err(error) => Err(named(&error.into())),
        }
    }

    /// Sets weights; where the chain says that they are not due yet, waits and tries once more.
    async fn when_due(&self, weights: &[(Uid, u16)]) -> Result<(), PortError> {
        match self.chain.set_weights(weights).await {
            Err(PortError { name, retry: Retry::After(blocks), .. }) if TOO_FAST.contains(&name.as_str()) => {
                self.pass(blocks).await?;
                self.chain.set_weights(weights).await
            }
            other => other,
        }
    }

    /// Lets `blocks` pass, but no longer than the options allow. On a chain that stands still, commitments that it refuses
    /// make the blocks.
    async fn pass(&self, blocks: u64) -> Result<(), PortError> {
        let until = Instant::now() + self.wait;
        let mut at = self.chain.head().await?;
        let (times, most) = STILL;
        let quiet = self.chain.block_time().mul_f64(times).min(most);
        let due = Block(at.0.saturating_add(blocks));
        let mut still = false;
        while at < due && Instant::now() < until {
            if still {
                let _ = self.nowhere.commit(&name_at(at)).await;
                at = self.chain.metagraph().await?.block;
            } else {
                match tokio::time::timeout(quiet, self.chain.next_block(at)).await {
                    Ok(next) => at = next?,
                    Err(_) => still = true,
                }
            }
        }
        Ok(())
    }
}

/// The name of a bucket that says when it was committed.
fn name_at(block: Block) -> String {
    format!("{PREFIX}{}", block.0)
}

/// Equal weights for everybody else; for oneself where there is nobody else.
fn even_weights(metagraph: &Metagraph, own: &Hotkey) -> Vec<(Uid, u16)> {
    let others = metagraph.neurons.iter().filter(|neuron| neuron.hotkey != *own);
    let weights: Vec<_> = others.map(|neuron| (neuron.uid, u16::MAX)).collect();
    if weights.is_empty() { metagraph.neurons.iter().map(|neuron| (neuron.uid, u16::MAX)).collect() } else { weights }
}

/// A refusal by one of the `wanted` names is what a step wants to see.
fn refused(outcome: Result<(), PortError>, wanted: &[&str]) -> Step {
    match outcome {
        Err(error) if wanted.contains(&error.name.as_str()) => Ok(format!("refused by name: {}", error.name)),
        Err(error) => Err(format!("wanted a refusal by {}, got {}", wanted.join(" or "), named(&error))),
        Ok(()) => Err(format!("wanted a refusal by {}, and the chain took it", wanted.join(" or "))),
    }
}

fn named(error: &PortError) -> String {
    format!("{}: {}", error.name, error.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_commitment_is_a_bucket_that_a_reader_takes() {
        assert_eq!(BucketAddress::parse(&name_at(Block(u64::MAX))).unwrap().name, "bistro-smoke-18446744073709551615");
    }

    #[test]
    fn another_refusal_or_none_is_a_failure() {
        let error = |name: &str| PortError { name: name.into(), message: String::new(), retry: Retry::Never };
        assert!(refused(Err(error("UidNotFound")), &BAD_UID).is_ok());
        assert!(refused(Err(error("BadRequest")), &BAD_UID).is_err());
        assert!(refused(Ok(()), &BAD_UID).is_err());
    }
}
