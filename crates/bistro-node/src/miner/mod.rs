//! The miner's loop: follow the master, train on the own pages, upload the difference.
//!
//! - this file: the loop.
//! - [`start`]: from nothing, or from saved work, to the first epoch.
//! - [`upload`]: a delta into the own bucket: object first, pointer last.
//! - [`state`]: what survives a restart.

pub mod start;
pub mod state;
pub mod upload;

use std::sync::Arc;

use bistro_core::ids::{Block, Hash, Hotkey, Uid};
use bistro_core::mechanism::selection;
use bistro_core::params::{ModelSpec, Params};
use bistro_core::ports::{Learner, Pages};
use bistro_core::protocol::{Accepted, Encoding};
use bistro_core::rules::{OnNewMaster, Rules};
use bistro_core::tokens::TokenBatch;
use rand_chacha::ChaCha20Rng;
use tokio_util::sync::CancellationToken;

use crate::compute::compute;
use crate::files::DataDir;
use crate::leader::{self, Leader};
use crate::master::{Master, rebased};
use crate::{NodeError, Parts};
pub use start::Options;
use state::State;

/// Shares of the unmerged work that are tried on a new master.
const KEPT_SHARES: [f32; 4] = [1.0, 0.5, 0.25, 0.0];

/// Sequences by which they are judged: about a second on one core for `nano`.
const SAMPLE_ROWS: usize = 4;

/// A miner at work.
pub struct Miner {
    parts: Parts,
    rules: Rules,
    digest: Hash,
    spec: ModelSpec,
    learner: Box<dyn Learner>,
    pages: Arc<dyn Pages>,
    rng: ChaCha20Rng,
    data: DataDir,
    state: State,
    base: Master,
    uid: Uid,
    encoding: Encoding,
    batch_rows: usize,
    stop: CancellationToken,
}

/// What a miner did until it was stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Deltas uploaded by this process.
    pub uploads: u64,
    /// Optimizer steps whose work is not merged.
    pub steps: u64,
}

/// Runs until `stop`.
pub async fn run(
    parts: Parts,
    build: &dyn crate::Build,
    options: Options,
    stop: CancellationToken,
) -> Result<Summary, NodeError> {
    let mut m = Miner::start(parts, build, options, stop).await?;
    let mut uploads = 0;
    while let Some(block) = m.next_epoch().await? {
        let rebase = m.rules.mechanism.miner.on_new_master == OnNewMaster::Rebase;
        if !rebase {
            m.catch_up().await?;
        }
        let batch = m.local_pages(block).await?;
        if m.train(&batch)? {
            // Work that survives a new master is uploaded on the newest one: on an older one it may be refused.
            if rebase {
                m.catch_up().await?;
            }
            m.upload(block).await?;
            m.checkpoint()?;
            uploads += 1;
        }
    }
    m.checkpoint()?;
    Ok(Summary { uploads, steps: m.state.steps })
}

impl Miner {
    /// The chain's head, or `None` when it is time to stop.
    async fn next_epoch(&mut self) -> Result<Option<Block>, NodeError> {
        if self.stop.is_cancelled() {
            return Ok(None);
        }
        match self.parts.chain.head().await {
            Ok(block) => self.state.head = block.max(self.state.head),
            Err(error) => tracing::warn!(%error, "the chain does not answer; training goes on at the last known block"),
        }
        Ok(Some(self.state.head))
    }

    /// Follows the leader to its newest master.
    async fn catch_up(&mut self) -> Result<(), NodeError> {
        match self.newer_master().await? {
            Some(leader) => self.follow(&leader).await,
            None => Ok(()),
        }
    }

    /// The leader, if it has published another master than the own base. Trouble on the way is no reason to stop training.
    async fn newer_master(&mut self) -> Result<Option<Leader>, NodeError> {
        let metagraph = match self.parts.chain.metagraph().await {
            Ok(metagraph) => metagraph,
            Err(error) => {
                tracing::warn!(%error, "the metagraph could not be read");
                return Ok(None);
            }
        };
        let (hotkey, netuid) = (self.parts.identity.hotkey(), self.parts.netuid);
        self.uid = metagraph.neuron(&hotkey).ok_or(NodeError::NotRegistered { hotkey, netuid })?.uid;
        let leader = match leader::find(&self.parts, &metagraph).await {
            Ok(Some(leader)) => leader,
            Ok(None) => return Ok(None),
            Err(error) => {
                tracing::warn!(%error, "the leader could not be read");
                return Ok(None);
            }
        };
        if leader.manifest.rules != self.digest {
            return Err(NodeError::RulesDiffer(self.rules.differences(&leader.rules(&self.parts).await?)));
        }
        Ok((leader.manifest.hash != self.base.hash).then_some(leader))
    }

