//! A delta on the model: losses, and the verdict they lead to. The master is only read; what is tried is a candidate beside
//! it.

use std::sync::Arc;

use bistro_core::events::{Judged, Proof};
use bistro_core::ids::Hash;
use bistro_core::mechanism::{Acceptance, Candidate, Change, Verdict};
use bistro_core::pages::schedule;
use bistro_core::params::Params;
use bistro_core::ports::{Learner, Pages, PortError};
use bistro_core::rules::Rules;
use bistro_core::skip::{Reason, Skip};
use bistro_core::tokens::TokenBatch;
use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;

use crate::Parts;
use crate::compute::Meter;
use crate::fetch::Delta;
use crate::gather::gather;
use crate::master::Master;
use crate::validator::turn::Turn;

/// What a trial rests on.
pub struct Trial<'a> {
    /// The rules of the run.
    pub rules: &'a Rules,
    /// The threshold so far.
    pub acceptance: &'a Acceptance,
    /// The master.
    pub master: &'a Master,
    /// Whose turn it is, and on which pages.
    pub turn: &'a Turn,
    /// Those local pages.
    pub local: &'a TokenBatch,
    /// Those global pages.
    pub global: &'a TokenBatch,
    /// The master's own loss on them, where it is measured already.
    pub master_loss: Option<f64>,
    /// The turn's pages to measure an accepted delta's gain on; empty where that is not paid.
    pub proof: &'a TokenBatch,
    /// See [`Judged::merged_by`].
    pub merged_by: u64,
}

/// What came of a trial.
pub enum Outcome {
    /// Finite losses, and a verdict.
    Judged(Box<Judged>),
    /// No finite loss with any factor.
    Skip(Skip),
}

/// What was measured of a delta.
struct Measured {
    /// Loss on the local pages with the best factor.
    local: f64,
    /// The master's own loss on the global pages, where the rule asks for it.
    master: Option<f64>,
    /// Global loss for each factor that gives a finite one.
    candidates: Vec<Candidate>,
    /// What the rule says.
    verdict: Verdict,
    /// What it improved, where that is paid.
    proof: Option<Proof>,
}

impl Trial<'_> {
    /// Measures the delta on the turn's local and global pages.
    pub fn run(&self, learner: &mut dyn Learner, meter: &mut Meter, delta: &Delta) -> Result<Outcome, PortError> {
        let Turn { miner, local_pages, global_pages, .. } = self.turn;
        let Some(measured) = meter.model(|| self.measure(learner, delta))? else {
            return Ok(Outcome::Skip(Skip::new(Reason::LossNotFinite, "no factor gives a finite loss")));
        };
        let best = Candidate::best(&measured.candidates);
        Ok(Outcome::Judged(Box::new(Judged {
            uid: miner.uid,
            hotkey: miner.hotkey,
            object: delta.manifest.object,
            size: delta.manifest.size,
            encoding: delta.manifest.encoding,
            cut: delta.manifest.block,
            drawn: self.turn.block,
            base_seq: delta.manifest.base_seq,
            master_seq: self.master.seq,
            local_pages: local_pages.clone(),
            trained: self.turn.trained.clone(),
            global_pages: global_pages.clone(),
            local_loss: measured.local,
            global_loss: best.map_or(f64::NAN, |c| c.loss),
            // What is not finite is no number in the log either.
            master_loss: measured.master.filter(|loss| loss.is_finite()),
            candidates: measured.candidates,
            min_loss: self.acceptance.min_loss,
            verdict: measured.verdict,
            merged_by: self.merged_by,
            proof: measured.proof,
        })))
    }

    /// All losses that the verdict and the pay rest on; `None` if one of them is not finite.
    fn measure(&self, learner: &mut dyn Learner, delta: &Delta) -> Result<Option<Measured>, PortError> {
        let rules = &self.rules.mechanism.acceptance;
        let master = match self.master_loss {
            None if rules.needs_base() => {
                learner.load(&self.master.params)?;
                Some(learner.loss(self.global)?)
            }
            known => known,
        };
        let mut candidates = Vec::new();
        let mut on_device = None;
        for scale in rules.scales() {
            learner.load_sum(&self.master.params, &delta.params, *scale)?;
            on_device = Some(*scale);
            let loss = learner.loss(self.global)?;
            if loss.is_finite() {
                candidates.push(Candidate { scale: *scale, loss });
            }
        }
        let Some(best) = Candidate::best(&candidates) else { return Ok(None) };
        if on_device != Some(best.scale) {
            learner.load_sum(&self.master.params, &delta.params, best.scale)?;
        }
        let local = learner.loss(self.local)?;
        let verdict = self.acceptance.judge(rules, master.unwrap_or(f64::NAN), &candidates);
        let paid = matches!(verdict, Verdict::Accept(_)) && self.proof.rows() > 0;
        let proof = if paid {
            let (global, local) = gains(learner, &self.master.params, self.proof, self.local, local)?;
            Some(Proof { pages: self.turn.proof_pages.clone(), global, local })
        } else {
            None
        };
        let finite = |proof: &Proof| proof.global.gain().is_finite() && proof.local.gain().is_finite();
        let all_finite = local.is_finite() && proof.as_ref().is_none_or(finite);
        Ok(all_finite.then_some(Measured { local, master, candidates, verdict, proof }))
    }
}

/// What the candidate on the device improves on the pages of the proof and on the local ones, where its loss is known; the master
/// is on the device afterwards.
pub(crate) fn gains(
    learner: &mut dyn Learner,
    master: &Params,
    proof: &TokenBatch,
    local: &TokenBatch,
    local_after: f64,
) -> Result<(Change, Change), PortError> {
    let after = learner.loss(proof)?;
    learner.load(master)?;
    let global = Change { before: learner.loss(proof)?, after };
    Ok((global, Change { before: learner.loss(local)?, after: local_after }))
}

/// Pages of the yardstick.
const YARDSTICK_PAGES: usize = 8;

/// Global pages that stay the same for the whole run: drawn from its rules' digest. One that cannot be had is replaced by
/// the next of that sequence, for everybody alike.
pub(crate) async fn yardstick(parts: &Parts, pages: &Arc<dyn Pages>, digest: Hash) -> Result<TokenBatch, PortError> {
    let mut rng = ChaCha20Rng::from_seed(digest.0);
    let mut wanted = schedule::global_pages(pages.index(), YARDSTICK_PAGES, &mut rng);
    gather(parts, pages, &mut wanted, || Some(schedule::global_page(pages.index(), &mut rng))).await
}
