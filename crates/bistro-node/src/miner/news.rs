//! News from the leader, fetched while the model trains: a newer master, and what it took from this very miner.

use std::sync::Arc;

use bistro_core::ids::{Hash, Hotkey, Uid};
use bistro_core::params::{ModelSpec, Params};
use bistro_core::protocol::Accepted;
use bistro_core::rules::Rules;

use crate::leader::{self, Leader};
use crate::master::Master;
use crate::{NodeError, Parts};

/// What is asked for, and from where on.
pub struct Ask {
    /// The outside world.
    pub parts: Parts,
    /// The rules of the run.
    pub rules: Arc<Rules>,
    /// Their digest.
    pub digest: Hash,
    /// The model's tensors.
    pub spec: Arc<ModelSpec>,
    /// The master that the own work is based on.
    pub base: Master,
    /// Who was followed so far.
    pub followed: Option<Leader>,
}

/// What was found.
pub struct News {
    /// The own slot, where the chain was asked.
    pub uid: Option<Uid>,
    /// Whom everybody follows.
    pub leader: Leader,
    /// A newer master, if there is one.
    pub newer: Option<Newer>,
}

/// A newer master.
pub struct Newer {
    /// The master.
    pub master: Master,
    /// Whether it grew out of the own base.
    pub connected: bool,
    /// What it took from this miner since the own base.
    pub own: Option<Own>,
    /// Whether it took anything from others since.
    pub others: bool,
}

/// The own part of a newer master.
pub struct Own {
    /// What was added.
    pub params: Params,
    /// Numbers of the pages that were stated with it; `None` if that cannot be read any more.
    pub pages: Option<Vec<u64>>,
}

impl Ask {
    /// Looks for news: at the master of the leader `known`, or without one at whoever leads by the chain. Trouble on the way
    /// is no reason to stop training: it is told, and there are none. An error is what only an operator can mend.
    pub async fn look(self, known: Option<Leader>) -> Result<Option<News>, NodeError> {
        let (uid, found) = match known {
            Some(known) => (None, known.again(&self.parts).await),
            None => match self.parts.chain.metagraph().await {
                Ok(metagraph) => {
                    let (hotkey, netuid) = (self.parts.identity.hotkey(), self.parts.netuid);
                    let me = metagraph.neuron(&hotkey).ok_or(NodeError::NotRegistered { hotkey, netuid })?;
                    let found = match &self.followed {
                        Some(followed) => leader::find_after(&followed.manifest, &self.parts, &metagraph).await,
                        None => leader::find(&self.parts, &metagraph).await,
                    };
                    (Some(me.uid), found)
                }
                Err(error) => (None, Err(error)),
            },
        };
        let leader = match found {
            Ok(Some(leader)) => leader,
            Ok(None) => return Ok(None),
            Err(error) => {
                tracing::warn!(%error, "there is no news: the leader could not be read");
                return Ok(None);
            }
        };
        if leader.manifest.rules != self.digest {
            return Err(NodeError::RulesDiffer(self.rules.differences(&leader.rules(&self.parts).await?)));
        }
        if leader.manifest.hash == self.base.hash {
            return Ok(Some(News { uid, leader, newer: None }));
        }
        let newer = match self.newer(&leader).await {
            Ok(newer) => Some(newer),
            Err(error) => {
                tracing::warn!(%error, "the new master could not be read; training goes on from the old one");
                None
            }
        };
        Ok(Some(News { uid, leader, newer }))
    }

    async fn newer(&self, leader: &Leader) -> Result<Newer, NodeError> {
        let me: Hotkey = self.parts.identity.hotkey();
        let mut taken: Option<Params> = None;
        let took = |step: &Accepted, delta: &Params| {
            if step.hotkey == me {
                let before = taken.take().unwrap_or_else(|| Params::zeros(&self.spec));
                taken = Some(before.plus_scaled(delta, step.scale));
            }
        };
        let master = leader.master_by(&self.parts, &self.spec, Some(&self.base), took).await?;
        let connected = leader.manifest.hash_of(self.base.seq) == Some(self.base.hash);
        let steps = connected.then(|| leader.manifest.steps_after(self.base.seq)).flatten();
        let own = match steps.and(taken) {
            Some(params) => Some(Own { params, pages: self.own_pages(leader, steps.unwrap_or_default()).await }),
            None => None,
        };
        let others = steps.is_some_and(|steps| steps.iter().any(|step| step.hotkey != me));
        Ok(Newer { master, connected: steps.is_some(), own, others })
    }

    /// Pages that this very miner stated with what was taken from it in `steps`. They only say what needs no statement any
    /// more: without them, the next statement is shorter.
    async fn own_pages(&self, leader: &Leader, steps: &[Accepted]) -> Option<Vec<u64>> {
        let me = self.parts.identity.hotkey();
        let mut pages = Vec::new();
        for step in steps.iter().filter(|step| step.hotkey == me) {
            pages.extend(leader.accepted_pages(&self.parts, step).await.ok()?);
        }
        Some(pages)
    }
}
