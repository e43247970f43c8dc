//! The validator's loop, held against the README's pseudo-code line by line.
//!
//! - this file: the loop.
//! - [`start`]: from nothing, or from a state file, to the first turn.
//! - `glances`: what every bucket names, block by block.
//! - [`turn`]: whose turn it is, and its delta on the way.
//! - `ready`: what the model does while it waits for one.
//! - [`trial`]: a delta on the model: losses, and the verdict they lead to.
//! - [`state`]: what survives a restart.
//! - `snapshots`: masters stored whole, beside the loop.
//! - `show`: what others see of it.

mod glances;
mod ready;
mod show;
mod snapshots;
pub mod start;
pub mod state;
pub mod trial;
pub mod turn;

use std::sync::Arc;
use std::time::Duration;

use bistro_core::events::{Checkpoint, Event, Judged, Record};
use bistro_core::ids::{Block, Hash, Hotkey};
use bistro_core::ledger::Slots;
use bistro_core::mechanism::{Evidence, Verdict, selection};
use bistro_core::pages::{PageId, schedule};
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
use crate::log::published::Publisher;
use crate::master::Master;
use crate::publish::{self, AcceptedObject};
use crate::weights::{Offer, Offers};
use crate::{NodeError, Parts};
use ready::Ready;
use snapshots::Snapshots;
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
    publisher: Publisher,
    snapshots: Snapshots,
    /// Who holds which slot, as the log has it.
    slots: Slots,
    state: State,
    master: Master,
    lineage: Arc<MasterManifest>,
    metagraph: Metagraph,
    offers: Offers,
    /// Sets what is offered, and ends with this: it writes into the same log.
    _setting: AbortOnDropHandle<()>,
    head: Block,
    /// Whether this validator's master is the one that everybody follows.
    leads: bool,
    /// Turns in a row that ended in a skip.
    skips: usize,
    meter: Meter,
    /// Since when no delta was found to judge.
    fruitless_since: Option<Duration>,
    /// The turn that comes next, its delta on the way.
    upcoming: Option<Upcoming>,
    /// Global pages for the next trial, and the master's loss on them.
    ready: Option<Ready>,
    /// Global pages that were drawn for a turn which had others in the end.
    spare: Option<Vec<PageId>>,
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
    let parts = Parts { stop, ..parts };
    let mut v = Validator::start(parts, build, options).await?; //      master = init_model(); upload( master )
    v.measure().await?;
    while let Some((mut turn, downloaded)) = v.next_turn().await? {
        //                         loop:                                      uid = random.choice( metagraph.uids )
        let delta = match v.open(&mut turn, downloaded) {
            Ok(delta) => delta, //                                            delta = get_delta( uid )
            Err((skip, object)) => {
                v.skip(&turn.miner, skip, object).await?; //                  a miner's fault is a value, never an error
                continue;
            }
        };
        v.blame(&delta).await?;
        let judged = match v.judge(&mut turn, &delta).await? {
            Outcome::Judged(judged) => judged, //                             add_delta; local_loss, global_loss = eval( … )
            Outcome::Skip(skip) => {
                v.skip(&turn.miner, skip, Some(delta.manifest.object)).await?;
                continue;
            }
        };
        v.score(&judged)?; //                      ½ moving_average( -local_loss ) + ½ moving_average( -global_loss ), or gains
        v.offer_weights(); //                      softmax( weights * temperature ); subtensor.set_weights( weights )
        match judged.verdict {
            Verdict::Accept(_) => v.accept(&judged, delta).await?, //         min_loss = global_loss; upload( master, delta )
            Verdict::Reject => {} //                                          remove_delta: the master was never touched
        }
        v.checkpoint().await?;
    }
    v.finish().await
}

/// Who holds which slot.
fn slots(metagraph: &Metagraph) -> Slots {
    metagraph.neurons.iter().map(|neuron| (neuron.hotkey, neuron.uid)).collect()
}

