//! The validator's log: what it saw and decided, one signed line a record, each naming the line before by its hash
//! ([`bistro_core::logline`]). A line is with the system before the loop goes on, so that a killed program has told all it did.
//!
//! - this file: the log, open for appending.
//! - [`segments`]: its files: one grows, the others are closed.
//! - [`published`]: the log in the validator's bucket, and how anybody reads it there.

pub mod published;
pub mod segments;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bistro_core::events::{Event, Record};
use bistro_core::ids::{Block, Hash, NetUid};
use bistro_core::logline::{self, Place};
use bistro_core::ports::{Clock, Identity};

use crate::status::Board;
use crate::{NodeError, Parts};
use segments::Tail;

/// The log's folder in the data folder.
pub const FOLDER: &str = "log";

/// Length from which a segment is closed, bytes: about a thousand verdicts.
const SEGMENT_BYTES: u64 = 1 << 20;

/// The log, open for appending. Clones append to the same one.
#[derive(Clone)]
pub struct EventLog {
    dir: PathBuf,
    netuid: NetUid,
    identity: Arc<dyn Identity>,
    clock: Arc<dyn Clock>,
    /// Shows every record, too.
    board: Board,
    // A std mutex: held for one write, never across an await.
    tail: Arc<Mutex<Tail>>,
}

impl EventLog {
    /// Opens the log in `dir`, or begins one at `begin`. A last line that a crash left unfinished is cut off: its record was
    /// never there. Anything else that is wrong with the newest segment is refused.
    pub fn open(dir: &Path, parts: &Parts, begin: Place) -> Result<Self, NodeError> {
        let log = Self::new(dir, parts.netuid, parts.identity.clone(), parts.clock.clone(), begin)?;
        Ok(Self { board: parts.board.clone(), ..log })
    }

    fn new(
        dir: &Path,
        netuid: NetUid,
        identity: Arc<dyn Identity>,
        clock: Arc<dyn Clock>,
        begin: Place,
    ) -> Result<Self, NodeError> {
        let tail = Arc::new(Mutex::new(Tail::open(dir, &identity.hotkey(), begin)?));
        Ok(Self { dir: dir.to_owned(), netuid, identity, clock, board: Board::default(), tail })
    }

    /// Appends one record.
    pub fn append(&self, block: Block, event: Event) -> Result<Record, NodeError> {
        self.write(&mut self.lock(), block, event)
    }

    /// Whether it is time for another segment.
    pub fn is_long(&self) -> bool {
        self.lock().bytes() >= SEGMENT_BYTES
    }

    /// Closes the newest segment, and begins the next with `checkpoint`.
    pub fn roll(&self, block: Block, checkpoint: Event) -> Result<Record, NodeError> {
        let mut tail = self.lock();
        tail.next_file(&self.dir)?;
        let record = self.write(&mut tail, block, checkpoint)?;
        segments::remove_old(&self.dir)?;
        Ok(record)
    }

    /// Returns when everything appended so far is on the disk, not just with the system.
    pub fn sync(&self) -> Result<(), NodeError> {
        self.lock().sync()
    }

    /// The number of the next record.
    pub fn next(&self) -> u64 {
        self.lock().place().seq
    }

    /// The records from number `from` on.
    pub fn since(&self, from: u64) -> Result<Vec<Record>, NodeError> {
        let tail = self.lock();
        let mut records = Vec::new();
        for path in segments::list(&self.dir)?.into_iter().rev() {
            let mut read = read(&path)?.0;
            let reached = read.first().is_none_or(|first| first.seq <= from);
            read.retain(|record| record.seq >= from);
            read.append(&mut records);
            records = read;
            if reached {
                break;
            }
        }
        drop(tail);
        Ok(records)
    }

    fn write(&self, tail: &mut Tail, block: Block, event: Event) -> Result<Record, NodeError> {
        let Place { seq, prev } = tail.place();
        let (netuid, hotkey, time) = (self.netuid, self.identity.hotkey(), self.clock.unix_millis());
        let record = Record { netuid, hotkey, seq, prev, time, block, event };
        let line = logline::seal(&record, |message| self.identity.sign(message));
        let place = Place { seq: seq + 1, prev: Hash::of(&line) };
        tail.append(line, place)?;
        self.board.record(record.time, record.block, &record.event);
        Ok(record)
    }

    // A write that failed is cut off again, so the tail is whole whoever panicked.
    fn lock(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a log, or one file of it, as it stands: for whoever trusts the place where it lies. Lines that are no records are
/// counted, not taken. [`crate::replay`] reads it with every check.
pub fn read(path: &Path) -> Result<(Vec<Record>, usize), NodeError> {
    let files = if path.is_dir() { segments::list(path)? } else { vec![path.to_owned()] };
    let (mut records, mut bad) = (Vec::new(), 0);
    for file in files {
        let bytes = fs_err::read(file)?;
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match logline::parse(line, records.len() as u64) {
                Ok(record) => records.push(record),
                Err(_) => bad += 1,
            }
        }
    }
    Ok((records, bad))
}

#[cfg(test)]
mod tests;
