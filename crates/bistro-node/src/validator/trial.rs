//! A delta on the model: losses, and the verdict they lead to. The master is only read; what is tried is a candidate beside
//! it.

use std::sync::Arc;

use bistro_core::events::Judged;
use bistro_core::ids::Hash;
use bistro_core::mechanism::{Acceptance, Candidate};
use bistro_core::pages::schedule;
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
}

/// What came of a trial.
pub enum Outcome {
    /// Finite losses, and a verdict.
    Judged(Judged),
    /// No finite loss with any factor.
    Skip(Skip),
}

impl Trial<'_> {
    /// Measures the delta on the turn's local and global pages.
    pub fn run(&self, learner: &mut dyn Learner, meter: &mut Meter, delta: &Delta) -> Result<Outcome, PortError> {
        let Turn { miner, local_pages, global_pages, .. } = self.turn;
        let measured = meter.model(|| self.measure(learner, delta, self.local, self.global))?;
        let Some((local_loss, master_loss, candidates)) = measured else {
            return Ok(Outcome::Skip(Skip::new(Reason::LossNotFinite, "no factor gives a finite loss")));
        };
        let rules = &self.rules.mechanism.acceptance;
        let verdict = self.acceptance.judge(rules, master_loss.unwrap_or(f64::NAN), &candidates);
        let best = Candidate::best(&candidates);
        Ok(Outcome::Judged(Judged {
            uid: miner.uid,
            hotkey: miner.hotkey,
            object: delta.manifest.object,
            base_seq: delta.manifest.base_seq,
            master_seq: self.master.seq,
            local_pages: local_pages.clone(),
            global_pages: global_pages.clone(),
            local_loss,
            global_loss: best.map_or(f64::NAN, |c| c.loss),
            master_loss,
            candidates,
            min_loss: self.acceptance.min_loss,
            verdict,
        }))
    }

    /// Local loss with the best factor, the master's own global loss if the rule asks for it, and the candidates with a
    /// finite loss; `None` if there is none.
    #[allow(clippy::type_complexity, reason = "one caller, named at once")]
    fn measure(
        &self,
        learner: &mut dyn Learner,
        delta: &Delta,
        local: &TokenBatch,
        global: &TokenBatch,
    ) -> Result<Option<(f64, Option<f64>, Vec<Candidate>)>, PortError> {
        let rules = &self.rules.mechanism.acceptance;
        let master_loss = if rules.needs_base() {
            learner.load(&self.master.params)?;
            Some(learner.loss(global)?)
        } else {
            None
        };
        let mut candidates = Vec::new();
        let mut on_device = None;
        for scale in rules.scales() {
            learner.load_sum(&self.master.params, &delta.params, *scale)?;
            on_device = Some(*scale);
            let loss = learner.loss(global)?;
            if loss.is_finite() {
                candidates.push(Candidate { scale: *scale, loss });
            }
        }
        let Some(best) = Candidate::best(&candidates) else { return Ok(None) };
        if on_device != Some(best.scale) {
            learner.load_sum(&self.master.params, &delta.params, best.scale)?;
        }
        let local_loss = learner.loss(local)?;
        Ok(local_loss.is_finite().then_some((local_loss, master_loss, candidates)))
    }
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
