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

/// Above this cosine values are the same ones, rescaled or rounded. Two who work are never so near, however easy the text: on
/// one of sixty words and one sentence they were at 0.97.
const SAME: f64 = 0.999;

/// Objects of one hotkey whose first sight is remembered: the newest ones.
const MAX_SIGHTS: usize = 8;

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

/// A delta whose values were refused. Neither they nor the answer change: it is not downloaded again.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// Hash of the signed manifest, which names the object and says how it is to be read.
    pub manifest: Hash,
    /// The values' norm, which was too large for the master of then, or why there are none.
    pub found: Result<f64, Skip>,
}

/// What is remembered of a hotkey when its delta is looked for.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// The delta that was judged last.
    pub seen: Option<Seen>,
    /// One that was refused for its values.
    pub refused: Option<Refused>,
}

/// When an object was first seen in its bucket, as far as this validator knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sight {
    /// A block at which it was not there; 0 if nobody looked.
    pub not_before: Block,
    /// A block by which it was.
    pub seen_by: Block,
}

/// What a delta's values look like: by this, copies are found.
#[derive(Clone, Debug)]
pub struct Likeness {
    /// Canonical hash.
    pub hash: Hash,
    /// Sketch by this validator's secret.
    pub sketch: Sketch,
}

impl Likeness {
    /// Reads every value twice.
    pub fn of(delta: &Params, secret: &Hash) -> Self {
        Self { hash: delta.hash(), sketch: Sketch::new(delta, secret) }
    }
}

/// One delta, as far as it is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// Who uploaded it.
    pub owner: Hotkey,
    /// The first block at which it can have been there: as its owner states, and no earlier than it was looked for in vain.
    pub since: Block,
    /// When it was first seen.
    pub sight: Sight,
    /// What it looks like.
    pub sketch: Sketch,
}

/// What a hotkey's bucket held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// The block of the last look.
    pub at: Block,
    /// Objects that its manifest has named, oldest first.
    pub objects: Vec<(Hash, Sight)>,
}

/// What is remembered of deltas, over restarts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// By which sketches are made. Never published: whoever knows it can make copies that look unlike.
    pub secret: Hash,
    /// By hotkey.
    pub seen: BTreeMap<Hotkey, Seen>,
    /// What each hotkey's bucket held.
    pub looks: BTreeMap<Hotkey, Look>,
    /// Canonical hash of a delta's values → whose it is.
    pub payloads: BTreeMap<Hash, Payload>,
    /// Hotkeys that were caught copying, and the block until which they are not judged.
    pub suspended: BTreeMap<Hotkey, Block>,
    /// By hotkey. Not kept over a restart, after which each is downloaded once more.
    #[serde(skip)]
    pub refused: BTreeMap<Hotkey, Refused>,
}

/// Somebody who uploaded what another hotkey had before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copier {
    /// Who.
    pub hotkey: Hotkey,
    /// Why that is known.
    pub skip: Skip,
}

