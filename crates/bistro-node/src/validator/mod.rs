//! The validator's loop, held against the README's pseudo-code line by line.
//!
//! - this file: the loop.
//! - [`start`]: from nothing, or from a state file, to the first turn.
//! - `glances`: what every bucket names, block by block.
//! - [`turn`]: whose turn it is, and its delta on the way.
//! - [`trial`]: a delta on the model: losses, and the verdict they lead to.
//! - [`state`]: what survives a restart.
//! - `show`: what others see of it.

mod glances;
mod show;
pub mod start;
pub mod state;
pub mod trial;
pub mod turn;

use std::sync::Arc;

use bistro_core::events::{Event, Judged};
use bistro_core::ids::{Block, Hash, Hotkey};
use bistro_core::mechanism::{Verdict, selection, weights};
use bistro_core::pages::schedule;
use bistro_core::params::ModelSpec;
use bistro_core::ports::{Learner, Metagraph, Neuron, Pages};
use bistro_core::protocol::{Accepted, MasterManifest};
use bistro_core::rules::Rules;
use bistro_core::skip::{Reason, Skip};
use rand_chacha::ChaCha20Rng;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::compute::{Meter, compute};
use crate::fetch::{Copier, Delta};
use crate::files::DataDir;
use crate::gather::gather;
use crate::leader::{self, Leader};
use crate::log::EventLog;
use crate::master::Master;
use crate::publish::{self, AcceptedObject};
use crate::weights::{Offer, Offers};
use crate::{NodeError, Parts};
pub use start::Options;
use state::State;
use trial::{Outcome, Trial};
use turn::{Turn, Upcoming};

/// Blocks after which the metagraph is read anew: a minute on Bittensor's networks.
const METAGRAPH_BLOCKS: u64 = 5;

/// A validator at work.
pub struct Validator {
    parts: Parts,
    rules: Arc<Rules>,
    digest: Hash,
    spec: Arc<ModelSpec>,
    learner: Box<dyn Learner>,
    pages: Arc<dyn Pages>,
    rng: ChaCha20Rng,
    data: DataDir,
    log: EventLog,
    state: State,
    master: Master,
    lineage: Arc<MasterManifest>,
    metagraph: Metagraph,
    offers: Offers,
    stop: CancellationToken,
    head: Block,
    /// Whether this validator's master is the one that everybody follows.
    leads: bool,
    /// Turns in a row that ended in a skip.
    skips: usize,
    meter: Meter,
    /// The turn that comes next, its delta on the way.
    upcoming: Option<Upcoming>,
    /// What was seen in everybody's buckets.
    glances: mpsc::Receiver<glances::Glances>,
    _looking_around: AbortOnDropHandle<()>,
}

/// What a validator did until it was stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The newest master.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// Share of the time with deltas to judge in which the model computed.
    pub compute_share: f64,
    /// Share of that time in which it waited for pages.
    pub page_wait_share: f64,
}

/// Runs until `stop`. The comments are the README's pseudo-code.
pub async fn run(
    parts: Parts,
    build: &dyn crate::Build,
    options: Options,
    stop: CancellationToken,
) -> Result<Summary, NodeError> {
    let mut v = Validator::start(parts, build, options, stop).await?; //      master = init_model(); upload( master )
    v.measure().await?;
    while let Some((mut turn, downloaded)) = v.next_turn().await? {
        //                         loop:                                      uid = random.choice( metagraph.uids )
        let delta = match v.open(&turn, downloaded) {
            Ok(delta) => delta, //                                            delta = get_delta( uid )
            Err((skip, object)) => {
                v.skip(&turn.miner, skip, object)?; //                        a miner's fault is a value, never an error
                continue;
            }
        };
        v.blame(&delta)?;
        let judged = match v.judge(&mut turn, &delta).await? {
            Outcome::Judged(judged) => judged, //                             add_delta; local_loss, global_loss = eval( … )
            Outcome::Skip(skip) => {
                v.skip(&turn.miner, skip, Some(delta.manifest.object))?;
                continue;
            }
        };
        v.score(&judged); //                       ½ moving_average( -local_loss ) + ½ moving_average( -global_loss ), or gains
        v.offer_weights(); //                      softmax( weights * temperature ); subtensor.set_weights( weights )
        match judged.verdict {
            Verdict::Accept(_) => v.accept(&judged, delta).await?, //         min_loss = global_loss; upload( master, delta )
            Verdict::Reject => {} //                                          remove_delta: the master was never touched
        }
        v.checkpoint(judged)?;
    }
    v.finish().await
}

/// Whether `me` publishes: it has the most stake, or nobody with more has published (`found` is what everybody follows).
fn leads(metagraph: &Metagraph, me: &Hotkey, found: Option<&Leader>) -> bool {
    let first = metagraph.by_authority().first().is_none_or(|first| first.hotkey == *me);
    first || found.is_some_and(|leader| leader.manifest.hotkey == *me)
}

