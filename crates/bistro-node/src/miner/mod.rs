//! The miner's loop: follow the master, train on the own pages, upload the difference. While the model trains, the next
//! pages, the leader's news, the last upload and the last save are under way.
//!
//! - this file: the loop.
//! - [`start`]: from nothing, or from saved work, to the first epoch.
//! - [`news`]: a newer master, fetched while the model trains.
//! - [`upload`]: a delta into the own bucket: object first, pointer last.
//! - [`state`]: what survives a restart.
//! - `show`: what others see of it.

pub mod news;
mod show;
pub mod start;
pub mod state;
pub mod upload;

use std::sync::Arc;
use std::time::Duration;

use bistro_core::ids::{Block, Hash, Uid};
use bistro_core::mechanism::selection;
use bistro_core::pages::schedule;
use bistro_core::params::ModelSpec;
use bistro_core::ports::{Learner, Pages};
use bistro_core::protocol::Encoding;
use bistro_core::rules::{OnNewMaster, Rules};
use bistro_core::tokens::TokenBatch;
use rand_chacha::ChaCha20Rng;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::compute::{Meter, aside, compute, joined};
use crate::files::DataDir;
use crate::gather::gather;
use crate::leader::{self, Leader};
use crate::master::{Master, rebased};
use crate::{NodeError, Parts};
use news::{Ask, Newer, News};
pub use start::Options;
use state::State;
use upload::{Parcel, Statement};

/// How long an epoch waits for news that are nearly there. They have had a whole epoch to come.
const GRACE: Duration = Duration::from_millis(250);

/// How long an upload waits for the very newest master. A delta on an older one may be refused, and an epoch is lost.
const FRESH: Duration = Duration::from_secs(2);

/// How long the last upload may take when the program is told to stop.
const LAST_UPLOAD: Duration = Duration::from_mins(1);

/// A miner at work.
pub struct Miner {
    parts: Parts,
    rules: Arc<Rules>,
    digest: Hash,
    spec: Arc<ModelSpec>,
    learner: Box<dyn Learner>,
    pages: Arc<dyn Pages>,
    rng: ChaCha20Rng,
    data: Arc<DataDir>,
    state: State,
    base: Master,
    uid: Uid,
    encoding: Encoding,
    batch_rows: usize,
    meter: Meter,
    uploads: u64,
    /// The block at which the last epoch began.
    last_epoch: Block,
    /// Numbers of the pages drawn for the next epoch.
    drawn: Option<Vec<u64>>,
    /// Whom everybody follows, as far as is known.
    leader: Option<Leader>,
    looking: Option<AbortOnDropHandle<Result<Option<News>, NodeError>>>,
    sending: Option<AbortOnDropHandle<Result<(), NodeError>>>,
    saving: Option<JoinHandle<Result<(), NodeError>>>,
    /// Whether the base's file is the base.
    base_saved: bool,
}

/// What a miner did until it was stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Deltas uploaded by this process.
    pub uploads: u64,
    /// Optimizer steps whose work is not merged.
    pub steps: u64,
    /// Share of the time in which the model computed.
    pub compute_share: f64,
    /// Share of the time in which it waited for pages.
    pub page_wait_share: f64,
}

/// Runs until `stop`.
pub async fn run(
    parts: Parts,
    build: &dyn crate::Build,
    options: Options,
    stop: CancellationToken,
) -> Result<Summary, NodeError> {
    let mut m = Miner::start(Parts { stop, ..parts }, build, options).await?;
    m.look(None);
    m.catch_up(None).await?;
    while let Some(block) = m.next_epoch().await? {
        m.catch_up(Some(GRACE)).await?;
        let batch = m.local_pages(block).await?;
        m.look(None);
        if m.train(&batch).await? {
            // Work that survives a new master is uploaded on the newest one: on an older one it may be refused.
            if m.rebases() {
                m.catch_up(Some(GRACE)).await?;
                m.look(m.leader.clone());
                m.catch_up(Some(FRESH)).await?;
            }
            m.upload(block).await?;
            m.checkpoint().await?;
        }
    }
    m.finish().await
}

impl Miner {
    /// Whether unmerged work survives a new master.
    fn rebases(&self) -> bool {
        matches!(self.rules.mechanism.miner.on_new_master, OnNewMaster::Rebase { .. })
    }

    /// The chain's head, or `None` when it is time to stop.
    async fn next_epoch(&mut self) -> Result<Option<Block>, NodeError> {
        if self.parts.stop.is_cancelled() {
            return Ok(None);
        }
        self.parts.pulse.beat("asking for the newest block");
        match self.parts.chain.head().await {
            Ok(block) => self.state.head = block.max(self.state.head),
            Err(error) => tracing::warn!(%error, "the chain does not answer; training goes on at the last known block"),
        }
        self.show();
        Ok(Some(self.state.head))
    }

