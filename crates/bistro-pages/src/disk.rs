//! Packed pages on disk, shared by all processes that name the same folder.
//!
//! A file is written beside its place and then renamed, so nobody reads half of one, whoever is killed when. It ends with a
//! digest of all before, so nobody uses one that the disk has damaged. The least recently used go when there are too many.

use std::ffi::OsStr;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bistro_core::ids::Hash;
use bistro_core::tokens::TokenBatch;

const MAGIC: &[u8; 8] = b"BISTROPG";

/// Magic, key, tokens of a sequence, digest.
const FRAME: usize = 8 + 32 + 8 + 32;

/// After so long a file that is still under way belongs to a process that was killed.
const ABANDONED: Duration = Duration::from_mins(10);

const PAGE: &str = "page";
const UNDER_WAY: &str = "tmp";

/// What became of a page that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is on the disk.
    Yes,
    /// It alone is larger than all the room of the cache.
    TooLarge,
    /// The disk or the user's share of it is full.
    DiskFull,
    /// Another trouble with the folder.
    CacheFailed,
}

/// A bounded folder of pages.
pub struct DiskCache {
    folder: PathBuf,
    max_bytes: u64,
    written: AtomicU64,
    /// Whether the last page could not be kept.
    in_trouble: AtomicBool,
}

impl DiskCache {
    /// Makes the folder. `max_bytes` bounds all pages in it, whoever wrote them.
    pub fn open(folder: &Path, max_bytes: u64) -> std::io::Result<Self> {
        fs_err::create_dir_all(folder)?;
        Ok(Self { folder: folder.into(), max_bytes, written: AtomicU64::new(0), in_trouble: AtomicBool::new(false) })
    }

    /// The page of `key`. One that is damaged is removed. Blocks.
    pub fn get(&self, key: Hash) -> Option<TokenBatch> {
        let path = self.path(key);
        let bytes = fs_err::read(&path).ok()?;
        let Some(batch) = decode(key, &bytes) else {
            tracing::warn!(file = %path.display(), "a page in the cache is damaged (CacheDamaged); it is fetched anew");
            let _ = fs_err::remove_file(&path);
            return None;
        };
        // Who cannot mark a page as used loses it a little earlier.
        let used = std::fs::File::options().write(true).open(&path).and_then(|f| f.set_modified(SystemTime::now()));
        if let Err(error) = used {
            tracing::debug!(%error, "a page could not be marked as used");
        }
        Some(batch)
    }

    /// Keeps a page, or says why not. Trouble with the disk is no reason to stop: the page is in memory. Blocks.
    pub fn put(&self, key: Hash, batch: &TokenBatch) -> Kept {
        let bytes = encode(key, batch);
        let size = bytes.len() as u64;
        if size > self.max_bytes {
            return Kept::TooLarge;
        }
        self.make_room(size);
        let Err(error) = self.write(key, &bytes) else {
            self.in_trouble.store(false, Ordering::Relaxed);
            return Kept::Yes;
        };
        let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        let kept = if full { Kept::DiskFull } else { Kept::CacheFailed };
        // Every page would tell the same.
        if !self.in_trouble.swap(true, Ordering::Relaxed) {
            let folder = self.folder.display();
            tracing::warn!("a page could not be kept in {folder} ({kept:?}): {error}; it goes on without");
        }
        kept
    }

    /// Bytes of all pages. Blocks.
    pub fn bytes(&self) -> u64 {
        self.pages().iter().map(|(_, size, _)| size).sum()
    }

    fn path(&self, key: Hash) -> PathBuf {
        self.folder.join(format!("{key}.{PAGE}"))
    }

    fn write(&self, key: Hash, bytes: &[u8]) -> std::io::Result<()> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        // No two processes of a machine, and no two writes of a process, have the same name.
        let under_way = self.folder.join(format!("{key}-{}-{number}.{UNDER_WAY}", std::process::id()));
        let outcome = fs_err::File::create_new(&under_way)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs_err::rename(&under_way, self.path(key)));
        if outcome.is_err() {
            let _ = fs_err::remove_file(&under_way);
        }
        outcome
    }

    /// Removes what was not used for longest until `more` bytes fit, and what killed processes left behind.
    fn make_room(&self, more: u64) {
        let mut pages = self.pages();
        let mut bytes: u64 = pages.iter().map(|(_, size, _)| size).sum();
        pages.sort_by_key(|(used, ..)| *used);
        for (_, size, path) in pages {
            if bytes + more <= self.max_bytes {
                break;
            }
            // Another process may have removed it already.
            let _ = fs_err::remove_file(path);
            bytes -= size;
        }
    }

    /// Last use, size and path of every page. Removes abandoned files on the way.
    fn pages(&self) -> Vec<(SystemTime, u64, PathBuf)> {
        let mut pages = Vec::new();
        for entry in fs_err::read_dir(&self.folder).into_iter().flatten().flatten() {
            let (path, Ok(meta)) = (entry.path(), entry.metadata()) else { continue };
            let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            match path.extension().and_then(OsStr::to_str) {
                Some(PAGE) => pages.push((used, meta.len(), path)),
                Some(UNDER_WAY) if used.elapsed().is_ok_and(|age| age > ABANDONED) => {
                    let _ = fs_err::remove_file(path);
                }
                _ => {}
            }
        }
        pages
    }
}

fn encode(key: Hash, batch: &TokenBatch) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRAME + batch.ids.len() * 4);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&key.0);
    bytes.extend_from_slice(&(batch.seq as u64).to_le_bytes());
    bytes.extend(batch.ids.iter().flat_map(|id| id.to_le_bytes()));
    let digest = blake3::hash(&bytes);
    bytes.extend_from_slice(digest.as_bytes());
    bytes
}

/// The page of a file, if it is one, whole, and that of `key`.
fn decode(key: Hash, bytes: &[u8]) -> Option<TokenBatch> {
    let (content, digest) = bytes.split_last_chunk::<32>()?;
    if blake3::hash(content) != blake3::Hash::from_bytes(*digest) {
        return None;
    }
    let (seq, ids) = content.strip_prefix(MAGIC)?.strip_prefix(key.0.as_slice())?.split_first_chunk::<8>()?;
    let seq = usize::try_from(u64::from_le_bytes(*seq)).ok()?;
    let (ids, rest) = ids.as_chunks::<4>();
    let ids: Vec<u32> = ids.iter().map(|id| u32::from_le_bytes(*id)).collect();
    (rest.is_empty() && seq > 0 && ids.len().is_multiple_of(seq)).then_some(TokenBatch { seq, ids })
}
