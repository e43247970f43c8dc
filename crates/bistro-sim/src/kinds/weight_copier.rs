//! A validator that judges nothing, and sets the weights that it sees others set.

use std::collections::BTreeMap;

use bistro_core::ids::{Hotkey, Uid};
use bistro_node::{NodeError, Parts};

use super::next_block;
use crate::chain::SimChain;

/// Sets the mean of all others' newest weights that can be seen, by stake, as often as the chain takes them. Never ends.
pub(crate) async fn copy_weights(parts: &Parts, chain: &SimChain) -> Result<(), NodeError> {
    let mut block = parts.chain.head().await.unwrap_or_default();
    loop {
        let weights = mean(parts.identity.hotkey(), chain);
        if !weights.is_empty()
            && let Err(error) = parts.chain.set_weights(&weights).await
        {
            tracing::debug!(%error, "no weights this time");
        }
        block = next_block(parts, block).await;
    }
}

fn mean(me: Hotkey, chain: &SimChain) -> Vec<(Uid, u16)> {
    let metagraph = chain.metagraph();
    let mut sums: BTreeMap<Hotkey, f64> = BTreeMap::new();
    for (stake, vote) in chain.votes(chain.block()).into_iter().filter(|(_, vote)| vote.validator != me) {
        for (hotkey, share) in vote.shares() {
            *sums.entry(hotkey).or_default() += stake as f64 * share;
        }
    }
    let largest = sums.values().copied().fold(0.0, f64::max);
    let scaled = |sum: f64| (sum / largest * f64::from(u16::MAX)).round() as u16;
    sums.iter().filter_map(|(hotkey, sum)| Some((metagraph.neuron(hotkey)?.uid, scaled(*sum)))).collect()
}
