//! What every miner's bucket names, looked at once a block: a small read each. Who had a delta first is known by it, whatever
//! block its manifest states, and whoever is judged first.

use std::collections::BTreeMap;
use std::sync::Arc;

use bistro_core::ids::{Block, Hash, Hotkey};
use bistro_core::ports::Neuron;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::METAGRAPH_BLOCKS;
use crate::{Parts, fetch};

/// Buckets that are read at a time.
const AT_ONCE: usize = 16;

/// Rounds of looks that wait for a validator that is busy; more are left out.
pub(super) const WAITING: usize = 64;

/// All buckets that could be read in one round.
#[derive(Debug)]
pub(super) struct Glances {
    /// The head when it began.
    pub(super) asked: Block,
    /// The head when it ended.
    pub(super) answered: Block,
    /// What each bucket named.
    pub(super) found: Vec<(Hotkey, Option<Hash>)>,
}

/// Looks around once a block, without end.
pub(super) async fn look_around(parts: Parts, sender: mpsc::Sender<Glances>) {
    let mut neurons: Arc<[Neuron]> = Arc::new([]);
    let (mut read_at, mut block) = (None, Block(0));
    loop {
        block = match parts.chain.next_block(block).await {
            Ok(block) => block,
            Err(error) => {
                tracing::debug!(%error, "no block to look around at");
                parts.clock.sleep(std::time::Duration::from_secs(3)).await;
                continue;
            }
        };
        if read_at.is_none_or(|at| block.since(at) >= METAGRAPH_BLOCKS)
            && let Ok(metagraph) = parts.chain.metagraph().await
        {
            (neurons, read_at) = (metagraph.neurons.into(), Some(block));
        }
        let me = parts.identity.hotkey();
        let hotkeys: Vec<Hotkey> = neurons.iter().map(|neuron| neuron.hotkey).filter(|hotkey| *hotkey != me).collect();
        let committed = match parts.chain.commitments(&hotkeys).await {
            Ok(committed) => committed,
            Err(error) => {
                tracing::warn!(%error, "the buckets could not be looked at in this block: nobody knows who had a delta first");
                continue;
            }
        };
        let found = all(&parts, &neurons, &committed).await;
        let Ok(answered) = parts.chain.head().await else { continue };
        let glances = Glances { asked: block, answered: answered.max(block), found };
        if matches!(sender.try_send(glances), Err(mpsc::error::TrySendError::Closed(_))) {
            return;
        }
    }
}

async fn all(
    parts: &Parts,
    neurons: &Arc<[Neuron]>,
    committed: &BTreeMap<Hotkey, Option<String>>,
) -> Vec<(Hotkey, Option<Hash>)> {
    let (mut looks, turns) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
    for (i, neuron) in neurons.iter().enumerate() {
        let Some(committed) = committed.get(&neuron.hotkey).cloned() else { continue };
        let (parts, neurons, turns) = (parts.clone(), neurons.clone(), turns.clone());
        looks.spawn(async move {
            let _turn = turns.acquire().await;
            // A bucket that cannot be read shows nothing.
            let object = fetch::glance(&parts, &neurons[i], committed.as_deref()).await.ok()?;
            Some((neurons[i].hotkey, object))
        });
    }
    looks.join_all().await.into_iter().flatten().collect()
}
