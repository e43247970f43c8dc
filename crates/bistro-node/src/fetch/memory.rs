//! What a validator remembers of the deltas it met, and by which it tells a copy from an original.

use std::collections::BTreeMap;

use bistro_core::ids::{Block, Hash, Hotkey};
use bistro_core::mechanism::Sketch;
use bistro_core::params::Params;
use bistro_core::protocol::DeltaManifest;
use bistro_core::skip::{Reason, Skip};
use serde::{Deserialize, Serialize};

/// Deltas that are remembered, to tell copies: the newest ones.
const MAX_PAYLOADS: usize = 1024;

/// What is remembered of one hotkey's deltas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Block of its newest manifest that passed all checks.
    pub block: Block,
    /// The delta of that manifest.
    pub object: Hash,
    /// The master on which it was judged.
    pub master_seq: u64,
}

/// One delta, as far as it is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// Who uploaded it.
    pub owner: Hotkey,
    /// The first block at which it can have been there, as far as this validator knows.
    pub since: Block,
    /// What it looks like.
    pub sketch: Sketch,
}

/// What a hotkey's bucket held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// The head when it was last read.
    pub at: Block,
    /// The object that its manifest named, if there was one.
    pub object: Option<Hash>,
    /// The last block at which something else was there.
    pub not_before: Block,
}

/// What is remembered of deltas, over restarts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// By which sketches are made. Never published: whoever knows it can make copies that look unlike.
    pub secret: Hash,
    /// By hotkey.
    pub seen: BTreeMap<Hotkey, Seen>,
    /// What each hotkey's bucket held when it was last read.
    pub looks: BTreeMap<Hotkey, Look>,
    /// Canonical hash of a delta's values → whose it is.
    pub payloads: BTreeMap<Hash, Payload>,
}

impl Memory {
    /// Nothing, yet.
    pub fn new(secret: Hash) -> Self {
        Self { secret, seen: BTreeMap::new(), looks: BTreeMap::new(), payloads: BTreeMap::new() }
    }

    /// Forgets hotkeys that `keep` does not name. Their deltas stay known: a copy of them is one all the same.
    pub fn retain(&mut self, keep: impl Fn(&Hotkey) -> bool) {
        self.seen.retain(|hotkey, _| keep(hotkey));
        self.looks.retain(|hotkey, _| keep(hotkey));
    }

    /// Takes note of what `hotkey`'s bucket held at `head` (nothing, if it could not be read). Returns the block since when
    /// this object can have been there: that of the last look that found something else, 0 if there was none.
    pub fn look(&mut self, hotkey: Hotkey, head: Block, object: Option<Hash>) -> Block {
        let look = self.looks.entry(hotkey).or_insert(Look { at: head, object, not_before: Block(0) });
        if look.object != object {
            (look.object, look.not_before) = (object, look.at);
        }
        look.at = head;
        look.not_before
    }

    /// Refuses values that another hotkey uploaded before, the same or nearly the same ones: the earlier block wins. A miner
    /// states its block itself; a look at its bucket that found something else (`not_before`) bounds what it can claim.
    pub fn check_original(
        &mut self,
        m: &DeltaManifest,
        delta: &Params,
        not_before: Block,
        max_cosine: f64,
    ) -> Result<(), Skip> {
        let since = m.block.max(not_before);
        let hash = delta.hash();
        let sketch = Sketch::new(delta, &self.secret);
        let earlier = |p: &&Payload| p.owner != m.hotkey && p.since <= since;
        if let Some(first) = self.payloads.get(&hash).filter(earlier) {
            let why = format!("{} uploaded the same values at block {}", first.owner, first.since);
            return Err(Skip::new(Reason::Copied, why));
        }
        let others = self.payloads.values().filter(earlier).map(|p| (p.sketch.cosine(&sketch), p));
        if let Some((cosine, nearest)) = others.max_by(|a, b| a.0.total_cmp(&b.0)) {
            tracing::debug!(hotkey = m.hotkey.short(), cosine, of = nearest.owner.short(), "nearest other delta");
            // At 1 the check is off: exact copies are refused above.
            if max_cosine < 1.0 && cosine > max_cosine {
                let why = format!("cosine {cosine:.3} with what {} uploaded at block {}", nearest.owner, nearest.since);
                return Err(Skip::new(Reason::NearCopy, why));
            }
        }
        // The same values again, or claimed earlier by another: the first block stands.
        let known = self.payloads.get(&hash).filter(|p| p.owner == m.hotkey).map(|p| p.since);
        let payload = Payload { owner: m.hotkey, since: known.unwrap_or(since).min(since), sketch };
        self.payloads.insert(hash, payload);
        if self.payloads.len() > MAX_PAYLOADS {
            let oldest = self.payloads.iter().min_by_key(|(_, p)| p.since).map(|(hash, _)| *hash);
            oldest.map(|hash| self.payloads.remove(&hash));
        }
        Ok(())
    }
}
