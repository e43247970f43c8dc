//! Miners of each kind, honest and not.

use std::time::Duration;

use bistro_core::ids::{Hash, Uid};
use bistro_core::params::{Params, Tensor};
use bistro_core::ports::{BucketAddress, Learner as _, PortError, Put, ReadLimits, Retry};
use bistro_core::protocol::{DeltaManifest, Encoding, Folder, MAX_MANIFEST_BYTES, Signed};
use bistro_node::leader::{self, Leader};
use bistro_node::miner::upload::{Parcel, Statement};
use bistro_node::{NodeError, Parts, miner};
use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::chain::BLOCK_TIME;
use crate::toy::{ToyBuild, ToyLearner};

/// What a miner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Runs the miner's program.
    Honest,
    /// Runs it for twenty blocks of every sixty.
    OnOff,
    /// Runs it for twenty blocks, and never again.
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
    /// Uploads NaN.
    NotANumber,
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
}

impl Kind {
    /// The name in scenarios and reports.
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Whether it runs the miner's program all the time.
    pub fn is_honest(self) -> bool {
        self == Self::Honest
    }
}

/// Mines as `kind` does until `stop`.
pub async fn run(
    kind: Kind,
    parts: Parts,
    page_time: Duration,
    seed: u64,
    stop: CancellationToken,
) -> Result<(), NodeError> {
    let blocks = |n: u32| tokio::time::sleep(BLOCK_TIME * n);
    match kind {
        Kind::Honest => honest(parts, page_time, seed, stop).await,
        Kind::OnOff | Kind::Lazy => {
            for round in 0.. {
                let on = stop.child_token();
                let work = honest(parts.clone(), page_time, seed + round, on.clone());
                let end = async {
                    blocks(20).await;
                    on.cancel();
                };
                tokio::join!(work, end).0?;
                let rest = async { if kind == Kind::Lazy { std::future::pending().await } else { blocks(40).await } };
                tokio::select! { biased; () = stop.cancelled() => break, () = rest => {} }
            }
            Ok(())
        }
        _ => {
            let mut attacker = Attacker { kind, parts, rng: ChaCha8Rng::seed_from_u64(seed), first: None };
            tokio::select! { biased; () = stop.cancelled() => Ok(()), outcome = attacker.work() => outcome }
        }
    }
}

async fn honest(parts: Parts, page_time: Duration, seed: u64, stop: CancellationToken) -> Result<(), NodeError> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let options = miner::Options { mechanism: None, encoding: Encoding::F32, batch_rows: 4, seed: bytes };
    miner::run(parts, &ToyBuild { page_time }, options, stop).await.map(|_| ())
}

/// A miner that does not train.
struct Attacker {
    kind: Kind,
    parts: Parts,
    rng: ChaCha8Rng,
    /// The manifest that was there first.
    first: Option<Bytes>,
}

impl Attacker {
    /// Attacks once a block. What fails is tried again at the next.
    async fn work(&mut self) -> Result<(), NodeError> {
        let mut block = self.parts.chain.head().await.unwrap_or_default();
        loop {
            if let Err(error) = self.attack().await {
                tracing::debug!(%error, kind = self.kind.name(), "no attack this time");
            }
            block = match self.parts.chain.next_block(block).await {
                Ok(next) => next,
                Err(_) => {
                    tokio::time::sleep(BLOCK_TIME).await;
                    block
                }
            };
        }
    }

    async fn attack(&mut self) -> Result<(), NodeError> {
        self.parts.chain.commit(&self.parts.own.address().to_string()).await?;
        let metagraph = self.parts.chain.metagraph().await?;
        let Some(leader) = leader::find(&self.parts, &metagraph).await? else { return Ok(()) };
        let me = self.parts.identity.hotkey();
        let uid = metagraph.neuron(&me).map_or(Uid(0), |n| n.uid);
        let latest = Folder::new(self.parts.netuid, &me).latest();
        match self.kind {
            Kind::Replay => {
                if let Some(first) = &self.first {
                    return Ok(self.parts.own.put(&latest, first.clone(), Put::Replace).await?);
                }
                let delta = self.random(1e-3);
                self.send(&leader, uid, &delta).await?;
                self.first = self.parts.own.get(&latest, MAX_MANIFEST_BYTES).await?;
                return Ok(());
            }
            Kind::Impostor => {
                let (_, bytes) = self.victim(&metagraph.neurons).await?;
                return Ok(self.parts.own.put(&latest, bytes, Put::Replace).await?);
            }
            _ => {}
        }
        let delta = match self.kind {
            Kind::Zero => self.random(0.0),
            Kind::NotANumber => self.random(f32::NAN),
            Kind::Huge => self.random(1e6),
            Kind::Copy => self.values(&metagraph.neurons).await?,
            Kind::RescaledCopy => self.scaled(&metagraph.neurons, 0.5, 0.0).await?,
            Kind::NoisyCopy => self.scaled(&metagraph.neurons, 1.0, 0.1).await?,
            _ => self.random(1e-2),
        };
        self.send(&leader, uid, &delta).await
    }

