//! What others see of a validator: the loop's own state on the board. What the event log records reaches the board from there.

use std::collections::BTreeMap;

use bistro_core::mechanism::MovingAverage;
use bistro_core::mechanism::weights::shares;

use super::Validator;
use crate::weights::due_in;

impl Validator {
    /// Shows where the loop is.
    pub(super) fn show(&self) {
        let (metagraph, scores) = (&self.metagraph, &self.state.ledger.scores);
        let shares: BTreeMap<_, _> = shares(scores, &self.rules.mechanism.scoring, metagraph).into_iter().collect();
        let me = self.parts.identity.hotkey();
        let evidence = self.evidence();
        // The metagraph is some blocks old.
        let uids: BTreeMap<_, _> = metagraph.neurons.iter().map(|neuron| (neuron.hotkey, neuron.uid)).collect();
        let due = due_in(metagraph, &me).ok().map(|blocks| blocks.saturating_sub(self.head.since(metagraph.block)));
        self.parts.board.change(|status| {
            (status.block, status.uid) = (self.head, uids.get(&me).copied());
            status.compute_share = self.meter.share();
            status.page_wait_share = self.meter.share_of(self.pages.waited());
            let validator = status.validator.get_or_insert_default();
            (validator.leads, validator.neurons) = (self.leads, metagraph.neurons.len());
            validator.evidence = evidence;
            validator.weights.due_in = due;
            let last_update = metagraph.neuron(&me).map(|neuron| neuron.last_update).filter(|block| block.0 > 0);
            let set = validator.weights.last_set.as_ref().map(|set| set.block);
            validator.weights.last_update = last_update.max(set);
            validator.show_lineage(&self.lineage.chain);
            validator.refresh(
                |hotkey| uids.get(hotkey).copied(),
                |hotkey| {
                    let score = scores.get(hotkey);
                    let value = |average: Option<MovingAverage>| average.map(|a| a.value);
                    (value(score.and_then(|s| s.local)), value(score.and_then(|s| s.global)))
                },
                |uid| shares.get(&uid).copied().unwrap_or_default(),
            );
        });
    }
}
