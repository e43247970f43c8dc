//! Whose turn it is, and its delta on the way: the next one is downloaded and looked into, and its pages are fetched, while
//! this one is judged, so that the model does not wait.

use bistro_core::ids::Block;
use bistro_core::mechanism::selection;
use bistro_core::pages::{PageId, schedule};
use bistro_core::ports::Neuron;
use bistro_core::skip::{Reason, Skip};
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
    /// Local pages to judge by.
    pub local_pages: Vec<PageId>,
    /// Global pages to judge by.
    pub global_pages: Vec<PageId>,
    /// Global pages to measure an accepted delta's gain on: fresh ones, as those above help to choose its factor. None where
    /// the rules do not pay by improvement.
    pub proof_pages: Vec<PageId>,
}

impl Turn {
    /// All its pages.
    fn pages(&self) -> Vec<PageId> {
        [self.local_pages.as_slice(), &self.global_pages, &self.proof_pages].concat()
    }
}

/// A turn whose delta is on the way.
pub(super) struct Upcoming {
    turn: Turn,
    download: AbortOnDropHandle<Result<Download, Refusal>>,
}

impl Upcoming {
    /// Waits for the delta's bytes, or for why there are none.
    async fn arrive(self) -> (Turn, Result<Download, Refusal>) {
        (self.turn, joined(self.download).await)
    }
}

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
            if self.begin_turn(&[]).is_none() {
                self.skips += 1;
            }
        };
        // A round of skips ends with a wait for the next block: nothing is begun ahead of that.
        if !self.is_idle_after(1) {
            if !self.next_block().await? {
                return Ok(None);
            }
            self.begin_turn(&upcoming.turn.pages());
        }
        self.fruitless_since.get_or_insert(self.parts.clock.elapsed());
        self.parts.pulse.beat_within("waiting for a delta", self.fetcher().patience());
        tokio::select! {
            () = self.parts.stop.cancelled() => Ok(None),
            arrived = upcoming.arrive() => Ok(Some(arrived)),
        }
    }

    /// Draws a miner and the pages, and begins to download. Its pages are asked for once its delta is there: those of a
    /// refused one are not needed. `before` are the pages of the turn before, which must not be forgotten for them.
    fn begin_turn(&mut self, before: &[PageId]) -> Option<()> {
        let miner = selection::pick(&self.metagraph, &self.parts.identity.hotkey(), &mut self.rng)?.clone();
        let evaluation = self.rules.mechanism.evaluation;
        let window = self.rules.mechanism.window.judged(self.pages.index(), self.head, miner.uid);
        let local_pages = selection::sample(&window, evaluation.local_pages, &mut self.rng);
        let global_pages = schedule::global_pages(self.pages.index(), evaluation.global_pages, &mut self.rng);
        let proof_pages = self.rules.mechanism.scoring.pay.proof_pages();
        let proof_pages = schedule::global_pages(self.pages.index(), proof_pages, &mut self.rng);
        let fetcher = self.fetcher();
        let (neuron, seen) = (miner.clone(), self.state.memory.seen.get(&miner.hotkey).cloned());
        let turn = Turn { block: self.head, miner, local_pages, global_pages, proof_pages };
        let (pages, wanted) = (self.pages.clone(), [before, &turn.pages()].concat());
        let download = tokio::spawn(async move {
            let download = fetcher.download(&neuron, seen.as_ref()).await;
            if download.as_ref().is_ok_and(|download| download.values.is_ok()) {
                pages.want(&wanted);
            }
            download
        });
        let download = AbortOnDropHandle::new(download);
        self.upcoming = Some(Upcoming { turn, download });
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
            head: self.head,
        }
    }

    /// The delta of this turn, every check passed, or why there is none to judge.
    pub(super) fn open(&mut self, turn: &Turn, downloaded: Result<Download, Refusal>) -> Result<Delta, Refusal> {
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
        self.pages.want(&turn.pages());
        self.fetcher().open(downloaded, &turn.miner, &self.master, &mut self.state.memory)
    }

    /// Whether the next block is waited for once `more` turns end in a skip: as many as there are neurons in a row.
    pub(super) fn is_idle_after(&self, more: usize) -> bool {
        self.skips + more >= self.metagraph.neurons.len().max(1)
    }
}
