//! How a simulation went: what plots are made of.

use std::collections::BTreeMap;

use bistro_core::events::{Event, Record};
use bistro_core::ids::Hotkey;
use bistro_core::mechanism::Verdict;
use serde::Serialize;

use crate::promises::records;
use crate::run::World;

/// Points of a curve, about.
const POINTS: u64 = 100;

/// Curves over blocks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Course {
    /// Block, and units that each neuron had earned by then as a miner, in uid order.
    pub earned: Vec<(u64, Vec<f64>)>,
    /// Block, and loss of the newest master on the run's yardstick, nats a token.
    pub loss: Vec<(u64, f64)>,
    /// Block at which the first validator's first weights were on the chain.
    pub first_weights: Option<u64>,
}

impl Course {
    /// A look between two of all `blocks`.
    pub(crate) fn look(&mut self, world: &World, blocks: u64) {
        let block = world.chain.block().0;
        if !block.is_multiple_of(blocks.div_ceil(POINTS)) {
            return;
        }
        let earned = world.chain.earned();
        let of = |(hotkey, _): (Hotkey, String)| earned.get(&hotkey).copied().unwrap_or_default();
        self.earned.push((block, world.neurons().map(of).collect()));
    }

    /// Reads the rest from the validators' logs. Returns what they made of each miner's deltas.
    pub(crate) fn read(&mut self, world: &World) -> BTreeMap<Hotkey, BTreeMap<String, u64>> {
        let mut verdicts: BTreeMap<Hotkey, BTreeMap<String, u64>> = BTreeMap::new();
        for (i, validator) in world.validators.iter().enumerate() {
            for Record { block, event, .. } in records(world, validator) {
                let (hotkey, what) = match event {
                    // The first validator's, which is the one with the most stake where one cares.
                    Event::Measured { loss, .. } if i == 0 => {
                        self.loss.push((block.0, loss));
                        continue;
                    }
                    Event::WeightsSet { .. } if i == 0 => {
                        self.first_weights.get_or_insert(block.0);
                        continue;
                    }
                    Event::Judged(judged) if matches!(judged.verdict, Verdict::Accept(_)) => {
                        (judged.hotkey, "accepted".to_owned())
                    }
                    Event::Judged(judged) => (judged.hotkey, "rejected".to_owned()),
                    Event::Skipped { hotkey, skip, .. } => (hotkey, skip.reason.name()),
                    _ => continue,
                };
                *verdicts.entry(hotkey).or_default().entry(what).or_default() += 1;
            }
        }
        verdicts
    }
}
