//! Miners of each kind, honest and not, and a validator that is not.
//!
//! - this file: what there is, and how much each of it works.
//! - `attacker`: those that upload what they did not train.
//! - `trainer`: those that train, but not as the miner's program does.
//! - `others`: what they see of each other.
//! - `weight_copier`: a validator that judges nothing.

mod attacker;
mod others;
mod trainer;
mod weight_copier;

use std::time::Duration;

use bistro_core::params::ModelSpec;
use bistro_core::protocol::Encoding;
use bistro_core::rules::Rules;
use bistro_node::{NodeError, Parts, miner};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::chain::BLOCK_TIME;
use crate::subject::Furnished;
use attacker::Attacker;
use trainer::Trainer;
pub(crate) use weight_copier::copy_weights;

/// Blocks that a lazy miner waits before it works, so that it does not live on the first blocks of a run, when credit is new.
const LAZY_BEGINS: u32 = 100;

/// Blocks for which lazy and on-off miners work.
const ON: u32 = 20;

/// Blocks for which an on-off miner rests.
const OFF: u32 = 40;

/// Epochs that a miner that copies and trains sits out after each one that it works.
const IDLE: u32 = 3;

/// What a miner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Runs the miner's program.
    Honest,
    /// Runs it for twenty blocks of every sixty.
    OnOff,
    /// Runs it for twenty blocks, then uploads what it had then again and again.
    Lazy,
    /// Uploads zeros.
    Zero,
    /// Uploads small random numbers.
    Noise,
    /// Uploads another miner's values.
    Copy,
    /// Uploads them at half their size.
    RescaledCopy,
    /// Uploads them with noise of a tenth of their size.
    NoisyCopy,
    /// Uploads them with noise of two thirds of their size: a cosine of 0.84, no nearer than honest miners come to each other.
    DisguisedCopy,
    /// Uploads them and claims to have had them ten blocks earlier.
    BackdatedCopy,
    /// Uploads NaN.
    NotANumber,
    /// Uploads infinity.
    Infinity,
    /// Uploads numbers a million times too large.
    Huge,
    /// Names a base that is long gone.
    StaleBase,
    /// Puts its first manifest back again and again.
    Replay,
    /// Publishes another miner's manifest as its own.
    Impostor,
    /// Publishes a manifest and takes the object away.
    Withheld,
    /// Trains on a quarter of the pages, and uploads that on top of another miner's values.
    TrainedCopy,
    /// Learns its pages by heart, at three times the rate, and states a third more of them than it trained on.
    Exaggerate,
    /// Trains again and again on the very pages on which it is judged.
    Overfit,
    /// All miners of this kind share one trainer, and each uploads a part of what it trained.
    Sybil,
}

/// All kinds, in the order of tables.
pub const ALL: [Kind; 21] = [
    Kind::Honest,
    Kind::OnOff,
    Kind::Lazy,
    Kind::Zero,
    Kind::Noise,
    Kind::Copy,
    Kind::RescaledCopy,
    Kind::NoisyCopy,
    Kind::DisguisedCopy,
    Kind::BackdatedCopy,
    Kind::NotANumber,
    Kind::Infinity,
    Kind::Huge,
    Kind::StaleBase,
    Kind::Replay,
    Kind::Impostor,
    Kind::Withheld,
    Kind::TrainedCopy,
    Kind::Exaggerate,
    Kind::Overfit,
    Kind::Sybil,
];

impl Kind {
    /// The name in scenarios and reports.
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Whether it runs the miner's program all the time.
    pub fn is_honest(self) -> bool {
        self == Self::Honest
    }

    /// Work of all miners of this kind together over `blocks`, where an honest miner's is 1. What an attack itself costs is
    /// not counted: it trains nothing.
    pub fn work(self, blocks: u64) -> f64 {
        match self {
            Self::Honest | Self::Exaggerate | Self::Overfit | Self::Sybil => 1.0,
            Self::TrainedCopy => 1.0 / f64::from(IDLE + 1),
            Self::OnOff => {
                let (rounds, rest) = (blocks / u64::from(ON + OFF), blocks % u64::from(ON + OFF));
                (rounds * u64::from(ON) + rest.min(ON.into())) as f64 / blocks.max(1) as f64
            }
            Self::Lazy => blocks.saturating_sub(LAZY_BEGINS.into()).min(ON.into()) as f64 / blocks.max(1) as f64,
            _ => 0.0,
        }
    }
}

