//! Miners that train, but not as the miner's program does: on the pages on which they are judged, for several hotkeys at
//! once, or now and then, on top of what others trained.

use std::collections::{BTreeSet, VecDeque};

use bistro_core::ids::{Block, Hotkey, Uid};
use bistro_core::pages::{DatasetIndex, Window, schedule};
use bistro_core::params::{ModelSpec, Params, Tensor};
use bistro_core::ports::Learner;
use bistro_core::protocol::Encoding;
use bistro_core::rules::{OnNewMaster, Rules};
use bistro_node::leader::{self, Leader};
use bistro_node::master::{Master, rebased};
use bistro_node::miner::upload::{Parcel, Statement};
use bistro_node::{Build as _, NodeError, Parts};
use rand::SeedableRng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

use super::{Kind, Mining, next_block, others};
use crate::subject::Furnished;

/// Uploads whose own part is remembered: one of them may be merged.
const SENT: usize = 64;

/// A trainer behind one hotkey or several.
pub(super) struct Trainer {
    kind: Kind,
    /// Where it uploads; the first hotkey's pages are those that it trains on.
    group: Vec<Parts>,
    build: Furnished,
    spec: ModelSpec,
    rng: ChaCha8Rng,
    learner: Box<dyn Learner>,
    base: Option<Master>,
    /// Numbers of the pages that each hotkey can say it trained on since its last merge.
    stated: Vec<BTreeSet<u64>>,
    /// Those that it has said it of before.
    done: Vec<BTreeSet<u64>>,
    /// Epochs so far.
    epochs: u32,
    /// Pages trained on so far.
    trained: u32,
    /// What was uploaded on top of others' values, with the own part of it.
    sent: VecDeque<(Params, Params)>,
}

impl Trainer {
    /// `None` if another one makes this miner's uploads.
    pub(super) fn new(mining: Mining) -> Result<Option<Self>, NodeError> {
        let Mining { kind, group, build, rules, spec, seed, .. } = mining;
        if group.is_empty() {
            return Ok(None);
        }
        let rate = if kind == Kind::Exaggerate { 3.0 } else { 1.0 };
        let (rng, learner) = (ChaCha8Rng::seed_from_u64(seed), build.subject.learner(&rules, rate)?);
        let stated = vec![BTreeSet::new(); group.len()];
        let (done, sent) = (stated.clone(), VecDeque::new());
        Ok(Some(Self { kind, group, build, spec, rng, learner, base: None, stated, done, epochs: 0, trained: 0, sent }))
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
        let idles = self.kind == Kind::TrainedCopy && !self.epochs.is_multiple_of(super::IDLE + 1);
        self.epochs += 1;
        // Each hotkey in turn states pages of its own.
        for i in 0..rules.mechanism.miner.pages_per_epoch {
            let whose = i % uids.len();
            let number = self.draw(whose, &rules, pages.index(), metagraph.block);
            let page = pages.page(&schedule::page(pages.index(), uids[whose], number)).await?;
            // An idle epoch takes as long as one of work.
            if !idles {
                for piece in page.chunks(4) {
                    self.learner.train_step(&piece)?;
                }
                self.stated[whose].insert(number);
                self.trained += 1;
            }
            if self.kind == Kind::Exaggerate && self.trained.is_multiple_of(3) {
                let number = self.draw(whose, &rules, pages.index(), metagraph.block);
                self.stated[whose].insert(number);
            }
        }
        let copied = match self.kind {
            Kind::TrainedCopy => {
                let (manifest, _) = others::newest(&parts, &metagraph.neurons).await?;
                Some(others::values(&parts, &self.spec, &manifest).await?)
            }
            _ => None,
        };
        self.upload(&leader, &uids, copied).await
    }

    /// Number of a page to train on: of the window on which it is judged now, or of the next as everybody. None twice, as it
    /// counts once.
    fn draw(&mut self, whose: usize, rules: &Rules, index: &DatasetIndex, block: Block) -> u64 {
        let Window { pages, look_ahead, .. } = rules.mechanism.window;
        let trained = rules.mechanism.window.trained_numbers(index, block);
        let from = if self.kind == Kind::Overfit { trained.start.saturating_sub(look_ahead) } else { trained.start };
        let is_new = |page: &u64| !self.stated[whose].contains(page) && !self.done[whose].contains(page);
        let new: Vec<u64> = (from..from + pages).filter(is_new).collect();
        new.choose(&mut self.rng).copied().unwrap_or(from)
    }

    /// Moves on to the newest master as the miner's program does, for all hotkeys as one.
    async fn follow(&mut self, leader: &Leader, rules: &Rules) -> Result<(), NodeError> {
        let master = leader.master(&self.group[0], &self.spec, self.base.as_ref()).await?;
        let steps = self.base.as_ref().and_then(|base| leader.manifest.steps_after(base.seq));
        let (Some(base), Some(steps)) = (&self.base, steps) else {
            self.learner.load(&master.params)?;
            self.base = Some(master);
            return Ok(());
        };
        let hotkeys: Vec<Hotkey> = self.group.iter().map(|parts| parts.identity.hotkey()).collect();
        let mut own = Params::zeros(&self.spec);
        for step in steps {
            let Some(whose) = hotkeys.iter().position(|hotkey| *hotkey == step.hotkey) else { continue };
            let stated = std::mem::take(&mut self.stated[whose]);
            self.done[whose].extend(stated);
            let taken = leader.accepted(&self.group[0], &self.spec, step).await?;
            let of_it = self.sent.iter().find(|(sent, _)| *sent == taken).map(|(_, own)| own);
            own = own.plus_scaled(of_it.unwrap_or(&taken), step.scale);
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

    /// Each hotkey's part of the unmerged work, on top of what was `copied`.
    async fn upload(&mut self, leader: &Leader, uids: &[Uid], copied: Option<Params>) -> Result<(), NodeError> {
        let Some(base) = &self.base else { return Ok(()) };
        let mut delta = self.learner.params()?.minus(&base.params);
        if let Some(copied) = copied {
            let own = delta;
            delta = own.plus_scaled(&copied, 1.0);
            self.sent.push_back((delta.clone(), own));
            self.sent.drain(..self.sent.len().saturating_sub(SENT));
        }
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
