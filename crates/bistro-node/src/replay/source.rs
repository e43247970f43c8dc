//! The lines of a log, from files or from a bucket, with every check of form, order and signature. Reading stops at the first
//! line that is not what was written: what comes after it proves nothing.

use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use bistro_core::ids::Hotkey;
use bistro_core::logline::{self, MAX_LINE_BYTES, Place};
use bistro_core::ports::Identity;

use super::{Replay, Replayed};
use crate::log::published::Published;
use crate::log::segments;
use crate::{NodeError, Parts};

/// Follows the log in `path`: a folder of segments, or one file. The newest `keep` verdicts are kept.
pub fn of_path(path: &Path, identity: &dyn Identity, keep: usize) -> Result<Replayed, NodeError> {
    let files = if path.is_dir() { segments::list(path)? } else { vec![path.to_owned()] };
    if files.is_empty() {
        let why = "there is no log in it: files named by the number of their first record, ending in .jsonl".to_owned();
        return Err(NodeError::State { path: path.to_owned(), why });
    }
    let mut replay = Replay::keeping(keep);
    let mut lines = Lines { place: None, hotkey: None, identity };
    for file in files {
        let mut reader = BufReader::new(fs_err::File::open(&file)?);
        if let Err(broken) = lines.read(&mut reader, &mut replay)? {
            return Ok(replay.finish(Some(format!("{}: {broken}", file.display()))));
        }
    }
    Ok(replay.finish(None))
}

/// Follows what a validator publishes. The newest `keep` verdicts are kept.
pub async fn of_published(parts: &Parts, log: &Published, keep: usize) -> Result<Replayed, NodeError> {
    let mut replay = Replay::keeping(keep);
    for segment in &log.manifest.segments {
        match log.segment(parts, segment).await {
            Ok(records) => records.iter().for_each(|record| replay.take(record)),
            Err(NodeError::Log { why, .. }) => return Ok(replay.finish(Some(why))),
            Err(error) => return Err(error),
        }
    }
    Ok(replay.finish(None))
}

/// Lines on their way through the checks.
struct Lines<'a> {
    place: Option<Place>,
    hotkey: Option<Hotkey>,
    identity: &'a dyn Identity,
}

impl Lines<'_> {
    /// Reads all lines; the inner error is a line that is not what was written. Each signature is checked: only so is the very
    /// line named that was changed.
    fn read(&mut self, reader: &mut impl BufRead, replay: &mut Replay) -> std::io::Result<Result<(), String>> {
        loop {
            let mut line = Vec::new();
            reader.take(MAX_LINE_BYTES as u64 + 2).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                return Ok(Ok(()));
            }
            if line.pop() != Some(b'\n') {
                let at = self.place.map_or(0, |place| place.seq);
                return Ok(Err(format!("record {at} has no end: it was cut off, or the program is writing it")));
            }
            if let Err(error) = self.line(&line, replay) {
                return Ok(Err(error.to_string()));
            }
        }
    }

    fn line(&mut self, line: &[u8], replay: &mut Replay) -> Result<(), logline::LineError> {
        if self.place.is_none() {
            let first = logline::parse(line, 0)?;
            self.place = Some(Place { seq: first.seq, prev: first.prev });
            self.hotkey = Some(first.hotkey);
        }
        let (Some(place), Some(hotkey)) = (&mut self.place, &self.hotkey) else { return Ok(()) };
        let record = logline::follow(place, hotkey, line)?;
        let verify = |hotkey: &_, message: &[u8], signature: &_| self.identity.verify(hotkey, message, signature);
        logline::check_signature(line, record.seq, hotkey, verify)?;
        replay.take(&record);
        Ok(())
    }
}