    /// Begins to look for news, unless that is under way: at the master of the `known` leader, or at whoever leads.
    fn look(&mut self, known: Option<Leader>) {
        if self.looking.is_none() {
            let ask = Ask {
                parts: self.parts.aside(),
                rules: self.rules.clone(),
                digest: self.digest,
                spec: self.spec.clone(),
                base: self.base.clone(),
                followed: self.leader.clone(),
            };
            self.looking = Some(AbortOnDropHandle::new(tokio::spawn(ask.look(known))));
        }
    }

    /// Follows the leader to the master that was found, if it is there within `patience` (without one: until `stop`).
    async fn catch_up(&mut self, patience: Option<Duration>) -> Result<(), NodeError> {
        let Some(mut looking) = self.looking.take() else { return Ok(()) };
        let whole = leader::large(bistro_delta::max_master_size(&self.spec)).deadline;
        self.parts.pulse.beat_within("waiting for the leader's news", patience.unwrap_or(whole));
        let enough = async {
            match patience {
                Some(patience) => self.parts.clock.sleep(patience).await,
                None => self.parts.stop.cancelled().await,
            }
        };
        let news = tokio::select! {
            biased;
            news = joined(&mut looking) => news?,
            () = enough => {
                self.looking = Some(looking);
                return Ok(());
            }
        };
        let Some(News { uid, leader, newer }) = news else { return Ok(()) };
        self.uid = uid.unwrap_or(self.uid);
        self.parts.board.miner(|miner| miner.followed(self.parts.identity.hotkey(), &leader.manifest));
        self.leader = Some(leader);
        match newer {
            Some(newer) => self.follow(newer),
            None => Ok(()),
        }
    }

    /// Moves on to a newer master, with the unmerged work or without it, as the rules say.
    fn follow(&mut self, Newer { master, connected, own, others }: Newer) -> Result<(), NodeError> {
        let (from, to) = (self.base.seq, master.seq);
        let mut kept = None;
        match self.rules.mechanism.miner.on_new_master {
            OnNewMaster::Rebase { keep } if connected => {
                let keep = if others { keep } else { 1.0 };
                let model = self.learner.params()?;
                let moved = compute(|| {
                    rebased(&model, &self.base.params, &master.params, own.as_ref().map(|own| &own.params), keep)
                });
                self.learner.load(&moved)?;
                if let Some(own) = &own {
                    self.begin_count(own.pages.as_deref());
                }
                kept = Some(keep);
                tracing::info!(from, to, own = own.is_some(), keep, "rebased on the new master");
            }
            _ => {
                self.learner.load(&master.params)?;
                self.learner.reset_optimizer();
                self.begin_count(None);
                tracing::info!(from, to, "reset to the new master");
            }
        }
        (self.base, self.base_saved) = (master, false);
        (self.state.base_seq, self.state.base) = (self.base.seq, self.base.hash);
        self.show_move(from, own.is_some(), kept);
        Ok(())
    }

    /// What is trained from here on is not merged yet; nor is what was trained on other pages than `merged` (`None`: than
    /// all).
    fn begin_count(&mut self, merged: Option<&[u64]>) {
        (self.state.steps, self.state.tokens) = (0, 0);
        let State { pages, done, .. } = &mut self.state;
        done.extend(pages.extract_if(.., |page| merged.is_none_or(|merged| merged.contains(page))));
    }

    /// Numbers of the next epoch's pages, drawn once from the window that validators will judge.
    fn draw(&mut self) -> Vec<u64> {
        let Self { rules, pages, state, rng, .. } = self;
        // When the next epoch begins, the window will have moved on by about as much as it did in the last one.
        let ahead = state.head.since(self.last_epoch);
        let drawn = self.drawn.get_or_insert_with(|| {
            let window = rules.mechanism.window.trained_numbers(pages.index(), Block(state.head.0 + ahead));
            let count = rules.mechanism.miner.pages_per_epoch;
            // A page counts once, and teaches most the first time.
            let new = |page: &u64| !state.pages.contains(page) && !state.done.contains(page);
            let new: Vec<u64> = window.clone().filter(new).collect();
            let from = if new.len() < count { window.collect() } else { new };
            selection::sample(&from, count, rng)
        });
        drawn.clone()
    }

    /// These pages, or others of the window where one cannot be had: those are not stated as trained on.
    async fn gather(&mut self, numbers: &[u64]) -> Result<TokenBatch, NodeError> {
        let Self { parts, rules, pages, state, uid, rng, .. } = self;
        let window = rules.mechanism.window;
        let wanted = schedule::pages(pages.index(), *uid, numbers);
        let mut used = wanted.clone();
        let others = || window.trained(pages.index(), state.head, *uid);
        let batch = gather(parts, pages, &mut used, || selection::sample(&others(), 1, rng).pop()).await?;
        let had = numbers.iter().zip(&wanted).zip(&used).filter(|((_, wanted), used)| wanted == used);
        state.pages.extend(had.map(|((number, _), _)| number));
        let oldest = window.claimable(pages.index(), state.head).start;
        for pages in [&mut state.pages, &mut state.done] {
            *pages = pages.split_off(&oldest);
        }
        Ok(batch)
    }