/// A miner of some kind, and what it needs.
pub struct Mining {
    /// What it does.
    pub kind: Kind,
    /// The world as it meets it.
    pub parts: Parts,
    /// The worlds of all whose uploads it makes, itself first; empty if another one makes its uploads.
    pub group: Vec<Parts>,
    /// Pages and model.
    pub build: Furnished,
    /// The run's rules.
    pub rules: Rules,
    /// Names and shapes of the model's tensors.
    pub spec: ModelSpec,
    /// Seed of its draws.
    pub seed: u64,
}

impl Mining {
    /// Mines until `stop`.
    pub async fn run(self, stop: CancellationToken) -> Result<(), NodeError> {
        match self.kind {
            Kind::Honest => self.honest(0, stop).await,
            Kind::OnOff => {
                for round in 0.. {
                    self.work_for_a_while(round, &stop).await?;
                    if rests(&stop, OFF).await {
                        break;
                    }
                }
                Ok(())
            }
            Kind::Lazy => {
                if rests(&stop, LAZY_BEGINS).await {
                    return Ok(());
                }
                self.work_for_a_while(0, &stop).await?;
                self.attack(stop).await
            }
            Kind::TrainedCopy | Kind::Exaggerate | Kind::Overfit | Kind::Sybil => {
                let Some(mut trainer) = Trainer::new(self)? else {
                    stop.cancelled().await;
                    return Ok(());
                };
                tokio::select! { biased; () = stop.cancelled() => Ok(()), outcome = trainer.work() => outcome }
            }
            _ => self.attack(stop).await,
        }
    }

    async fn attack(self, stop: CancellationToken) -> Result<(), NodeError> {
        let mut attacker = Attacker::new(self);
        tokio::select! { biased; () = stop.cancelled() => Ok(()), outcome = attacker.work() => outcome }
    }

    async fn work_for_a_while(&self, round: u64, stop: &CancellationToken) -> Result<(), NodeError> {
        let on = stop.child_token();
        let work = self.honest(round, on.clone());
        let end = async {
            tokio::time::sleep(BLOCK_TIME * ON).await;
            on.cancel();
        };
        tokio::join!(work, end).0
    }

    async fn honest(&self, round: u64, stop: CancellationToken) -> Result<(), NodeError> {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.seed.wrapping_add(round).to_le_bytes());
        let options = miner::Options { mechanism: None, encoding: Encoding::F32, batch_rows: 4, seed: bytes };
        miner::run(self.parts.clone(), &self.build, options, stop).await.map(|_| ())
    }
}

/// Does nothing for `blocks`; whether it was told to stop meanwhile.
async fn rests(stop: &CancellationToken, blocks: u32) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => true,
        () = tokio::time::sleep(BLOCK_TIME * blocks) => false,
    }
}

/// The next block, whatever becomes of the call.
async fn next_block(parts: &Parts, after: bistro_core::ids::Block) -> bistro_core::ids::Block {
    match parts.chain.next_block(after).await {
        Ok(next) => next,
        Err(_) => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            after
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_are_listed_once_and_named() {
        let names: std::collections::BTreeSet<String> = ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), ALL.len());
        for kind in ALL {
            assert_eq!(serde_json::from_str::<Kind>(&format!("\"{}\"", kind.name())).unwrap(), kind);
        }
    }

    #[test]
    fn work_is_counted_in_honest_miners() {
        let work = |kind: Kind, blocks| kind.work(blocks);
        assert!((work(Kind::OnOff, 600) - 1.0 / 3.0).abs() < 1e-12);
        assert!((work(Kind::OnOff, 70) - 30.0 / 70.0).abs() < 1e-12);
        assert!((work(Kind::Lazy, 2000) - 0.01).abs() < 1e-12);
        assert!((work(Kind::Lazy, 50) - 0.0).abs() < 1e-12);
        assert!(work(Kind::Copy, 2000).abs() < 1e-12 && (work(Kind::Honest, 9) - 1.0).abs() < 1e-12);
    }
}
