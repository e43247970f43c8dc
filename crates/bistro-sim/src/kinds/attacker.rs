//! Miners that upload what they did not train.

use bistro_core::ids::{Block, Hash, Uid};
use bistro_core::params::{ModelSpec, Params, Tensor};
use bistro_core::ports::{Neuron, Put};
use bistro_core::protocol::{Encoding, Folder, MAX_MANIFEST_BYTES, MAX_STATED_PAGES};
use bistro_node::leader::{self, Leader};
use bistro_node::miner::upload::{Parcel, Statement};
use bistro_node::{NodeError, Parts};
use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{Kind, Mining, next_block, others};

/// Blocks by which a backdated copy claims to be older than it is.
const BACKDATED: u64 = 10;

/// A miner that does not train.
pub(super) struct Attacker {
    kind: Kind,
    parts: Parts,
    spec: ModelSpec,
    rng: ChaCha8Rng,
    /// The manifest that was there first.
    first: Option<Bytes>,
    /// What a lazy miner shows again.
    kept: Option<Params>,
}

impl Attacker {
    pub(super) fn new(mining: Mining) -> Self {
        let Mining { kind, parts, spec, seed, .. } = mining;
        Self { kind, parts, spec, rng: ChaCha8Rng::seed_from_u64(seed), first: None, kept: None }
    }

    /// Attacks once a block. What fails is tried again at the next.
    pub(super) async fn work(&mut self) -> Result<(), NodeError> {
        let mut block = self.parts.chain.head().await.unwrap_or_default();
        loop {
            if let Err(error) = self.attack().await {
                tracing::debug!(%error, kind = self.kind.name(), "no attack this time");
            }
            block = next_block(&self.parts, block).await;
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
                let (_, bytes) = others::newest(&self.parts, &metagraph.neurons).await?;
                return Ok(self.parts.own.put(&latest, bytes, Put::Replace).await?);
            }
            _ => {}
        }
        let delta = match self.kind {
            Kind::Zero => self.random(0.0),
            Kind::NotANumber => self.random(f32::NAN),
            Kind::Infinity => self.random(f32::INFINITY),
            Kind::Huge => self.random(1e6),
            Kind::Lazy => self.kept().await?,
            Kind::Copy | Kind::BackdatedCopy => self.copied(&metagraph.neurons, 1.0, 0.0).await?,
            Kind::RescaledCopy => self.copied(&metagraph.neurons, 0.5, 0.0).await?,
            Kind::NoisyCopy => self.copied(&metagraph.neurons, 1.0, 0.1).await?,
            Kind::DisguisedCopy => self.copied(&metagraph.neurons, 1.0, 0.65).await?,
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
        let head = self.parts.chain.head().await?;
        let block = if self.kind == Kind::BackdatedCopy { Block(head.0.saturating_sub(BACKDATED)) } else { head };
        let rules = leader.manifest.rules;
        let statement = Statement {
            rules,
            base_seq: seq,
            base: hash,
            uid,
            block,
            encoding: Encoding::F32,
            steps: 9,
            tokens: 9,
            pages: self.claims(leader, head).await?,
        };
        Parcel::pack(&self.parts, &statement, delta).send(self.parts.clone()).await?;
        if self.kind == Kind::Withheld {
            let folder = Folder::new(self.parts.netuid, &self.parts.identity.hotkey());
            for key in self.parts.own.list(&format!("{}delta-", folder.prefix())).await? {
                self.parts.own.delete(&key).await?;
            }
        }
        Ok(())
    }

    /// Pages that it says it was trained on: as many of the newest as can be stated, none of which it has seen.
    async fn claims(&mut self, leader: &Leader, head: Block) -> Result<Vec<u64>, NodeError> {
        let rules = leader.rules(&self.parts).await?;
        let claimable = rules.mechanism.window.claimable(&rules.dataset, head);
        Ok((claimable.end.saturating_sub(MAX_STATED_PAGES as u64)..claimable.end).collect())
    }

    /// Numbers up to `size`, or all of it where it is no number.
    fn random(&mut self, size: f32) -> Params {
        let tensor = |(name, shape): (&String, &Vec<usize>)| {
            let count = shape.iter().product();
            let data = (0..count).map(|_| (self.rng.random::<f32>() * 2.0 - 1.0) * size).collect();
            (name.clone(), Tensor::new(shape.clone(), data))
        };
        Params { tensors: self.spec.tensors.iter().map(tensor).collect() }
    }

    /// What the own bucket held when the work ended.
    async fn kept(&mut self) -> Result<Params, NodeError> {
        if self.kept.is_none() {
            let own = others::manifest(&self.parts, &self.parts.identity.hotkey()).await?;
            let (manifest, _) = own.ok_or_else(|| others::missing("nothing was ever uploaded"))?;
            self.kept = Some(others::values(&self.parts, &self.spec, &manifest).await?);
        }
        Ok(self.kept.clone().unwrap_or_default())
    }

    /// Another miner's values times `scale`, with noise of `noise` times their size.
    async fn copied(&mut self, neurons: &[Neuron], scale: f32, noise: f32) -> Result<Params, NodeError> {
        let (manifest, _) = others::newest(&self.parts, neurons).await?;
        let values = others::values(&self.parts, &self.spec, &manifest).await?;
        if scale.to_bits() == 1.0_f32.to_bits() && noise <= 0.0 {
            return Ok(values);
        }
        let random = self.random(1.0);
        let ratio = (values.norm() / random.norm().max(1e-30)) as f32;
        let zero = values.minus(&values);
        Ok(zero.plus_scaled(&values, scale).plus_scaled(&random, noise * ratio))
    }
}