impl Memory {
    /// Nothing, yet.
    pub fn new(secret: Hash) -> Self {
        Self {
            secret,
            seen: BTreeMap::new(),
            looks: BTreeMap::new(),
            payloads: BTreeMap::new(),
            suspended: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Forgets hotkeys that `keep` does not name. Their deltas stay known: a copy of them is one all the same.
    pub fn retain(&mut self, keep: impl Fn(&Hotkey) -> bool) {
        self.seen.retain(|hotkey, _| keep(hotkey));
        self.looks.retain(|hotkey, _| keep(hotkey));
        self.suspended.retain(|hotkey, _| keep(hotkey));
        self.refused.retain(|hotkey, _| keep(hotkey));
    }

    /// What is remembered of `hotkey`.
    pub fn past(&self, hotkey: &Hotkey) -> Past {
        Past { seen: self.seen.get(hotkey).cloned(), refused: self.refused.get(hotkey).cloned() }
    }

    /// Takes note of what `hotkey`'s bucket held (`None`: nothing) in a look that began at block `asked` and ended by block
    /// `answered`. One that is older than another is no news.
    pub fn look(&mut self, hotkey: Hotkey, asked: Block, answered: Block, object: Option<Hash>) {
        let first = !self.looks.contains_key(&hotkey);
        let look = self.looks.entry(hotkey).or_default();
        if asked < look.at {
            return;
        }
        let not_before = if first { Block(0) } else { look.at };
        look.at = asked;
        let Some(object) = object else { return };
        if look.objects.iter().all(|(known, _)| *known != object) {
            look.objects.push((object, Sight { not_before, seen_by: answered }));
            let surplus = look.objects.len().saturating_sub(MAX_SIGHTS);
            look.objects.drain(..surplus);
        }
    }

    /// When `object` was first seen in `hotkey`'s bucket; `now` if that is not known.
    fn sight(&self, hotkey: &Hotkey, object: &Hash, now: Block) -> Sight {
        let known = self.looks.get(hotkey).and_then(|look| look.objects.iter().find(|(known, _)| known == object));
        known.map_or(Sight { not_before: Block(0), seen_by: now }, |(_, sight)| *sight)
    }

    /// Refuses values that another hotkey had before, the same or nearly the same ones. Who had them first is known if one
    /// bucket was seen with them before the other was seen without; otherwise the earlier stated block wins, and nobody is
    /// blamed. Nor is anybody for values that are only near: who works may come near by chance. Returns those who are now
    /// known to have copied these values.
    pub fn check_original(
        &mut self,
        m: &DeltaManifest,
        likeness: Likeness,
        now: Block,
        max_cosine: f64,
    ) -> Result<Vec<Copier>, Skip> {
        let sight = self.sight(&m.hotkey, &m.object, now);
        let since = m.block.max(sight.not_before);
        let Likeness { hash, sketch } = likeness;
        let mut copiers: Vec<Copier> = Vec::new();
        let mut unclear = None;
        for (other, p) in self.payloads.iter().filter(|(_, p)| p.owner != m.hotkey) {
            let cosine = p.sketch.cosine(&sketch);
            // At 1 the check is off: only exact copies are refused.
            if *other != hash && (max_cosine >= 1.0 || cosine <= max_cosine) {
                continue;
            }
            let exact = *other == hash;
            let same = if exact { "the same values".to_owned() } else { format!("cosine {cosine:.3}") };
            if p.sight.seen_by <= sight.not_before {
                let reason = if exact { Reason::Copied } else { Reason::NearCopy };
                let (owner, by, then) = (p.owner, p.sight.seen_by, sight.not_before);
                let why = format!("{same}, seen at {owner} by block {by}, and not here at block {then}");
                return Err(Skip::new(reason, why));
            }
            if sight.seen_by <= p.sight.not_before {
                if !exact && cosine <= SAME {
                    continue;
                }
                let (owner, by, then) = (m.hotkey, sight.seen_by, p.sight.not_before);
                let why = format!("{same}, seen at {owner} by block {by}, and not here at block {then}");
                copiers.push(Copier { hotkey: p.owner, skip: Skip::new(Reason::Copied, why) });
            } else if p.since <= since {
                unclear = Some(format!("{same}, which {} states to have had at block {}", p.owner, p.since));
            }
        }
        if let Some(why) = unclear {
            return Err(Skip::new(Reason::MaybeCopied, why));
        }
        // The same values again: the first block stands.
        let known = self.payloads.get(&hash).filter(|p| p.owner == m.hotkey);
        let (since, sight) = known.map_or((since, sight), |p| (p.since.min(since), p.sight));
        self.payloads.insert(hash, Payload { owner: m.hotkey, since, sight, sketch });
        if self.payloads.len() > MAX_PAYLOADS {
            let oldest = self.payloads.iter().min_by_key(|(_, p)| p.since).map(|(hash, _)| *hash);
            oldest.map(|hash| self.payloads.remove(&hash));
        }
        copiers.dedup_by_key(|copier| copier.hotkey);
        Ok(copiers)
    }

    /// Whether `hotkey` is suspended at `now`, and until when.
    pub fn suspended(&self, hotkey: &Hotkey, now: Block) -> Option<Block> {
        self.suspended.get(hotkey).copied().filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use bistro_core::ids::{NetUid, Uid};
    use bistro_core::params::Tensor;
    use bistro_core::protocol::Encoding;

    use super::*;

    const AUTHOR: Hotkey = Hotkey([1; 32]);
    const COPIER: Hotkey = Hotkey([2; 32]);

    fn manifest(hotkey: Hotkey, block: u64) -> DeltaManifest {
        DeltaManifest {
            netuid: NetUid(1),
            uid: Uid(0),
            hotkey,
            block: Block(block),
            rules: Hash([0; 32]),
            base_seq: 0,
            base: Hash([0; 32]),
            encoding: Encoding::F32,
            object: Hash(hotkey.0),
            size: 9,
            steps: 1,
            tokens: 1,
            pages: Vec::new(),
        }
    }

    fn values() -> Params {
        let data = (0..4000).map(|i| ((i * 7919 % 101) as f32) - 50.0).collect();
        Params { tensors: [("w".to_owned(), Tensor::new(vec![40, 100], data))].into() }
    }

    /// Author and copier, looked at in these blocks; whether the object is there.
    fn memory(looks: &[(Hotkey, u64, bool)]) -> Memory {
        let mut memory = Memory::new(Hash([5; 32]));
        for (hotkey, block, there) in looks {
            memory.look(*hotkey, Block(*block), Block(*block), there.then_some(Hash(hotkey.0)));
        }
        memory
    }

    fn check(memory: &mut Memory, hotkey: Hotkey, block: u64) -> Result<Vec<Hotkey>, Reason> {
        let likeness = Likeness::of(&values(), &memory.secret);
        let checked = memory.check_original(&manifest(hotkey, block), likeness, Block(50), 0.9);
        checked.map(|copiers| copiers.into_iter().map(|c| c.hotkey).collect()).map_err(|skip| skip.reason)
    }

    const WATCHED: [(Hotkey, u64, bool); 6] = [
        (AUTHOR, 9, false),
        (COPIER, 9, false),
        (AUTHOR, 10, true),
        (COPIER, 10, false),
        (AUTHOR, 11, true),
        (COPIER, 11, true),
    ];

    #[test]
    fn a_copy_is_proven_by_looks_whatever_block_it_states() {
        let mut memory = memory(&WATCHED);
        assert_eq!(check(&mut memory, AUTHOR, 10), Ok(vec![]));
        assert_eq!(check(&mut memory, COPIER, 1), Err(Reason::Copied));
    }

    #[test]
    fn a_copy_that_was_judged_first_is_found_out_when_the_original_comes() {
        let mut memory = memory(&WATCHED);
        assert_eq!(check(&mut memory, COPIER, 1), Ok(vec![]));
        assert_eq!(check(&mut memory, AUTHOR, 10), Ok(vec![COPIER]));
    }

    #[test]
    fn whose_delta_was_copied_before_it_was_judged_is_not_blamed_for_its_next_one() {
        let mut memory = memory(&WATCHED);
        assert_eq!(check(&mut memory, COPIER, 11), Ok(vec![]));
        // The author went on training: nearly the same values, and an object that nobody had seen when the copy was.
        let mut next = manifest(AUTHOR, 13);
        next.object = Hash([7; 32]);
        memory.look(AUTHOR, Block(12), Block(12), Some(Hash(AUTHOR.0)));
        memory.look(AUTHOR, Block(13), Block(13), Some(next.object));
        let more = Likeness::of(&values().plus_scaled(&values(), 0.01), &memory.secret);
        let refused = memory.check_original(&next, more, Block(50), 0.9).unwrap_err().reason;
        assert_eq!(refused, Reason::NearCopy);
        assert!(!refused.is_fault() && Reason::Copied.is_fault());
    }

    /// Two who work may come near each other. Which of them is judged first is chance, and must cost neither what it earned.
    #[test]
    fn two_honest_miners_of_easy_text_are_not_blamed() {
        let towards = |cosine: f32| {
            let data = (0..4000).map(|i| ((i * 7919 % 89) as f32) - 44.0).collect();
            let other = Params { tensors: [("w".to_owned(), Tensor::new(vec![40, 100], data))].into() };
            let angle = cosine.acos();
            let own = (angle.sin() * (values().norm() / other.norm()) as f32) / angle.cos();
            Likeness::of(&values().plus_scaled(&other, own), &Hash([5; 32]))
        };
        let mut memory = memory(&WATCHED);
        let later = manifest(COPIER, 11);
        assert_eq!(memory.check_original(&later, towards(0.97), Block(50), 0.9), Ok(vec![]));
        assert_eq!(check(&mut memory, AUTHOR, 10), Ok(vec![]), "the other one is no copier");
        // What is rescaled, or rounded a little, is nobody's own work.
        let mut memory = self::memory(&WATCHED);
        assert_eq!(memory.check_original(&later, towards(0.99999), Block(50), 0.9), Ok(vec![]));
        assert_eq!(check(&mut memory, AUTHOR, 10), Ok(vec![COPIER]));
    }

    #[test]
    fn without_proof_the_earlier_stated_block_wins_and_nobody_is_blamed() {
        let both_at_once = [(AUTHOR, 9, false), (COPIER, 9, false), (AUTHOR, 10, true), (COPIER, 10, true)];
        let mut first = memory(&both_at_once);
        assert_eq!(check(&mut first, AUTHOR, 10), Ok(vec![]));
        assert_eq!(check(&mut first, COPIER, 10), Err(Reason::MaybeCopied));
        let mut never_looked = memory(&[]);
        assert_eq!(check(&mut never_looked, COPIER, 12), Ok(vec![]));
        assert_eq!(check(&mut never_looked, AUTHOR, 10), Ok(vec![]), "stated earlier, but that is no proof");
    }

    #[test]
    fn a_look_that_comes_late_is_no_news_and_an_old_object_again_keeps_its_first_sight() {
        let mut memory = memory(&WATCHED);
        memory.look(AUTHOR, Block(8), Block(12), None);
        memory.look(AUTHOR, Block(14), Block(14), Some(Hash([9; 32])));
        memory.look(AUTHOR, Block(15), Block(15), Some(Hash(AUTHOR.0)));
        let sight = memory.sight(&AUTHOR, &Hash(AUTHOR.0), Block(50));
        assert_eq!(sight, Sight { not_before: Block(9), seen_by: Block(10) });
        assert_eq!(memory.looks[&AUTHOR].at, Block(15));
    }

    #[test]
    fn a_suspension_ends() {
        let mut memory = memory(&[]);
        memory.suspended.insert(COPIER, Block(30));
        assert_eq!(memory.suspended(&COPIER, Block(29)), Some(Block(30)));
        assert_eq!(memory.suspended(&COPIER, Block(30)), None);
    }
}
