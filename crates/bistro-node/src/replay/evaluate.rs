//! Whether the losses of a log are those of the objects: masters are built anew from the published lineage, deltas are fetched
//! where they lie, pages come from the reader's own dataset, and the losses are measured again.

use bistro_core::events::Judged;
use bistro_core::ids::Hash;
use bistro_core::mechanism::Change;
use bistro_core::params::Params;
use bistro_core::ports::{BucketAddress, Learner, Pages, PortError, ReadLimits, Retry};
use bistro_core::protocol::Folder;
use bistro_core::rules::Rules;
use bistro_core::tokens::TokenBatch;

use super::{Report, What};
use crate::audit::Walk;
use crate::compute::compute;
use crate::leader::{Leader, large};
use crate::master::Master;
use crate::validator::trial;
use crate::{Build, NodeError, Parts};

/// By how much a loss may differ that was measured on another machine, nats a token: other processors add in another order.
/// A hundredth of what a verdict turns on.
const TOLERANCE: f64 = 2e-3;

/// Measures these verdicts (number and record, of one set of rules) again, and notes what came of it.
pub async fn evaluate(
    parts: &Parts,
    build: &dyn Build,
    leader: &Leader,
    rules: &Rules,
    mut verdicts: Vec<(u64, Judged)>,
    report: &mut Report,
) -> Result<(), NodeError> {
    let pages = build.pages(rules)?;
    let learner = compute(|| build.learner(rules))?;
    let spec = learner.spec();
    let mut again = Again { parts, pages, learner, leader };
    verdicts.sort_by_key(|(_, judged)| judged.master_seq);
    let mut walk = Walk::begin(parts, leader, &spec).await?;
    for (seq, judged) in verdicts {
        if judged.master_seq > leader.manifest.seq {
            report.not_measured += 1;
            continue;
        }
        while walk.master().seq < judged.master_seq {
            walk.step().await?;
        }
        match again.losses(&judged, walk.master()).await? {
            Some(losses) => compare(seq, &judged, &losses, report),
            None => report.not_measured += 1,
        }
    }
    Ok(())
}

/// Losses in nats a token: local, the master's own, that of each candidate, and those that the pay rests on, on the global
/// and the local pages.
struct Losses {
    local: f64,
    master: Option<f64>,
    candidates: Vec<f64>,
    proof: Option<(Change, Change)>,
}

struct Again<'a> {
    parts: &'a Parts,
    pages: std::sync::Arc<dyn Pages>,
    learner: Box<dyn Learner>,
    leader: &'a Leader,
}

impl Again<'_> {
    /// The losses of one verdict; `None` where something that they rest on is not there any more.
    async fn losses(&mut self, judged: &Judged, master: &Master) -> Result<Option<Losses>, NodeError> {
        let Some(delta) = self.delta(judged).await? else { return Ok(None) };
        let (local, global) = (self.batch(&judged.local_pages).await?, self.batch(&judged.global_pages).await?);
        let (Some(local), Some(global)) = (local, global) else { return Ok(None) };
        let proof = match &judged.proof {
            Some(proof) => self.batch(&proof.pages).await?,
            None => None,
        };
        if proof.is_some() != judged.proof.is_some() {
            return Ok(None);
        }
        let learner = self.learner.as_mut();
        let measured = compute(|| {
            let mut losses = Losses { local: f64::NAN, master: None, candidates: Vec::new(), proof: None };
            if judged.master_loss.is_some() {
                learner.load(&master.params)?;
                losses.master = Some(learner.loss(&global)?);
            }
            let mut best = (f64::INFINITY, 1.0);
            for candidate in &judged.candidates {
                learner.load_sum(&master.params, &delta, candidate.scale)?;
                losses.candidates.push(learner.loss(&global)?);
                if candidate.loss < best.0 {
                    best = (candidate.loss, candidate.scale);
                }
            }
            learner.load_sum(&master.params, &delta, best.1)?;
            losses.local = learner.loss(&local)?;
            if let Some(proof) = &proof {
                losses.proof = Some(trial::gains(learner, &master.params, proof, &local, losses.local)?);
            }
            Ok::<_, PortError>(losses)
        })?;
        Ok(Some(measured))
    }

    /// The delta that was judged: the copy in the leader's bucket if it became part of the master, else what its miner still has.
    async fn delta(&self, judged: &Judged) -> Result<Option<Params>, NodeError> {
        let spec = self.learner.spec();
        if judged.size > bistro_delta::max_object_size(&spec, judged.encoding) {
            return Ok(None);
        }
        let limits = large(judged.size);
        let copy = Folder::new(self.parts.netuid, &self.leader.manifest.hotkey).accepted(&judged.object);
        let mut bytes = self.object(&self.leader.bucket, &copy, limits, &judged.object).await?;
        if bytes.is_none() {
            let committed = self.parts.chain.commitment(&judged.hotkey).await?;
            if let Some(Ok(bucket)) = committed.map(|text| BucketAddress::parse(&text)) {
                let key = Folder::new(self.parts.netuid, &judged.hotkey).delta(judged.cut, &judged.object);
                bytes = self.object(&bucket, &key, limits, &judged.object).await?;
            }
        }
        Ok(bytes.and_then(|bytes| bistro_delta::read(&bytes, &spec, judged.encoding).ok()).map(|(params, _)| params))
    }

    async fn object(
        &self,
        bucket: &BucketAddress,
        key: &str,
        limits: ReadLimits,
        hash: &Hash,
    ) -> Result<Option<bytes::Bytes>, NodeError> {
        self.parts.pulse.beat_within("fetching a delta", limits.deadline);
        match self.parts.public.get_hashed(bucket, key, limits, hash).await {
            // A bucket that says no, or holds something else, does not hold this object.
            Err(error) if error.retry == Retry::Never => Ok(None),
            outcome => Ok(outcome?),
        }
    }

    async fn batch(&self, wanted: &[bistro_core::pages::PageId]) -> Result<Option<TokenBatch>, NodeError> {
        let mut all = TokenBatch::default();
        for page in wanted {
            match self.pages.page(page).await {
                Ok(batch) => all.append(&batch),
                Err(error) if error.retry == Retry::Never => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(all).filter(|batch| batch.targets() > 0))
    }
}

fn compare(seq: u64, judged: &Judged, losses: &Losses, report: &mut Report) {
    report.measured_again += 1;
    let mut pairs = vec![("local loss".to_owned(), judged.local_loss, losses.local)];
    pairs.extend(
        judged.master_loss.zip(losses.master).map(|(stated, ours)| ("the master's loss".to_owned(), stated, ours)),
    );
    let candidates = judged.candidates.iter().zip(&losses.candidates);
    pairs.extend(
        candidates.map(|(stated, ours)| (format!("global loss at scale {}", stated.scale), stated.loss, *ours)),
    );
    if let Some((stated, (global, local))) = judged.proof.as_ref().zip(losses.proof) {
        for (on, stated, ours) in [("global", stated.global, global), ("local", stated.local, local)] {
            pairs.push((format!("the master's loss on the {on} pages of its proof"), stated.before, ours.before));
            pairs.push((format!("loss on the {on} pages of its proof"), stated.after, ours.after));
        }
    }
    for (name, stated, ours) in pairs {
        let difference = (stated - ours).abs();
        report.largest_difference = report.largest_difference.max(difference);
        // A loss that is no number is none that a verdict could rest on.
        if difference.is_nan() || difference > TOLERANCE {
            report.add(seq, vec![(What::MeasuredLoss, format!("{name} {stated}"), ours.to_string())]);
        }
    }
}
