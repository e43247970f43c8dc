//! The round of the beacon at which a subnet's epoch reveals a commitment that is made now.
//!
//! Runtimes count epochs in one of two ways. Old ones cut the block number by the tempo. New ones keep a counter in storage,
//! which an owner may push ahead; the coming blocks are simulated as the runtime will run them.

use std::time::Duration;

use super::Beacon;

/// Blocks between the reveal's first block and the one whose time decides the round: by then the chain has the pulse.
const SECURITY_BLOCKS: u64 = 3;
/// The longest tempo an owner may set; also the blocks after which an epoch runs whatever the tempo says.
const MAX_TEMPO: u64 = 50_400;
/// Epochs that are simulated at most; a subnet that reveals later than that is not believed.
const MAX_PERIOD: u64 = 100;

/// A subnet's epochs as the chain has them at one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epochs {
    /// The subnet.
    pub netuid: u16,
    /// The block at which all of this was read; the commitment is expected in the next one.
    pub block: u64,
    /// Blocks of an epoch.
    pub tempo: u16,
    /// Epochs between commitment and reveal.
    pub reveal_period: u64,
    /// The counter of new runtimes; `None` on old ones.
    pub counter: Option<Counter>,
}

/// The state of a new runtime's epochs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// `LastEpochBlock`: when the last epoch ran.
    pub last_epoch: u64,
    /// `PendingEpochAt`: when the owner wants the next; 0 is never.
    pub pending_at: u64,
    /// `SubnetEpochIndex`: how many ran.
    pub index: u64,
    /// `BlocksSinceLastStep`: blocks without an epoch.
    pub since_step: u64,
}

/// The round that `beacon` publishes when the commitment may be revealed, at least 1. `now` is the time of `epochs.block` or
/// a little later, since the Unix epoch. `None` if the subnet runs no epochs, or none within reach.
pub fn round(beacon: &Beacon, epochs: &Epochs, now: Duration, block_time: Duration) -> Option<u64> {
    let first = first_block(epochs)?;
    let blocks = first.checked_add(SECURITY_BLOCKS)?.saturating_sub(epochs.block);
    let ahead = block_time.checked_mul(u32::try_from(blocks).ok()?)?;
    let since = now.checked_add(ahead)?.as_secs().saturating_sub(beacon.genesis);
    Some(since.checked_div(beacon.period)?.max(1))
}

/// The first block at which the chain reveals a commitment of the next block.
fn first_block(epochs: &Epochs) -> Option<u64> {
    if epochs.tempo == 0 || epochs.reveal_period > MAX_PERIOD {
        return None;
    }
    let Some(counter) = &epochs.counter else {
        let (length, shift) = (u64::from(epochs.tempo) + 1, u64::from(epochs.netuid) + 1);
        let epoch = epochs.block.checked_add(shift)? / length;
        return epoch.checked_add(epochs.reveal_period)?.checked_mul(length)?.checked_sub(shift);
    };
    let tempo = u64::from(epochs.tempo);
    let mut counter = counter.clone();
    let mut block = epochs.block.checked_add(1)?;
    let target = counter.seen_at(block, tempo).checked_add(epochs.reveal_period)?;
    let last = block.checked_add((epochs.reveal_period + 1) * MAX_TEMPO)?;
    while block <= last {
        if counter.seen_at(block, tempo) == target {
            return Some(block);
        }
        counter.run(block, tempo);
        block += 1;
    }
    None
}

impl Epochs {
    /// The epoch that the next block is in, and the blocks from this one until another begins. `None` where the next block may begin
    /// one, and for a subnet without epochs.
    pub fn of_next_block(&self) -> Option<(u64, u64)> {
        let next = self.block.checked_add(1)?;
        let tempo = u64::from(self.tempo);
        if tempo == 0 {
            return None;
        }
        let (index, end) = match &self.counter {
            None => {
                let (length, shift) = (tempo + 1, u64::from(self.netuid) + 1);
                let index = next.checked_add(shift)? / length;
                (index, (index + 1).checked_mul(length)?.checked_sub(shift)?)
            }
            Some(counter) if counter.is_due(next, tempo) => return None,
            Some(counter) => (counter.index, counter.last_epoch.checked_add(tempo)?),
        };
        Some((index, end.saturating_sub(self.block)))
    }
}

impl Counter {
    /// The epoch that extrinsics and reveals of `block` see: one that is due in it counts already.
    fn seen_at(&self, block: u64, tempo: u64) -> u64 {
        self.index.saturating_add(u64::from(self.is_due(block, tempo)))
    }

    fn is_due(&self, block: u64, tempo: u64) -> bool {
        (self.pending_at > 0 && block >= self.pending_at)
            || self.since_step > MAX_TEMPO
            || block.saturating_sub(self.last_epoch) >= tempo
    }

