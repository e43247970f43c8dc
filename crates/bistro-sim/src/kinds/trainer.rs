//! Miners that train, but not as the miner's program does: on the pages on which they are judged, or for several hotkeys at
//! once.

use std::collections::BTreeSet;

use bistro_core::ids::{Block, Hotkey, Uid};
use bistro_core::pages::{DatasetIndex, Window, schedule};
use bistro_core::params::{Params, Tensor};
use bistro_core::ports::Learner as _;
use bistro_core::protocol::Encoding;
use bistro_core::rules::{OnNewMaster, Rules};
use bistro_node::leader::{self, Leader};
use bistro_node::master::{Master, rebased};
use bistro_node::miner::upload::{Parcel, Statement};
use bistro_node::{Build as _, NodeError, Parts};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{Kind, Mining, next_block};
use crate::toy::{ToyBuild, ToyLearner};

/// A trainer behind one hotkey or several.
pub(super) struct Trainer {
    kind: Kind,
    /// Where it uploads; the first hotkey's pages are those that it trains on.
    group: Vec<Parts>,
    build: ToyBuild,
    rng: ChaCha8Rng,
    learner: ToyLearner,
    base: Option<Master>,
    /// Numbers of the pages that each hotkey can say it trained on since its last merge.
    stated: Vec<BTreeSet<u64>>,
}

impl Trainer {
    /// `None` if another one makes this miner's uploads.
    pub(super) fn new(mining: Mining) -> Option<Self> {
        let Mining { kind, group, build, seed, .. } = mining;
        let (rng, learner) = (ChaCha8Rng::seed_from_u64(seed), ToyLearner::default());
        let stated = vec![BTreeSet::new(); group.len()];
        (!group.is_empty()).then_some(Self { kind, group, build, rng, learner, base: None, stated })
    }

    /// Trains without end. What fails is tried again at the next block.
    pub(super) async fn work(&mut self) -> Result<(), NodeError> {
        loop {
            if let Err(error) = self.epoch().await {
                tracing::debug!(%error, kind = self.kind.name(), "an epoch is lost");
                let head = self.group[0].chain.head().await.unwrap_or_default();
                next_block(&self.group[0], head).await;
            }
        }
    }

    async fn epoch(&mut self) -> Result<(), NodeError> {
        for parts in &self.group {
            parts.chain.commit(&parts.own.address().to_string()).await?;
        }
        let parts = self.group[0].clone();
        let metagraph = parts.chain.metagraph().await?;
        let Some(leader) = leader::find(&parts, &metagraph).await? else {
            next_block(&parts, metagraph.block).await;
            return Ok(());
        };
        let rules = leader.rules(&parts).await?;
        let pages = self.build.pages(&rules)?;
        let uids: Vec<Uid> =
            self.group.iter().filter_map(|p| Some(metagraph.neuron(&p.identity.hotkey())?.uid)).collect();
        if uids.is_empty() {
            return Ok(());
        }
        self.follow(&leader, &rules).await?;
        // Each hotkey in turn states pages of its own.
        for i in 0..rules.mechanism.miner.pages_per_epoch {
            let whose = i % uids.len();
            let number = self.draw(&rules, pages.index(), metagraph.block);
            for piece in pages.page(&schedule::page(pages.index(), uids[whose], number)).await?.chunks(4) {
                self.learner.train_step(&piece)?;
            }
            self.stated[whose].insert(number);
        }
        self.upload(&leader, &uids).await
    }

    /// Number of a page to train on: of the window on which it is judged now, or of the next as everybody.
    fn draw(&mut self, rules: &Rules, index: &DatasetIndex, block: Block) -> u64 {
        let Window { pages, look_ahead, .. } = rules.mechanism.window;
        let trained = rules.mechanism.window.trained_numbers(index, block);
        let from = if self.kind == Kind::Overfit { trained.start.saturating_sub(look_ahead) } else { trained.start };
        self.rng.random_range(from..from + pages)
    }

    /// Moves on to the newest master as the miner's program does, for all hotkeys as one.
    async fn follow(&mut self, leader: &Leader, rules: &Rules) -> Result<(), NodeError> {
        let spec = self.learner.spec();
        let master = leader.master(&self.group[0], &spec, self.base.as_ref()).await?;
        let steps = self.base.as_ref().and_then(|base| leader.manifest.steps_after(base.seq));
        let (Some(base), Some(steps)) = (&self.base, steps) else {
            self.learner.load(&master.params)?;
            self.base = Some(master);
            return Ok(());
        };
        let hotkeys: Vec<Hotkey> = self.group.iter().map(|parts| parts.identity.hotkey()).collect();
        let mut own = Params::zeros(&spec);
        for step in steps {
            let Some(whose) = hotkeys.iter().position(|hotkey| *hotkey == step.hotkey) else { continue };
            self.stated[whose].clear();
            own = own.plus_scaled(&leader.accepted(&self.group[0], &spec, step).await?, step.scale);
        }
        let keep = match rules.mechanism.miner.on_new_master {
            OnNewMaster::Rebase { keep } if steps.iter().any(|step| !hotkeys.contains(&step.hotkey)) => keep,
            _ => 1.0,
        };
        let moved = rebased(&self.learner.params()?, &base.params, &master.params, Some(&own), keep);
        self.learner.load(&moved)?;
        self.base = Some(master);
        Ok(())
    }

    /// Each hotkey's part of the unmerged work.
    async fn upload(&mut self, leader: &Leader, uids: &[Uid]) -> Result<(), NodeError> {
        let Some(base) = &self.base else { return Ok(()) };
        let delta = self.learner.params()?.minus(&base.params);
        let block = self.group[0].chain.head().await?;
        for (i, (parts, uid)) in self.group.iter().zip(uids).enumerate() {
            let statement = Statement {
                rules: leader.manifest.rules,
                base_seq: base.seq,
                base: base.hash,
                uid: *uid,
                block,
                encoding: Encoding::F32,
                steps: 9,
                tokens: 9,
                pages: self.stated[i].iter().copied().collect(),
            };
            Parcel::pack(parts, &statement, &part(&delta, i, uids.len())).send(parts.clone()).await?;
        }
        Ok(())
    }
}

/// Every `of`-th number from number `i` on; zeros elsewhere.
fn part(delta: &Params, i: usize, of: usize) -> Params {
    let tensor = |tensor: &Tensor| {
        let keep = |(at, value): (usize, &f32)| if at % of == i { *value } else { 0.0 };
        Tensor::new(tensor.shape.clone(), tensor.data.iter().enumerate().map(keep).collect())
    };
    Params { tensors: delta.tensors.iter().map(|(name, t)| (name.clone(), tensor(t))).collect() }
}