    async fn send(&mut self, leader: &Leader, uid: Uid, delta: &Params) -> Result<(), NodeError> {
        let (seq, hash) = match (self.kind, leader.manifest.chain.first()) {
            (Kind::StaleBase, Some(step)) => (step.seq.saturating_sub(1), step.parent),
            (Kind::StaleBase, None) => (0, Hash([1; 32])),
            _ => (leader.manifest.seq, leader.manifest.hash),
        };
        let block = self.parts.chain.head().await?;
        let rules = leader.manifest.rules;
        let statement =
            Statement { rules, base_seq: seq, base: hash, uid, block, encoding: Encoding::F32, steps: 9, tokens: 9 };
        Parcel::pack(&self.parts, &statement, delta).send(self.parts.clone()).await?;
        if self.kind == Kind::Withheld {
            let folder = Folder::new(self.parts.netuid, &self.parts.identity.hotkey());
            for key in self.parts.own.list(&format!("{}delta-", folder.prefix())).await? {
                self.parts.own.delete(&key).await?;
            }
        }
        Ok(())
    }

    /// Numbers up to `size`, or all of it where it is no number.
    fn random(&mut self, size: f32) -> Params {
        let spec = ToyLearner::default().spec();
        let tensor = |(name, shape): (&String, &Vec<usize>)| {
            let count = shape.iter().product();
            let data = (0..count).map(|_| (self.rng.random::<f32>() * 2.0 - 1.0) * size).collect();
            (name.clone(), Tensor::new(shape.clone(), data))
        };
        Params { tensors: spec.tensors.iter().map(tensor).collect() }
    }

    /// Another miner's newest manifest.
    async fn victim(&self, neurons: &[bistro_core::ports::Neuron]) -> Result<(DeltaManifest, Bytes), NodeError> {
        let limits = ReadLimits { max_bytes: 1 << 20, deadline: Duration::from_secs(20), min_bytes_per_second: 1024 };
        for neuron in neurons.iter().filter(|n| n.stake == 0 && n.hotkey != self.parts.identity.hotkey()) {
            let Some(text) = self.parts.chain.commitment(&neuron.hotkey).await? else { continue };
            let Ok(bucket) = BucketAddress::parse(&text) else { continue };
            let key = Folder::new(self.parts.netuid, &neuron.hotkey).latest();
            let Some(bytes) = self.parts.public.get(&bucket, &key, limits).await? else { continue };
            let verify = |key: &_, message: &[u8], signature: &_| self.parts.identity.verify(key, message, signature);
            if let Ok(signed) = Signed::<DeltaManifest>::from_json(&bytes, verify) {
                return Ok((signed.statement, bytes));
            }
        }
        let (name, message) = ("NoVictim".to_owned(), "nobody has uploaded anything".to_owned());
        Err(PortError { name, message, retry: Retry::Soon }.into())
    }

    /// Its values.
    async fn values(&self, neurons: &[bistro_core::ports::Neuron]) -> Result<Params, NodeError> {
        let (manifest, _) = self.victim(neurons).await?;
        let address = self.parts.chain.commitment(&manifest.hotkey).await?.unwrap_or_default();
        let bad = |message: String| PortError { name: "BadVictim".into(), message, retry: Retry::Soon };
        let bucket = BucketAddress::parse(&address).map_err(bad)?;
        let key = Folder::new(manifest.netuid, &manifest.hotkey).delta(manifest.block, &manifest.object);
        let limits =
            ReadLimits { max_bytes: manifest.size, deadline: Duration::from_mins(1), min_bytes_per_second: 1024 };
        let object = self.parts.public.get(&bucket, &key, limits).await?.unwrap_or_default();
        let spec = ToyLearner::default().spec();
        Ok(bistro_delta::decode_delta(&object, &spec, &(&manifest).into()).map_err(|skip| bad(skip.to_string()))?)
    }

    /// Its values times `scale`, with noise of `noise` times their size.
    async fn scaled(
        &mut self,
        neurons: &[bistro_core::ports::Neuron],
        scale: f32,
        noise: f32,
    ) -> Result<Params, NodeError> {
        let values = self.values(neurons).await?;
        let random = self.random(1.0);
        let ratio = (values.norm() / random.norm().max(1e-30)) as f32;
        let zero = values.minus(&values);
        Ok(zero.plus_scaled(&values, scale).plus_scaled(&random, noise * ratio))
    }
}
