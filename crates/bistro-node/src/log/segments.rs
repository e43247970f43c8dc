//! The log's files. Each is named by the number of its first record, has one line a record, and begins with a checkpoint, so
//! that old ones can be removed. Only the newest grows.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use bistro_core::ids::Hotkey;
use bistro_core::logline::{self, LineError, Place};
use bistro_core::protocol::{MAX_LOG_SEGMENT_BYTES, MAX_LOG_SEGMENTS};
use fs_err as fs;

use crate::NodeError;

/// The files of the log in `dir`, oldest first.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>, NodeError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if first(&path).is_some() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The number of a file's first record, by its name.
pub(super) fn first(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".jsonl")?;
    (name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit())).then(|| name.parse().ok())?
}

fn file_of(dir: &Path, first: u64) -> PathBuf {
    // As many digits as the largest number has: the order of names is that of numbers.
    dir.join(format!("{first:020}.jsonl"))
}

/// Removes all but the newest [`MAX_LOG_SEGMENTS`] files.
pub(super) fn remove_old(dir: &Path) -> Result<(), NodeError> {
    let files = list(dir)?;
    for file in &files[..files.len().saturating_sub(MAX_LOG_SEGMENTS)] {
        fs::remove_file(file)?;
    }
    Ok(())
}

/// The newest file, open for appending.
pub(super) struct Tail {
    file: fs::File,
    first: u64,
    place: Place,
    bytes: u64,
}

impl Tail {
    /// Opens the newest file in `dir`, checked from its first line to its last; or begins the log at `begin`.
    pub(super) fn open(dir: &Path, hotkey: &Hotkey, begin: Place) -> Result<Self, NodeError> {
        fs::create_dir_all(dir)?;
        let mut files = list(dir)?;
        while let Some(path) = files.pop() {
            let content = read(&path)?;
            // Without its line feed, a line was never finished.
            let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            if whole < content.len() {
                let bytes = content.len() - whole;
                tracing::warn!(path = %path.display(), bytes, "the log's last line is torn, and cut off");
            }
            if whole == 0 {
                // Killed as it began this file: the one before it is the newest.
                fs::remove_file(&path)?;
                continue;
            }
            let (begin, place) = check(&path, &content[..whole], hotkey)?;
            let file = fs::OpenOptions::new().append(true).open(&path)?;
            file.set_len(whole as u64)?;
            return Ok(Self { file, first: begin.seq, place, bytes: whole as u64 });
        }
        let file = fs::OpenOptions::new().create(true).append(true).open(file_of(dir, begin.seq))?;
        Ok(Self { file, first: begin.seq, place: begin, bytes: 0 })
    }

    /// The number of the file's first record.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Where the next line stands.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// The file's length.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends a line, after which the log stands at `place`. A line that could not be written whole is cut off again.
    pub(super) fn append(&mut self, mut line: Vec<u8>, place: Place) -> Result<(), NodeError> {
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            let _ = self.file.set_len(self.bytes);
            return Err(error.into());
        }
        self.bytes += line.len() as u64;
        self.place = place;
        Ok(())
    }

    /// Goes on in a file of its own.
    pub(super) fn next_file(&mut self, dir: &Path) -> Result<(), NodeError> {
        self.sync()?;
        let file = fs::OpenOptions::new().create(true).append(true).open(file_of(dir, self.place.seq))?;
        *self = Self { file, first: self.place.seq, place: self.place, bytes: 0 };
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), NodeError> {
        Ok(self.file.sync_data()?)
    }
}

/// Follows the lines of a file from the first to the last; where they begin and end.
pub(super) fn check(path: &Path, bytes: &[u8], hotkey: &Hotkey) -> Result<(Place, Place), NodeError> {
    let wrong = |error: LineError| damaged(path, &error);
    let lines = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let first = lines.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let record = logline::parse(first, 0).map_err(wrong)?;
    let begin = Place { seq: record.seq, prev: record.prev };
    let mut place = begin;
    for line in lines.split(|byte| *byte == b'\n') {
        logline::follow(&mut place, hotkey, line).map_err(wrong)?;
    }
    Ok((begin, place))
}

/// A file's bytes, no more than a segment may have.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, NodeError> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_LOG_SEGMENT_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LOG_SEGMENT_BYTES {
        return Err(damaged(path, &format!("more than {MAX_LOG_SEGMENT_BYTES} bytes in one file")));
    }
    Ok(bytes)
}

fn damaged(path: &Path, why: &dyn std::fmt::Display) -> NodeError {
    let why = format!(
        "the log is damaged: {why}. Restore the file from a backup, or move the log's folder away: the log then goes on from \
         what is published, and whoever replays it sees that scores began anew"
    );
    NodeError::State { path: path.to_owned(), why }
}
