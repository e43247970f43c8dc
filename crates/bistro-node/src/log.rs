//! The validator's event log: one JSON record a line, appended and flushed before the loop goes on.

use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bistro_core::events::{Event, Record};
use bistro_core::ids::Block;
use bistro_core::ports::Clock;
use fs_err as fs;

use crate::NodeError;
use crate::status::Board;

/// The log, open for appending.
#[derive(Clone)]
pub struct EventLog {
    // A std mutex: held for one write, never across an await.
    file: Arc<Mutex<fs::File>>,
    clock: Arc<dyn Clock>,
    board: Board,
}

impl EventLog {
    /// Opens (or begins) the log at `path`. A last line without its end, torn by a crash, is closed first, so that it spoils
    /// no other.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, NodeError> {
        let torn = last_byte(path)?.is_some_and(|byte| byte != b'\n');
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path)?;
        if torn {
            file.write_all(b"\n")?;
        }
        Ok(Self { file: Arc::new(Mutex::new(file)), clock, board: Board::default() })
    }

    /// Shows every record on `board`, too.
    #[must_use]
    pub fn shown_on(self, board: Board) -> Self {
        Self { board, ..self }
    }

    /// Appends one record.
    pub fn append(&self, block: Block, event: Event) -> Result<(), NodeError> {
        let record = Record { time: self.clock.unix_millis(), block, event };
        self.board.record(record.time, record.block, &record.event);
        let mut line = serde_json::to_vec(&record).unwrap_or_default();
        line.push(b'\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)?;
        Ok(())
    }
}

/// The last byte of the file, if there is one: a log of months is not read whole for it.
fn last_byte(path: &Path) -> Result<Option<u8>, NodeError> {
    let Ok(mut file) = fs::File::open(path) else { return Ok(None) };
    if file.metadata()?.len() == 0 {
        return Ok(None);
    }
    let mut byte = [0];
    file.seek(std::io::SeekFrom::End(-1))?;
    file.read_exact(&mut byte)?;
    Ok(Some(byte[0]))
}

/// Reads a log; lines that are no records (torn by a crash) are counted, not taken.
pub fn read(path: &Path) -> Result<(Vec<Record>, usize), NodeError> {
    let text = fs::read_to_string(path)?;
    let lines = text.lines().filter(|line| !line.is_empty());
    let parsed: Vec<Option<Record>> = lines.map(|line| serde_json::from_str(line).ok()).collect();
    let bad = parsed.iter().filter(|record| record.is_none()).count();
    Ok((parsed.into_iter().flatten().collect(), bad))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bistro_core::ids::Hash;

    use super::*;

    struct FakeClock;

    #[async_trait::async_trait]
    impl Clock for FakeClock {
        fn unix_millis(&self) -> u64 {
            7
        }

        async fn sleep(&self, _: Duration) {}
    }

    #[test]
    fn a_line_torn_by_a_crash_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let event = |seq| Event::Published { seq, hash: Hash([1; 32]) };
        let open = || EventLog::open(&path, Arc::new(FakeClock)).unwrap();
        open().append(Block(1), event(1)).unwrap();
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], &whole[..20]].concat()).unwrap();
        open().append(Block(2), event(2)).unwrap();
        let (records, torn) = read(&path).unwrap();
        assert_eq!(records.iter().map(|r| r.event.clone()).collect::<Vec<_>>(), [event(1), event(2)]);
        assert_eq!(torn, 1);
    }
}