    /// Moves on to the leader's master, with the unmerged work or without it, as the rules say.
    async fn follow(&mut self, leader: &Leader) -> Result<(), NodeError> {
        let new = match leader.master(&self.parts, &self.spec, Some(&self.base)).await {
            Ok(new) => new,
            Err(error) => {
                tracing::warn!(%error, "the new master could not be read; training goes on from the old one");
                return Ok(());
            }
        };
        let steps = leader.manifest.steps_after(self.base.seq);
        let connected = leader.manifest.hash_of(self.base.seq) == Some(self.base.hash);
        match (self.rules.mechanism.miner.on_new_master, steps) {
            (OnNewMaster::Rebase, Some(steps)) if connected => {
                let own = self.own_part(leader, steps).await?;
                let sample = self.sample().await?;
                let keep = compute(|| self.rebase(&new.params, own.as_ref(), &sample))?;
                if own.is_some() {
                    (self.state.steps, self.state.tokens) = (0, 0);
                }
                tracing::info!(
                    from = self.base.seq,
                    to = new.seq,
                    own = own.is_some(),
                    keep,
                    "rebased on the new master"
                );
            }
            _ => {
                self.learner.load(&new.params)?;
                self.learner.reset_optimizer();
                (self.state.steps, self.state.tokens) = (0, 0);
                tracing::info!(from = self.base.seq, to = new.seq, "reset to the new master");
            }
        }
        self.base = new;
        self.save_base()
    }

    /// Moves the model to the new master with as much of the unmerged work as helps there, judged as a validator would: by
    /// the loss on pages not trained on. What others merged may hold the same already, and added on top it would only
    /// overshoot, now and in every later delta. Returns the share that was kept.
    fn rebase(&mut self, new: &Params, own: Option<&Params>, sample: &TokenBatch) -> Result<f32, NodeError> {
        let moved = rebased(&self.learner.params()?, &self.base.params, new, own);
        let unmerged = moved.minus(new);
        let mut best = (f64::INFINITY, 0.0);
        for share in KEPT_SHARES {
            self.learner.load(&new.plus_scaled(&unmerged, share))?;
            let loss = self.learner.loss(sample)?;
            if loss < best.0 {
                best = (loss, share);
            }
        }
        self.learner.load(&new.plus_scaled(&unmerged, best.1))?;
        Ok(best.1)
    }

    /// Some sequences of the pages that come next, to judge by.
    async fn sample(&mut self) -> Result<TokenBatch, NodeError> {
        let window = self.rules.mechanism.window.trained(self.pages.index(), self.state.head, self.uid);
        let drawn = selection::sample(&window, 1, &mut self.rng);
        let page = crate::validator::trial::batch(&self.pages, &drawn).await?;
        Ok(page.chunks(SAMPLE_ROWS).next().unwrap_or_default())
    }

    /// What the master took from this very miner in `steps`.
    async fn own_part(&self, leader: &Leader, steps: &[Accepted]) -> Result<Option<Params>, NodeError> {
        let me: Hotkey = self.parts.identity.hotkey();
        let mut own: Option<Params> = None;
        for step in steps.iter().filter(|step| step.hotkey == me) {
            let delta = leader.accepted(&self.parts, &self.spec, step).await?;
            let sum = own.unwrap_or_else(|| Params::zeros(&self.spec));
            own = Some(sum.plus_scaled(&delta, step.scale));
        }
        Ok(own)
    }

    /// The epoch's pages, drawn from the window that the validators will judge next.
    async fn local_pages(&mut self, block: Block) -> Result<TokenBatch, NodeError> {
        let window = self.rules.mechanism.window.trained(self.pages.index(), block, self.uid);
        let drawn = selection::sample(&window, self.rules.mechanism.miner.pages_per_epoch, &mut self.rng);
        Ok(crate::validator::trial::batch(&self.pages, &drawn).await?)
    }

    /// Trains on the batch, step by step; false if it was cut short by a stop.
    fn train(&mut self, batch: &TokenBatch) -> Result<bool, NodeError> {
        let (mut sum, mut steps, mut tokens) = (0.0, 0_u64, 0_u64);
        for piece in batch.chunks(self.batch_rows) {
            if self.stop.is_cancelled() {
                return Ok(false);
            }
            let report = compute(|| self.learner.train_step(&piece))?;
            sum += report.loss;
            steps += 1;
            tokens += report.tokens as u64;
        }
        self.state.steps += steps;
        self.state.tokens += tokens;
        let loss = sum / steps.max(1) as f64;
        tracing::info!(block = %self.state.head, base = self.base.seq, steps = self.state.steps, tokens, loss, "trained");
        Ok(steps > 0)
    }

    async fn upload(&mut self, block: Block) -> Result<(), NodeError> {
        let delta = compute(|| Ok::<_, NodeError>(self.learner.params()?.minus(&self.base.params)))?;
        if delta.norm() <= 0.0 {
            tracing::info!(base = self.base.seq, "nothing that helps the newest master; nothing is uploaded");
            return Ok(());
        }
        let statement = upload::Statement {
            rules: self.digest,
            base: &self.base,
            uid: self.uid,
            block,
            encoding: self.encoding,
            steps: self.state.steps,
            tokens: self.state.tokens,
        };
        upload::upload(&self.parts, &statement, &delta, &mut self.state.uploaded).await
    }
}