    /// What the runtime does at the end of `block`.
    fn run(&mut self, block: u64, tempo: u64) {
        self.since_step = self.since_step.saturating_add(1);
        if self.is_due(block, tempo) {
            *self = Self { last_epoch: block, pending_at: 0, index: self.index.saturating_add(1), since_step: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::QUICKNET;
    use super::*;

    /// The moment at which the known answers were made.
    const NOW: Duration = Duration::from_millis(1_800_000_000_250);

    fn round_of(epochs: &Epochs, block_seconds: f64) -> Option<u64> {
        round(&QUICKNET, epochs, NOW, Duration::from_secs_f64(block_seconds))
    }

    #[test]
    fn new_runtimes_reveal_when_bittensors_own_client_says() {
        // Rounds by bittensor-core 0.1.5: last epoch, pending, index, tempo, since step, block, period, block time, round.
        type Row = (u64, u64, u64, u16, u64, u64, u64, f64, u64);
        let table: [Row; 16] = [
            (1000, 0, 7, 360, 100, 1100, 1, 12.0, 35_733_263),
            // The epoch is due in the commitment's own block, and overdue.
            (1000, 0, 7, 360, 359, 1359, 1, 12.0, 35_733_667),
            (1000, 0, 7, 360, 360, 1360, 1, 12.0, 35_733_667),
            (1000, 0, 7, 360, 400, 1400, 1, 12.0, 35_733_667),
            // The owner asked for an epoch.
            (1000, 1150, 7, 360, 100, 1100, 1, 12.0, 35_732_423),
            (1000, 1101, 7, 360, 100, 1100, 1, 12.0, 35_733_667),
            (1000, 1400, 7, 360, 100, 1100, 2, 12.0, 35_734_703),
            // The safety net.
            (1000, 0, 7, 360, 50401, 1100, 1, 12.0, 35_733_667),
            (1000, 0, 7, 360, 50400, 1100, 1, 12.0, 35_732_231),
            (900, 0, 7, 360, 50395, 1000, 2, 12.0, 35_733_687),
            // Periods, block times, tempos.
            (1000, 0, 7, 360, 100, 1100, 3, 12.0, 35_736_143),
            (5, 0, 0, 10, 3, 8, 1, 0.25, 35_732_211),
            (5, 0, 0, 10, 3, 8, 0, 12.0, 35_732_227),
            (100, 0, 3, 1, 0, 100, 1, 12.0, 35_732_231),
            (5_000_000, 0, 20_000, 99, 98, 5_000_098, 1, 12.0, 35_732_623),
            (0, 0, 0, 50_400, 100, 100, 1, 12.0, 35_933_423),
        ];
        for row @ (last_epoch, pending_at, index, tempo, since_step, block, reveal_period, seconds, wanted) in table {
            let counter = Some(Counter { last_epoch, pending_at, index, since_step });
            let epochs = Epochs { netuid: 1, block, tempo, reveal_period, counter };
            assert_eq!(round_of(&epochs, seconds), Some(wanted), "{row:?}");
        }
    }

    #[test]
    fn old_runtimes_reveal_when_bittensors_old_client_says() {
        // Rounds by bittensor-drand 1: tempo, block, netuid, period, block time, round.
        let table: [(u16, u64, u16, u64, f64, u64); 6] = [
            (360, 1100, 1, 1, 12.0, 35_733_591),
            (360, 1081, 1, 1, 12.0, 35_733_667),
            (360, 1082, 1, 1, 12.0, 35_733_663),
            (99, 5_000_000, 212, 1, 12.0, 35_732_571),
            (10, 8, 1, 3, 0.25, 35_732_213),
            (360, 4_000_000, 3, 2, 12.0, 35_734_615),
        ];
        for row @ (tempo, block, netuid, reveal_period, seconds, wanted) in table {
            let epochs = Epochs { netuid, block, tempo, reveal_period, counter: None };
            assert_eq!(round_of(&epochs, seconds), Some(wanted), "{row:?}");
        }
    }

    #[test]
    fn the_next_blocks_epoch_is_known_unless_it_may_begin_one() {
        // Old runtimes: (block + netuid + 1) / (tempo + 1), of the block to come.
        let old = |block| Epochs { netuid: 1, block, tempo: 9, reveal_period: 1, counter: None };
        assert_eq!(old(6).of_next_block(), Some((0, 2)));
        assert_eq!(old(7).of_next_block(), Some((1, 11)));
        assert_eq!(old(8).of_next_block(), Some((1, 10)));
        let new = |block| {
            let counter = Counter { last_epoch: 100, pending_at: 0, index: 7, since_step: 0 };
            Epochs { counter: Some(counter), tempo: 10, ..old(block) }
        };
        assert_eq!(new(100).of_next_block(), Some((7, 10)));
        assert_eq!(new(108).of_next_block(), Some((7, 2)));
        assert_eq!(new(109).of_next_block(), None);
        assert_eq!(Epochs { tempo: 0, ..new(100) }.of_next_block(), None);
        assert_eq!(old(u64::MAX).of_next_block(), None);
    }

    #[test]
    fn a_subnet_without_epochs_has_no_round() {
        let counter = Counter { last_epoch: 0, pending_at: 0, index: 0, since_step: 0 };
        for counter in [None, Some(counter)] {
            let good = Epochs { netuid: 1, block: 5, tempo: 10, reveal_period: 1, counter };
            assert!(round_of(&good, 12.0).is_some());
            assert_eq!(round_of(&Epochs { tempo: 0, ..good.clone() }, 12.0), None);
            assert_eq!(round_of(&Epochs { reveal_period: u64::MAX, ..good.clone() }, 12.0), None);
            assert_eq!(round_of(&Epochs { block: u64::MAX, ..good }, 12.0), None);
        }
        let epochs = Epochs { netuid: 1, block: 5, tempo: 10, reveal_period: 1, counter: None };
        assert_eq!(round(&QUICKNET, &epochs, Duration::ZERO, Duration::from_secs(12)), Some(1), "before the beacon");
        assert_eq!(round(&Beacon { period: 0, ..QUICKNET }, &epochs, NOW, Duration::from_secs(12)), None);
    }
}
