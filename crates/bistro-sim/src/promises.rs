//! Whether what must always hold did: looked at from outside after every block, and once more in the end.
//!
//! - the newest published master can be rebuilt from what is public, and no master is ever lost (P2, P3);
//! - no manifest is without its object (P5);
//! - no weight goes to a hotkey that its validator had not judged by then (P4), nor, where pay is by improvement, to one of
//!   which it had accepted nothing;
//! - every verdict, score and weight follows from the numbers in the log, and what it says of weights bears a block of their time (P7);
//! - honest programs end only when they are told to.

use std::collections::{BTreeMap, BTreeSet};

use bistro_core::events::{Event, Record};
use bistro_core::ids::{Block, Hash, Hotkey};
use bistro_core::mechanism::{PayRules, Verdict};
use bistro_core::protocol::{DeltaManifest, Folder, Signed};
use bistro_node::audit::{self, Lineage};
use bistro_node::{log, replay};

use crate::chain::{FakeIdentity, NETUID};
use crate::kinds::Kind;
use crate::run::World;

/// Blocks by which two of a validator's tasks may see different heads: a reorganisation takes back some, and waiting for the chain takes a while.
const BACK: u64 = 16;

/// An observer's notes.
#[derive(Debug, Default)]
pub struct Watch {
    /// What was broken.
    pub broken: Vec<String>,
    /// The highest master of each publisher so far.
    masters: BTreeMap<Hotkey, u64>,
}

impl Watch {
    /// A look between two blocks.
    pub(crate) async fn look(&mut self, world: &World) {
        if let Some(leader) = world.leader().await {
            let (hotkey, seq) = (leader.manifest.hotkey, leader.manifest.seq);
            let highest = self.masters.entry(hotkey).or_default();
            if seq < *highest {
                self.broken.push(format!("P3: master {highest} of {hotkey} was lost, {seq} is the newest"));
            }
            *highest = seq;
        }
        // A withheld object is what some kinds do, and a replayed manifest may name one that was removed since; everybody
        // else's must be there.
        let lies = |kind: Kind| matches!(kind, Kind::Withheld | Kind::Impostor | Kind::Replay);
        for (hotkey, kind) in world.miners.iter().filter(|(_, kind)| !lies(*kind)) {
            let parts = world.parts(*hotkey, false);
            let (bucket, folder) = (parts.own.address().name, Folder::new(NETUID, hotkey));
            let Some(json) = world.buckets.peek(&bucket, &folder.latest()) else { continue };
            let any = |_: &_, _: &[u8], _: &_| true;
            let Ok(signed) = Signed::<DeltaManifest>::from_json(&json, any) else { continue };
            let key = folder.delta(signed.statement.block, &signed.statement.object);
            if world.buckets.peek(&bucket, &key).is_none() {
                self.broken.push(format!("P5: `{key}` of a {} miner is not there", kind.name()));
            }
        }
    }

    /// The last look. Returns the lineage that everybody follows.
    pub(crate) async fn settle(&mut self, world: &World) -> Option<Lineage> {
        let logs: BTreeMap<Hotkey, Vec<Record>> =
            world.validators.iter().map(|hotkey| (*hotkey, records(world, hotkey))).collect();
        self.weights(world, &logs);
        for records in logs.values() {
            self.blocks(records);
        }
        for hotkey in &world.validators {
            self.replay(world, *hotkey);
        }
        let leader = world.leader().await?;
        match audit::lineage(&world.observer(), &leader, &world.spec).await {
            Ok(lineage) if lineage.holds() => Some(lineage),
            Ok(_) => {
                self.broken.push("P2: the published lineage leads to another master".into());
                None
            }
            Err(error) => {
                self.broken.push(format!("P2: the lineage cannot be rebuilt: {error}"));
                None
            }
        }
    }

    /// Every weight is for a hotkey that its validator had judged, or of which it had accepted a delta.
    fn weights(&mut self, world: &World, logs: &BTreeMap<Hotkey, Vec<Record>>) {
        for submission in world.chain.submissions() {
            let Some(records) = logs.get(&submission.validator) else { continue };
            let judged: BTreeSet<Hotkey> =
                records.iter().filter(|r| r.block <= submission.block).filter_map(|r| paid_for(world, r)).collect();
            for (_, hotkey, _) in
                submission.weights.iter().filter(|(_, hotkey, weight)| *weight > 0 && !judged.contains(hotkey))
            {
                let block = submission.block;
                self.broken.push(format!("P4: weight for {hotkey} at block {block}, who had done nothing for it"));
            }
        }
    }

    /// What is logged of weights bears a block of its time, and not one from before the verdict that gave them.
    fn blocks(&mut self, records: &[Record]) {
        let mut judged = Block::default();
        for record in records {
            match record.event {
                Event::Judged(_) => judged = record.block,
                Event::WeightsSet { .. } | Event::WeightsRefused { .. } if judged.since(record.block) > BACK => {
                    let (seq, block) = (record.seq, record.block);
                    self.broken.push(format!(
                        "P7: record {seq}, of weights, is of block {block}, after a verdict of block {judged}"
                    ));
                }
                _ => {}
            }
        }
    }

    /// Every verdict, score and weight in the log follows from it.
    fn replay(&mut self, world: &World, hotkey: Hotkey) {
        let folder = world.parts(hotkey, false).data_dir.join(log::FOLDER);
        let replayed = replay::source::of_path(&folder, &FakeIdentity(hotkey), 0);
        match replayed.map(|replayed| replayed.report) {
            Ok(report) if report.holds() => {}
            Ok(report) => self.broken.push(format!("P7: the log of {hotkey}: {report:#?}")),
            Err(error) => self.broken.push(format!("P7: the log of {hotkey}: {error}")),
        }
    }
}

/// Digest of all event logs.
pub(crate) fn digest(world: &World) -> Hash {
    let mut all = Vec::new();
    for hotkey in &world.validators {
        let folder = world.parts(*hotkey, false).data_dir.join(log::FOLDER);
        for file in log::segments::list(&folder).unwrap_or_default() {
            all.extend(fs_err::read(file).unwrap_or_default());
        }
    }
    Hash::of(&all)
}

/// Whose weights this record can be a reason for.
fn paid_for(world: &World, record: &Record) -> Option<Hotkey> {
    let Event::Judged(judged) = &record.event else { return None };
    let paid = match world.rules.mechanism.scoring.pay {
        PayRules::Loss { .. } => true,
        PayRules::Improvement { .. } => matches!(judged.verdict, Verdict::Accept(_)),
    };
    paid.then_some(judged.hotkey)
}

pub(crate) fn records(world: &World, hotkey: &Hotkey) -> Vec<Record> {
    let path = world.parts(*hotkey, false).data_dir.join(log::FOLDER);
    log::read(&path).map(|(records, _)| records).unwrap_or_default()
}
