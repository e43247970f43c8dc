//! Whose turn it is, and its delta on the way: the next one is downloaded and looked into, and its pages are fetched, while
//! this one is judged, so that the model does not wait.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use bistro_core::ids::Block;
use bistro_core::mechanism::selection;
use bistro_core::pages::{DatasetIndex, PageId, schedule};
use bistro_core::ports::Neuron;
use bistro_core::rules::Mechanism;
use bistro_core::skip::{Reason, Skip};
use rand::{Rng, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use tokio_util::task::AbortOnDropHandle;

use super::Validator;
use crate::NodeError;
use crate::compute::joined;
use crate::fetch::{Delta, Download, Fetcher, Refusal};

/// One miner's turn.
pub struct Turn {
    /// The chain's head when it was drawn: the block of the local pages.
    pub block: Block,
    /// Whose turn.
    pub miner: Neuron,
    /// Local pages to judge by: of `trained` where there are any, otherwise of the window.
    pub local_pages: Vec<PageId>,
    /// Numbers of the pages that the miner says to have trained on, as far as it can have, where pay is capped by them.
    pub trained: Vec<u64>,
    /// Global pages to judge by.
    pub global_pages: Vec<PageId>,
    /// Global pages to measure an accepted delta's gain on: fresh ones, as those above help to choose its factor. None where
    /// the rules do not pay by improvement.
    pub proof_pages: Vec<PageId>,
}

impl Turn {
    /// Draws the local pages, given those that the miner states: where the rules ask for work, they are of these, as far as it
    /// can have trained on them.
    fn draw_local_pages(&mut self, rules: &Mechanism, index: &DatasetIndex, stated: &[u64], rng: &mut impl Rng) {
        if rules.scoring.pay.asks_for_work() {
            let claimable = rules.window.claimable(index, self.block);
            let trained: BTreeSet<u64> = stated.iter().copied().filter(|page| claimable.contains(page)).collect();
            self.trained = trained.into_iter().collect();
        }
        let evidence = rules.window.evidence(index, self.block, self.miner.uid, &self.trained);
        self.local_pages = selection::sample(&evidence, rules.evaluation.local_pages, rng);
    }

    /// All its pages.
    fn pages(&self) -> Vec<PageId> {
        [self.local_pages.as_slice(), &self.global_pages, &self.proof_pages].concat()
    }
}

/// A turn whose delta is on the way.
pub(super) struct Upcoming {
    /// The global pages drawn for it.
    global_pages: Vec<PageId>,
    /// Its pages, once they are drawn.
    pages: Wanted,
    /// The turn, and the delta's bytes or why there are none.
    arriving: AbortOnDropHandle<(Turn, Result<Download, Refusal>)>,
}

/// Pages of a turn, which are known when its delta is there.
type Wanted = Arc<OnceLock<Vec<PageId>>>;

impl Validator {
    /// The next turn, or `None` when it is time to stop. The one after it is begun at once.
    pub(super) async fn next_turn(&mut self) -> Result<Option<(Turn, Result<Download, Refusal>)>, NodeError> {
        let upcoming = loop {
            if let Some(upcoming) = self.upcoming.take() {
                break upcoming;
            }
            if !self.next_block().await? {
                return Ok(None);
            }
            if self.begin_turn(Wanted::default()).is_none() {
                self.skips += 1;
            }
        };
        // A round of skips ends with a wait for the next block: nothing is begun ahead of that.
        if !self.is_idle_after(1) {
            if !self.next_block().await? {
                return Ok(None);
            }
            self.begin_turn(upcoming.pages.clone());
        }
        self.fruitless_since.get_or_insert(self.parts.clock.elapsed());
        self.parts.pulse.beat_within("waiting for a delta", self.fetcher().patience());
        let Upcoming { mut arriving, global_pages, .. } = upcoming;
        let stop = self.parts.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(None),
            arrived = joined(&mut arriving) => return Ok(Some(arrived)),
            ready = self.get_ready(&global_pages) => ready?,
        }
        tokio::select! {
            () = stop.cancelled() => Ok(None),
            arrived = joined(arriving) => Ok(Some(arrived)),
        }
    }

    /// Draws a miner and global pages, and begins to download; the local pages are drawn once its delta is there, and pages
    /// are asked for only then: those of a refused one are not needed. `before` are the pages of the turn before, which must
    /// not be forgotten for them.
    fn begin_turn(&mut self, before: Wanted) -> Option<()> {
        let miner = selection::pick(&self.metagraph, &self.parts.identity.hotkey(), &mut self.rng)?.clone();
        let evaluation = self.rules.mechanism.evaluation;
        let fresh = || schedule::global_pages(self.pages.index(), evaluation.global_pages, &mut self.rng);
        let global_pages = self.spare.take().unwrap_or_else(fresh);
        let drawn_pages = global_pages.clone();
        let proof_pages = self.rules.mechanism.scoring.pay.proof_pages();
        let proof_pages = schedule::global_pages(self.pages.index(), proof_pages, &mut self.rng);
        let fetcher = self.fetcher();
        let (neuron, past) = (miner.clone(), self.state.memory.past(&miner.hotkey));
        let (local_pages, trained) = (Vec::new(), Vec::new());
        let mut turn = Turn { block: self.head, miner, local_pages, trained, global_pages, proof_pages };
        let (pages, rules, wanted) = (self.pages.clone(), self.rules.clone(), Wanted::default());
        let (drawn, mut rng) = (wanted.clone(), ChaCha20Rng::seed_from_u64(self.rng.random()));
        let arriving = tokio::spawn(async move {
            let download = fetcher.download(&neuron, &past).await;
            if let Ok(Download { manifest, values: Ok(_), .. }) = &download {
                turn.draw_local_pages(&rules.mechanism, pages.index(), &manifest.pages, &mut rng);
                let own = drawn.get_or_init(|| turn.pages());
                pages.want(&[before.get().map_or(&[][..], Vec::as_slice), own].concat());
            }
            (turn, download)
        });
        let arriving = AbortOnDropHandle::new(arriving);
        self.upcoming = Some(Upcoming { global_pages: drawn_pages, pages: wanted, arriving });
        Some(())
    }

    fn fetcher(&self) -> Fetcher {
        Fetcher {
            parts: self.parts.clone(),
            rules: self.rules.clone(),
            digest: self.digest,
            spec: self.spec.clone(),
            secret: self.state.memory.secret,
            lineage: self.lineage.clone(),
            norm: self.master.norm(),
            head: self.head,
        }
    }

    /// The delta of this turn, every check passed, or why there is none to judge.
    pub(super) fn open(&mut self, turn: &mut Turn, downloaded: Result<Download, Refusal>) -> Result<Delta, Refusal> {
        let (memory, hotkey) = (&mut self.state.memory, turn.miner.hotkey);
        while let Ok(glances) = self.glances.try_recv() {
            for (hotkey, object) in glances.found {
                memory.look(hotkey, glances.asked, glances.answered, object);
            }
        }
        let object = downloaded.as_ref().map_or_else(|(_, object)| *object, |download| Some(download.manifest.object));
        // A bucket that cannot be read shows nothing.
        if object.is_some() {
            memory.look(hotkey, turn.block, self.head, object);
        }
        if let Some(until) = memory.suspended(&hotkey, self.head) {
            return Err((Skip::new(Reason::Suspended, format!("for copying, until block {until}")), object));
        }
        let downloaded = downloaded?;
        self.use_ready_pages(turn);
        self.pages.want(&turn.pages());
        self.fetcher().open(downloaded, &turn.miner, &mut self.state.memory)
    }

    /// Whether the next block is waited for once `more` turns end in a skip: as many as there are neurons in a row.
    pub(super) fn is_idle_after(&self, more: usize) -> bool {
        self.skips + more >= self.metagraph.neurons.len().max(1)
    }
}