/// The newest master that took, or may have taken, a delta of `hotkey` (see [`Judged::merged_by`]).
fn merged_by(lineage: &MasterManifest, hotkey: &Hotkey) -> u64 {
    let known = lineage.chain.iter().rev().find(|step| step.hotkey == *hotkey).map(|step| step.seq);
    known.unwrap_or_else(|| lineage.seq.saturating_sub(lineage.chain.len() as u64))
}

impl Validator {
    /// Moves on to the chain's head; false when it is time to stop. A round of skips waits for the next block: nothing new
    /// can be there before.
    async fn next_block(&mut self) -> Result<bool, NodeError> {
        if self.stop.is_cancelled() {
            return Ok(false);
        }
        let idle = self.is_idle_after(0);
        self.parts.pulse.beat("waiting for a block");
        let (stop, begun) = (self.stop.clone(), self.parts.clock.elapsed());
        let head = tokio::select! {
            () = stop.cancelled() => return Ok(false),
            head = self.wait_for_head(idle) => head,
        };
        self.head = head.max(self.head);
        if idle {
            self.skips = 0;
            self.meter.idle_since(begun);
        }
        if self.head.since(self.metagraph.block) >= METAGRAPH_BLOCKS {
            self.refresh().await?;
        }
        self.show();
        Ok(true)
    }

    async fn wait_for_head(&self, idle: bool) -> Block {
        let asked = if idle { self.parts.chain.next_block(self.head).await } else { self.parts.chain.head().await };
        match asked {
            Ok(block) => block,
            Err(error) => {
                tracing::warn!(%error, "the chain does not answer; judging goes on at the last known block");
                self.parts.clock.sleep(std::time::Duration::from_secs(3)).await;
                self.head
            }
        }
    }