    /// This epoch's pages; the next epoch's are fetched from now on.
    async fn local_pages(&mut self, block: Block) -> Result<TokenBatch, NodeError> {
        let now = self.draw();
        self.drawn = None;
        let next = self.draw();
        self.last_epoch = block;
        let batch = self.gather(&now).await?;
        self.pages.want(&schedule::pages(self.pages.index(), self.uid, &next));
        Ok(batch)
    }

    /// Trains on the batch, step by step; false if it was cut short by a stop. Where work survives
    /// a new master, it asks for news once more before the last step: they are then here when the work is to be uploaded.
    async fn train(&mut self, batch: &TokenBatch) -> Result<bool, NodeError> {
        let (mut sum, mut steps, mut tokens, begun) = (0.0, 0_u64, 0_u64, self.parts.clock.elapsed());
        let mut pieces = batch.chunks(self.batch_rows).peekable();
        while let Some(piece) = pieces.next() {
            if self.parts.stop.is_cancelled() {
                return Ok(false);
            }
            if self.rebases() && steps > 0 && pieces.peek().is_none() {
                self.catch_up(Some(Duration::ZERO)).await?;
                self.look(self.leader.clone());
            }
            let report = self.meter.model(|| self.learner.train_step(&piece))?;
            sum += report.loss;
            steps += 1;
            tokens += report.tokens as u64;
            let busy = self.parts.clock.elapsed().saturating_sub(begun);
            self.parts.board.miner(|miner| miner.stepped(report.tokens as u64, tokens, busy));
        }
        self.state.steps += steps;
        self.state.tokens += tokens;
        let loss = sum / steps.max(1) as f64;
        tracing::info!(block = %self.state.head, base = self.base.seq, steps = self.state.steps, tokens, loss, "trained");
        let time = self.parts.clock.unix_millis();
        self.parts.board.miner(|miner| miner.trained(time, loss, self.state.steps));
        Ok(steps > 0)
    }

    /// Begins to upload the whole unmerged work. If the last upload is still under way, this one is left out: the next
    /// holds the same and more.
    async fn upload(&mut self, block: Block) -> Result<(), NodeError> {
        if !self.sent(Duration::ZERO).await? {
            tracing::info!("the last upload is still under way; this epoch's work goes with the next");
            self.parts.board.miner(|miner| miner.uploads_delayed += 1);
            return Ok(());
        }
        let delta = compute(|| Ok::<_, NodeError>(self.learner.params()?.minus(&self.base.params)))?;
        if delta.norm() <= 0.0 {
            tracing::info!(base = self.base.seq, "nothing that helps the newest master; nothing is uploaded");
            return Ok(());
        }
        let statement = Statement {
            rules: self.digest,
            base_seq: self.base.seq,
            base: self.base.hash,
            uid: self.uid,
            block,
            encoding: self.encoding,
            steps: self.state.steps,
            tokens: self.state.tokens,
            pages: self.state.pages.iter().copied().collect(),
        };
        let parts = self.parts.aside();
        self.sending = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            // Encoding takes as long as some steps of training: it has a thread of its own, too.
            let packing = aside({
                let parts = parts.clone();
                move || Parcel::pack(&parts, &statement, &delta)
            });
            joined(packing).await.send(parts).await
        })));
        Ok(())
    }

    /// Whether no upload is under way, after waiting for at most `patience`.
    async fn sent(&mut self, patience: Duration) -> Result<bool, NodeError> {
        let Some(mut sending) = self.sending.take() else { return Ok(true) };
        self.parts.pulse.beat_within("waiting for the last upload", patience);
        tokio::select! {
            biased;
            sent = joined(&mut sending) => sent?,
            () = self.parts.clock.sleep(patience) => {
                self.sending = Some(sending);
                return Ok(false);
            }
        }
        self.uploads += 1;
        Ok(true)
    }

    /// Ends what is under way.
    async fn finish(mut self) -> Result<Summary, NodeError> {
        self.looking = None;
        if !self.sent(LAST_UPLOAD).await? {
            tracing::warn!("the last upload took too long and is given up; the one before it stands");
            self.sending = None;
        }
        self.settle().await?;
        self.checkpoint().await?;
        self.saved().await?;
        Ok(Summary {
            uploads: self.uploads,
            steps: self.state.steps,
            compute_share: self.meter.share(),
            page_wait_share: self.meter.share_of(self.pages.waited()),
        })
    }
}
