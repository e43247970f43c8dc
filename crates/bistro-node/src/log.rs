//! The validator's event log: one JSON record a line, appended and flushed before the loop goes on.

use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bistro_core::events::{Event, Record};
use bistro_core::ids::Block;
use bistro_core::ports::Clock;
use fs_err as fs;

use crate::NodeError;

/// The log, open for appending.
#[derive(Clone)]
pub struct EventLog {
    // A std mutex: held for one write, never across an await.
    file: Arc<Mutex<fs::File>>,
    clock: Arc<dyn Clock>,
}

impl EventLog {
    /// Opens (or begins) the log at `path`. A last line without its end, torn by a crash, is closed first, so that it spoils
    /// no other.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, NodeError> {
        let torn = fs::read(path).is_ok_and(|content| content.last().is_some_and(|byte| *byte != b'\n'));
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path)?;
        if torn {
            file.write_all(b"\n")?;
        }
        Ok(Self { file: Arc::new(Mutex::new(file)), clock })
    }

    /// Appends one record.
    pub fn append(&self, block: Block, event: Event) -> Result<(), NodeError> {
        let record = Record { time: self.clock.unix_millis(), block, event };
        let mut line = serde_json::to_vec(&record).unwrap_or_default();
        line.push(b'\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)?;
        Ok(())
    }
}

/// Reads a log; lines that are no records (torn by a crash) are counted, not taken.
pub fn read(path: &Path) -> Result<(Vec<Record>, usize), NodeError> {
    let text = fs::read_to_string(path)?;
    let lines = text.lines().filter(|line| !line.is_empty());
    let parsed: Vec<Option<Record>> = lines.map(|line| serde_json::from_str(line).ok()).collect();
    let bad = parsed.iter().filter(|record| record.is_none()).count();
    Ok((parsed.into_iter().flatten().collect(), bad))
}