/// The newest master that took, or may have taken, a delta of `hotkey` (see [`Judged::merged_by`]).
fn merged_by(lineage: &MasterManifest, hotkey: &Hotkey) -> u64 {
    let known = lineage.chain.iter().rev().find(|step| step.hotkey == *hotkey).map(|step| step.seq);
    known.unwrap_or_else(|| lineage.seq.saturating_sub(lineage.chain.len() as u64))
}

impl Validator {
    /// Writes down what happened, and takes it into the ledger. In this order: what is in the ledger is in the log, whenever
    /// the program ends.
    fn record(&mut self, event: Event) -> Result<(), NodeError> {
        let record = self.log.append(self.head, event)?;
        self.take_in(&record);
        Ok(())
    }

    fn take_in(&mut self, record: &Record) {
        self.state.ledger.apply(&self.rules.mechanism, record.block, &record.event);
        self.state.log = record.seq + 1;
    }

    fn log_checkpoint(&self) -> Event {
        let (rules, slots) = (Rules::clone(&self.rules), self.slots.clone());
        let mut ledger = self.state.ledger.clone();
        ledger.scores.retain(|hotkey| slots.contains_key(hotkey));
        Event::Checkpoint(Box::new(Checkpoint { rules, ledger, slots }))
    }

    /// Moves on to the chain's head; false when it is time to stop. A round of skips waits for the next block: nothing new
    /// can be there before.
    async fn next_block(&mut self) -> Result<bool, NodeError> {
        if self.parts.stop.is_cancelled() {
            return Ok(false);
        }
        let idle = self.is_idle_after(0);
        self.parts.pulse.beat("waiting for a block");
        let (stop, begun) = (self.parts.stop.clone(), self.parts.clock.elapsed());
        let head = tokio::select! {
            () = stop.cancelled() => return Ok(false),
            head = self.wait_for_head(idle) => head,
        };
        self.head = head.max(self.head);
        if idle {
            self.skips = 0;
            // There was nothing to judge in the turns before, either.
            self.meter.idle_since(self.fruitless_since.take().unwrap_or(begun));
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
                self.parts.clock.sleep(Duration::from_secs(3)).await;
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
        let slots = slots(&self.metagraph);
        if slots != self.slots {
            self.slots = slots.clone();
            self.record(Event::Neurons { slots })?;
        }
        let Self { state, metagraph, .. } = self;
        state.retain(|hotkey| metagraph.neuron(hotkey).is_some());
        if metagraph.neuron(&self.parts.identity.hotkey()).is_none() {
            let (hotkey, netuid) = (self.parts.identity.hotkey(), self.parts.netuid);
            return Err(NodeError::NotRegistered { hotkey, netuid });
        }
        let found = match leader::find_after(&self.lineage, &self.parts, &self.metagraph).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the leader could not be read; nothing changes");
                return self.renew().await;
            }
        };
        let led = std::mem::replace(
            &mut self.leads,
            leader::leads(&self.metagraph, &self.parts.identity.hotkey(), found.as_ref()),
        );
        if self.leads != led {
            tracing::info!(leads = self.leads, "who publishes the master has changed");
        }
        self.renew().await?;
        match found {
            Some(leader) if leader.manifest.hotkey != self.parts.identity.hotkey() => self.follow(leader).await,
            _ => Ok(()),
        }
    }

    /// Renews the own pointer, so that nobody takes this validator for a silent one.
    async fn renew(&mut self) -> Result<(), NodeError> {
        let own = self.lineage.hotkey == self.parts.identity.hotkey();
        if self.leads && own && self.head.since(self.lineage.block) >= leader::RENEW_BLOCKS {
            self.lineage = publish::renew(&self.parts, self.head, &self.lineage).await?.into();
        }
        Ok(())
    }

    /// Moves on to another leader's newest master; and if this validator is to lead from here on, publishes it under its own
    /// name: whoever follows finds the same master there, and every later one.
    async fn follow(&mut self, leader: Leader) -> Result<(), NodeError> {
        if leader.manifest.rules != self.digest {
            return Ok(());
        }
        let newest = leader.manifest.hash;
        if newest != self.master.hash {
            self.move_to(leader).await?;
        }
        if self.leads && newest == self.master.hash {
            tracing::info!(seq = self.master.seq, "taking over from the leader before");
            let published = publish::master(&self.parts, &self.rules, self.head, &self.master, None, None).await?;
            self.lineage = published.into();
        }
        Ok(())
    }

    async fn move_to(&mut self, leader: Leader) -> Result<(), NodeError> {
        match leader.master(&self.parts, &self.spec, Some(&self.master)).await {
            Ok(master) => {
                let event = Event::Followed { hotkey: leader.manifest.hotkey, seq: master.seq, hash: master.hash };
                self.record(event)?;
                (self.master, self.lineage) = (master, Arc::new(leader.manifest));
            }
            Err(error) => tracing::warn!(%error, "the leader's master could not be followed"),
        }
        Ok(())
    }

    async fn skip(&mut self, miner: &Neuron, skip: Skip, object: Option<Hash>) -> Result<(), NodeError> {
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
        let fault = skip.reason.is_fault();
        self.record(Event::Skipped { uid: miner.uid, hotkey: miner.hotkey, object, skip })?;
        if fault {
            self.offer_weights();
        }
        self.checkpoint().await
    }

    /// Whoever copied this delta before it was judged is treated as if it had been refused.
    async fn blame(&mut self, delta: &Delta) -> Result<(), NodeError> {
        for Copier { hotkey, skip } in &delta.copiers {
            if let Some(copier) = self.metagraph.neuron(hotkey).cloned() {
                let skips = self.skips;
                self.skip(&copier, skip.clone(), None).await?;
                self.skips = skips;
            }
        }
        Ok(())
    }

    async fn judge(&mut self, turn: &mut Turn, delta: &Delta) -> Result<Outcome, NodeError> {
        (self.skips, self.fruitless_since) = (0, None);
        let Self { parts, rules, pages, rng, .. } = self;
        let Turn { block, miner, local_pages, trained, .. } = turn;
        let evidence = || rules.mechanism.window.evidence(pages.index(), *block, miner.uid, trained);
        let local = gather(parts, pages, local_pages, || selection::sample(&evidence(), 1, rng).pop()).await?;
        let mut another = || Some(schedule::global_page(pages.index(), rng));
        let (global, master_loss) = match self.ready.take() {
            Some(ready) => (ready.batch, Some(ready.loss)),
            None => (gather(parts, pages, &mut turn.global_pages, &mut another).await?, None),
        };
        let proof = gather(parts, pages, &mut turn.proof_pages, &mut another).await?;
        let trial = Trial {
            rules,
            acceptance: &self.state.ledger.acceptance,
            master: &self.master,
            turn,
            local: &local,
            global: &global,
            master_loss,
            proof: &proof,
            merged_by: merged_by(&self.lineage, &turn.miner.hotkey),
        };
        Ok(trial.run(self.learner.as_mut(), &mut self.meter, delta)?)
    }

    /// Writes the verdict down; with that it is in the scores.
    fn score(&mut self, judged: &Judged) -> Result<(), NodeError> {
        tracing::info!(
            block = %self.head, uid = %judged.uid, hotkey = judged.hotkey.short(), base = judged.base_seq,
            local_loss = judged.local_loss, global_loss = judged.global_loss, master_loss = judged.master_loss,
            accepted = matches!(judged.verdict, Verdict::Accept(_)), "judged"
        );
        self.record(Event::Judged(Box::new(judged.clone())))
    }

    /// Offers what the scores are worth after the newest record.
    fn offer_weights(&mut self) {
        let weights = self.state.ledger.weights(&self.rules.mechanism, &self.slots);
        if !weights.is_empty() {
            self.offers.send_replace(Some(Offer { after: self.state.log - 1, weights }));
        } else if let Some(Evidence { found, asked, verdicts }) = self.evidence().filter(Evidence::is_early) {
            tracing::info!(found, asked, verdicts, "nobody is paid yet: it takes more evidence to tell who trained");
        }
    }

    /// What premiums have shown of who trained, where pay asks for that.
    fn evidence(&self) -> Option<Evidence> {
        self.state.ledger.scores.evidence(&self.rules.mechanism.scoring)
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
        // What a master rests on is on the disk before the master is published.
        self.log.sync()?;
        let (object, global_loss) = (Some(step.object), Some(step.global_loss));
        let accepted = AcceptedObject { step, object: delta.object, manifest: delta.manifest_bytes };
        self.lineage = Arc::new(self.publish(&next, accepted).await?);
        self.master = next;
        (self.state.master_seq, self.state.master) = (self.master.seq, self.master.hash);
        tracing::info!(seq = self.master.seq, uid = %judged.uid, scale = candidate.scale, global_loss = candidate.loss, "new master");
        self.record(Event::Published { seq: self.master.seq, hash: self.master.hash, object, global_loss })?;
        if self.master.seq.is_multiple_of(publish::SNAPSHOT_EVERY) { self.measure().await } else { Ok(()) }
    }

    /// Publishes `next`, one step after the newest master: under the own name, if that was another's.
    async fn publish(&mut self, next: &Master, accepted: AcceptedObject) -> Result<MasterManifest, NodeError> {
        let Self { parts, rules, snapshots, lineage, .. } = self;
        if lineage.hotkey != parts.identity.hotkey() {
            return publish::master(parts, rules, self.head, next, None, Some(accepted)).await;
        }
        let stored = snapshots.stored(parts, &self.master, lineage).await?;
        let own = MasterManifest::clone(lineage);
        let own = if let Some(snapshot) = stored { publish::naming(own, snapshot) } else { own };
        let published = publish::master(parts, rules, self.head, next, Some(&own), Some(accepted)).await?;
        if stored.is_some() {
            publish::tidy(parts, &published).await;
        }
        snapshots.offer(next, &published);
        Ok(published)
    }

    /// Measures the master on the run's yardstick, for people who follow the run.
    async fn measure(&mut self) -> Result<(), NodeError> {
        let batch = trial::yardstick(&self.parts, &self.pages, self.digest).await?;
        let loss = self.meter.model(|| {
            self.learner.load(&self.master.params)?;
            self.learner.loss(&batch)
        })?;
        tracing::info!(seq = self.master.seq, loss, "measured the master");
        self.record(Event::Measured { seq: self.master.seq, hash: self.master.hash, loss })
    }

    /// Saves what the turn changed: first the log, then the state that rests on it.
    async fn checkpoint(&mut self) -> Result<(), NodeError> {
        if self.log.is_long() {
            let checkpoint = self.log.roll(self.head, self.log_checkpoint())?;
            self.take_in(&checkpoint);
        }
        self.show();
        self.log.sync()?;
        self.data.save(state::FILE, &self.state)?;
        self.publisher.offer(self.head).await;
        Ok(())
    }

    /// Stores the newest master whole, so that anybody can load what was reached.
    async fn finish(mut self) -> Result<Summary, NodeError> {
        self.measure().await?;
        self.data.save(state::FILE, &self.state)?;
        if self.leads && self.lineage.hotkey == self.parts.identity.hotkey() {
            // One of an older master is not needed any more.
            drop(self.snapshots);
            self.lineage = publish::snapshot_now(&self.parts, self.head, &self.master, &self.lineage).await?.into();
        }
        self.publisher.finish(self.head).await;
        Ok(Summary {
            seq: self.master.seq,
            hash: self.master.hash,
            compute_share: self.meter.share(),
            page_wait_share: self.meter.share_of(self.pages.waited()),
        })
    }
}