    /// Reads the metagraph anew, forgets hotkeys that left, and follows the leader's master if another one leads.
    async fn refresh(&mut self) -> Result<(), NodeError> {
        self.parts.pulse.beat("reading the metagraph");
        match self.parts.chain.metagraph().await {
            Ok(metagraph) => self.metagraph = metagraph,
            Err(error) => {
                tracing::warn!(%error, "the metagraph could not be read");
                return Ok(());
            }
        }
        let Self { state, metagraph, .. } = self;
        state.retain(|hotkey| metagraph.neuron(hotkey).is_some());
        if metagraph.neuron(&self.parts.identity.hotkey()).is_none() {
            let (hotkey, netuid) = (self.parts.identity.hotkey(), self.parts.netuid);
            return Err(NodeError::NotRegistered { hotkey, netuid });
        }
        let found = match leader::find(&self.parts, &self.metagraph).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the leader could not be looked for");
                return Ok(());
            }
        };
        self.leads = leads(&self.metagraph, &self.parts.identity.hotkey(), found.as_ref());
        match found {
            Some(leader) if !self.leads && leader.manifest.rules == self.digest => self.follow(leader).await,
            _ => Ok(()),
        }
    }

    /// Takes over the leader's newest master.
    async fn follow(&mut self, leader: Leader) -> Result<(), NodeError> {
        if leader.manifest.hash == self.master.hash {
            return Ok(());
        }
        match leader.master(&self.parts, &self.spec, Some(&self.master)).await {
            Ok(master) => {
                let event = Event::Followed { hotkey: leader.manifest.hotkey, seq: master.seq, hash: master.hash };
                self.log.append(self.head, event)?;
                (self.master, self.lineage) = (master, Arc::new(leader.manifest));
            }
            Err(error) => tracing::warn!(%error, "the leader's master could not be followed"),
        }
        Ok(())
    }

    fn skip(&mut self, miner: &Neuron, skip: Skip, object: Option<Hash>) -> Result<(), NodeError> {
        self.skips += 1;
        // What repeats every block until the miner acts is told once.
        if !self.state.told(&miner.hotkey, &skip, object) {
            return Ok(());
        }
        tracing::info!(uid = %miner.uid, hotkey = miner.hotkey.short(), reason = skip.reason.name(), detail = skip.detail, "skipped");
        if skip.reason == Reason::Copied {
            let until = Block(self.head.0 + self.rules.mechanism.deltas.copy_suspends);
            self.state.memory.suspended.insert(miner.hotkey, until);
        }
        if skip.reason.is_fault() {
            self.state.scores.fault(&self.rules.mechanism.scoring, &miner.hotkey);
            self.offer_weights();
        }
        self.log.append(self.head, Event::Skipped { uid: miner.uid, hotkey: miner.hotkey, object, skip })?;
        self.data.save(state::FILE, &self.state)
    }

    /// Whoever copied this delta before it was judged is treated as if it had been refused.
    fn blame(&mut self, delta: &Delta) -> Result<(), NodeError> {
        for Copier { hotkey, skip } in &delta.copiers {
            if let Some(copier) = self.metagraph.neuron(hotkey).cloned() {
                let skips = self.skips;
                self.skip(&copier, skip.clone(), None)?;
                self.skips = skips;
            }
        }
        Ok(())
    }

    async fn judge(&mut self, turn: &mut Turn, delta: &Delta) -> Result<Outcome, NodeError> {
        self.skips = 0;
        let Self { parts, rules, pages, rng, .. } = self;
        let window = rules.mechanism.window.judged(pages.index(), turn.block, turn.miner.uid);
        let another = || selection::sample(&window, 1, rng).pop();
        let local = gather(parts, pages, &mut turn.local_pages, another).await?;
        let mut another = || Some(schedule::global_page(pages.index(), rng));
        let global = gather(parts, pages, &mut turn.global_pages, &mut another).await?;
        let proof = gather(parts, pages, &mut turn.proof_pages, &mut another).await?;
        let trial = Trial {
            rules,
            acceptance: &self.state.acceptance,
            master: &self.master,
            turn,
            local: &local,
            global: &global,
            proof: &proof,
            merged_by: merged_by(&self.lineage, &turn.miner.hotkey),
        };
        Ok(trial.run(self.learner.as_mut(), &mut self.meter, delta)?)
    }

    fn score(&mut self, judged: &Judged) {
        let rules = &self.rules.mechanism.scoring;
        self.state.scores.observe(rules, &judged.observation(rules, self.head));
    }

    fn offer_weights(&mut self) {
        let shares = weights::shares(&self.state.scores, &self.rules.mechanism.scoring, &self.metagraph);
        let weights = weights::to_u16(&shares);
        if !weights.is_empty() {
            self.offers.send_replace(Some(Offer { weights }));
        }
    }

    /// The candidate becomes the master, if this validator leads; a follower's verdict only scores.
    async fn accept(&mut self, judged: &Judged, delta: Delta) -> Result<(), NodeError> {
        let Verdict::Accept(candidate) = judged.verdict else { return Ok(()) };
        if !self.leads {
            return Ok(());
        }
        self.parts.pulse.beat("adding the delta to the master");
        let next = compute(|| self.master.next(&delta.params, candidate.scale));
        let step = Accepted {
            seq: next.seq,
            hash: next.hash,
            parent: self.master.hash,
            uid: judged.uid,
            hotkey: judged.hotkey,
            object: judged.object,
            size: delta.manifest.size,
            encoding: delta.manifest.encoding,
            base_seq: judged.base_seq,
            scale: candidate.scale,
            block: self.head,
            global_loss: candidate.loss,
        };
        let accepted = AcceptedObject { step, object: delta.object, manifest: delta.manifest_bytes };
        let own = (self.lineage.hotkey == self.parts.identity.hotkey()).then_some(&*self.lineage);
        self.lineage =
            Arc::new(publish::master(&self.parts, &self.rules, self.head, &next, own, Some(accepted)).await?);
        self.master = next;
        self.state.acceptance.merged(&self.rules.mechanism.acceptance, candidate.loss);
        (self.state.master_seq, self.state.master) = (self.master.seq, self.master.hash);
        tracing::info!(seq = self.master.seq, uid = %judged.uid, scale = candidate.scale, global_loss = candidate.loss, "new master");
        self.log.append(self.head, Event::Published { seq: self.master.seq, hash: self.master.hash })?;
        if self.master.seq.is_multiple_of(publish::SNAPSHOT_EVERY) { self.measure().await } else { Ok(()) }
    }

    /// Measures the master on the run's yardstick, for people who follow the run.
    async fn measure(&mut self) -> Result<(), NodeError> {
        let batch = trial::yardstick(&self.parts, &self.pages, self.digest).await?;
        let loss = self.meter.model(|| {
            self.learner.load(&self.master.params)?;
            self.learner.loss(&batch)
        })?;
        tracing::info!(seq = self.master.seq, loss, "measured the master");
        self.log.append(self.head, Event::Measured { seq: self.master.seq, hash: self.master.hash, loss })
    }

    fn checkpoint(&mut self, judged: Box<Judged>) -> Result<(), NodeError> {
        tracing::info!(
            block = %self.head, uid = %judged.uid, hotkey = judged.hotkey.short(), base = judged.base_seq,
            local_loss = judged.local_loss, global_loss = judged.global_loss, master_loss = judged.master_loss,
            accepted = matches!(judged.verdict, Verdict::Accept(_)), "judged"
        );
        self.log.append(self.head, Event::Judged(judged))?;
        self.show();
        self.data.save(state::FILE, &self.state)
    }

    /// Stores the newest master whole, so that anybody can load what was reached.
    async fn finish(mut self) -> Result<Summary, NodeError> {
        self.measure().await?;
        if self.leads && self.lineage.hotkey == self.parts.identity.hotkey() {
            self.lineage = publish::snapshot_now(&self.parts, self.head, &self.master, &self.lineage).await?.into();
        }
        self.data.save(state::FILE, &self.state)?;
        Ok(Summary {
            seq: self.master.seq,
            hash: self.master.hash,
            compute_share: self.meter.share(),
            page_wait_share: self.meter.share_of(self.pages.waited()),
        })
    }
}
