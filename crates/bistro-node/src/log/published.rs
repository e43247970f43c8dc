//! The log in the validator's bucket: its segments, named by their content, and a signed pointer to them, replaced last.
//! Anybody can read it, and nothing in it is believed before it was checked.

use std::path::PathBuf;

use bistro_core::events::Record;
use bistro_core::ids::{Block, Hash, Hotkey};
use bistro_core::logline::{self, Place};
use bistro_core::ports::{BucketAddress, PortError, Put, ReadLimits, Retry};
use bistro_core::protocol::{Folder, LogManifest, LogSegment, MAX_LOG_SEGMENTS, MAX_MANIFEST_BYTES, Signed};
use bytes::Bytes;
use fs_err as fs;
use tokio_util::task::AbortOnDropHandle;

use super::{EventLog, segments};
use crate::compute::joined;
use crate::leader::large;
use crate::parts::patiently;
use crate::{NodeError, Parts};

/// Blocks between two publications: a minute on Bittensor's networks.
const EVERY_BLOCKS: u64 = 5;

/// A validator's log as it is published.
#[derive(Clone, Debug)]
pub struct Published {
    /// Where it lies.
    pub bucket: BucketAddress,
    /// What its hotkey states, signature checked.
    pub manifest: LogManifest,
}

impl Published {
    /// The log of `hotkey`, whose bucket the chain names; `None` if it publishes none.
    pub async fn find(parts: &Parts, hotkey: &Hotkey) -> Result<Option<Self>, NodeError> {
        let Some(text) = parts.chain.commitment(hotkey).await? else { return Ok(None) };
        let bucket = BucketAddress::parse(&text).map_err(|why| bad("BadBucket", why))?;
        let limits = ReadLimits { max_bytes: MAX_MANIFEST_BYTES, ..large(0) };
        let found = parts.public.get(&bucket, &Folder::new(parts.netuid, hotkey).log(), limits).await?;
        let Some(json) = found else { return Ok(None) };
        let manifest = read_manifest(parts, hotkey, &json)?;
        Ok(Some(Self { bucket, manifest }))
    }

    /// One segment's lines, of the stated hash and length, following one another from its beginning to its end, the last of
    /// them signed: that signature vouches for all.
    pub async fn segment(&self, parts: &Parts, segment: &LogSegment) -> Result<Vec<Record>, NodeError> {
        let LogManifest { netuid, hotkey, .. } = self.manifest;
        let key = Folder::new(netuid, &hotkey).log_segment(segment.begin.seq, &segment.object);
        let found = parts.public.get_hashed(&self.bucket, &key, large(segment.size), &segment.object).await?;
        let bytes = found.ok_or_else(|| bad("NoSegment", format!("`{key}` is not in bucket {}", self.bucket)))?;
        check_lines(parts, &hotkey, segment, &bytes)
    }

    /// The newest records, `at_least` as many if there are so many, oldest first.
    pub async fn newest(&self, parts: &Parts, at_least: usize) -> Result<Vec<Record>, NodeError> {
        let mut records = Vec::new();
        for segment in self.manifest.segments.iter().rev() {
            let mut older = self.segment(parts, segment).await?;
            older.append(&mut records);
            records = older;
            if records.len() >= at_least {
                break;
            }
        }
        Ok(records)
    }
}

/// The newest records of what `hotkey` publishes, `at_least` as many if there are so many, every check made; `None` if it
/// publishes no log.
pub async fn newest(parts: &Parts, hotkey: &Hotkey, at_least: usize) -> Result<Option<Vec<Record>>, NodeError> {
    match Published::find(parts, hotkey).await? {
        Some(log) => Ok(Some(log.newest(parts, at_least).await?)),
        None => Ok(None),
    }
}

/// Where the own published log stands: a log that was lost goes on from there.
pub(crate) async fn own_end(parts: &Parts) -> Result<Option<Place>, NodeError> {
    let manifest = patiently(parts, "reading the own log's pointer", || own_manifest(parts)).await?;
    Ok(manifest.and_then(|manifest| manifest.segments.last().map(|segment| segment.end)))
}

async fn own_manifest(parts: &Parts) -> Result<Option<LogManifest>, PortError> {
    let hotkey = parts.identity.hotkey();
    let found = parts.own.get(&Folder::new(parts.netuid, &hotkey).log(), MAX_MANIFEST_BYTES).await?;
    // One's own pointer that cannot be read is as good as none: it is about to be replaced.
    Ok(found.and_then(|json| read_manifest(parts, &hotkey, &json).ok()))
}

fn read_manifest(parts: &Parts, hotkey: &Hotkey, json: &[u8]) -> Result<LogManifest, PortError> {
    let broken = |why: String| bad("BadManifest", format!("the log's pointer of {hotkey}: {why}"));
    let manifest: LogManifest = parts.statement(json).map_err(|e| broken(e.to_string()))?;
    if manifest.hotkey != *hotkey || manifest.netuid != parts.netuid {
        return Err(broken("it names another hotkey or subnet".to_owned()));
    }
    manifest.check().map_err(|e| broken(e.to_string()))?;
    Ok(manifest)
}

fn bad(name: &str, message: String) -> PortError {
    PortError { name: name.into(), message, retry: Retry::Never }
}

/// The records of a segment's bytes, every check made.
fn check_lines(parts: &Parts, hotkey: &Hotkey, segment: &LogSegment, bytes: &[u8]) -> Result<Vec<Record>, NodeError> {
    let broken = |seq, why: String| NodeError::Log { hotkey: *hotkey, seq, why };
    let lines = bytes.strip_suffix(b"\n").ok_or_else(|| broken(segment.begin.seq, "its line has no end".to_owned()))?;
    let mut place = segment.begin;
    let mut records = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let at = place.seq;
        records.push(logline::follow(&mut place, hotkey, line).map_err(|e| broken(at, e.to_string()))?);
    }
    if place != segment.end {
        return Err(broken(place.seq, "the segment ends otherwise than its pointer says".to_owned()));
    }
    let verify = |hotkey: &_, message: &[u8], signature: &_| parts.identity.verify(hotkey, message, signature);
    let last = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    logline::check_signature(last, place.seq - 1, hotkey, verify).map_err(|e| broken(place.seq - 1, e.to_string()))?;
    Ok(records)
}

/// Publishes the log beside the loop, one publication at a time. Dropped or failing at any point, it leaves a pointer to
/// segments that are there; the next one makes up for it.
pub(crate) struct Publisher {
    parts: Parts,
    log: EventLog,
    /// What the pointer says; unknown before the first publication.
    published: Option<LogManifest>,
    last: Block,
    sending: Option<AbortOnDropHandle<Result<LogManifest, NodeError>>>,
}

impl Publisher {
    pub(crate) fn new(parts: &Parts, log: &EventLog) -> Self {
        Self { parts: parts.aside(), log: log.clone(), published: None, last: Block(0), sending: None }
    }

    /// Begins to publish, if it is time and no publication is under way.
    pub(crate) async fn offer(&mut self, block: Block) {
        if self.sending.as_ref().is_some_and(|sending| !sending.is_finished()) {
            return;
        }
        self.arrived().await;
        if block.since(self.last) >= EVERY_BLOCKS {
            self.begin(block);
        }
    }

    /// Publishes what is there, and waits for it: as the program ends.
    pub(crate) async fn finish(&mut self, block: Block) {
        self.arrived().await;
        self.begin(block);
        self.arrived().await;
    }

    fn begin(&mut self, block: Block) {
        self.last = block;
        let (parts, log, published) = (self.parts.clone(), self.log.clone(), self.published.clone());
        self.sending = Some(AbortOnDropHandle::new(tokio::spawn(publish(parts, log, published, block))));
    }

    async fn arrived(&mut self) {
        let Some(sending) = self.sending.take() else { return };
        match joined(sending).await {
            Ok(manifest) => self.published = Some(manifest),
            Err(error) => tracing::warn!(%error, "the log could not be published; the next time brings it up"),
        }
    }
}

async fn publish(
    parts: Parts,
    log: EventLog,
    published: Option<LogManifest>,
    block: Block,
) -> Result<LogManifest, NodeError> {
    let before = match published {
        Some(published) => Some(published),
        None => patiently(&parts, "reading the own log's pointer", || own_manifest(&parts)).await?,
    };
    let hotkey = parts.identity.hotkey();
    let folder = Folder::new(parts.netuid, &hotkey);
    let stored: Vec<LogSegment> = before.map(|manifest| manifest.segments).unwrap_or_default();
    let mut segments = Vec::new();
    for part in log.parts()? {
        let is_this = |segment: &&LogSegment| segment.begin.seq == part.first && segment.size == part.size;
        let segment = match stored.iter().find(is_this).filter(|_| part.closed) {
            Some(segment) => *segment,
            None => {
                let (segment, bytes) = part.load(&hotkey)?;
                put(&parts, &folder.log_segment(segment.begin.seq, &segment.object), bytes, Put::Immutable).await?;
                segment
            }
        };
        segments.push(segment);
    }
    let segments = with_older(&stored, segments);
    let manifest = LogManifest { netuid: parts.netuid, hotkey, block, segments };
    let json = Signed::new(manifest.clone(), |message| parts.identity.sign(message)).to_json();
    put(&parts, &folder.log(), json.into(), Put::Replace).await?;
    // The last pointer's objects stay for whoever is reading them.
    let keep: Vec<String> =
        manifest.segments.iter().chain(&stored).map(|s| folder.log_segment(s.begin.seq, &s.object)).collect();
    if let Err(error) = parts.own.prune(&format!("{}log-", folder.prefix()), &keep).await {
        tracing::warn!(%error, "old pieces of the log could not be removed; the bucket grows until that works again");
    }
    Ok(manifest)
}

/// The segments of this machine, behind what was published before them if they go on from there.
fn with_older(stored: &[LogSegment], mut segments: Vec<LogSegment>) -> Vec<LogSegment> {
    let Some(begin) = segments.first().map(|segment| segment.begin) else { return segments };
    let mut all: Vec<LogSegment> = stored.iter().filter(|segment| segment.begin.seq < begin.seq).copied().collect();
    if all.last().map(|segment| segment.end) != Some(begin) {
        all.clear();
    }
    all.append(&mut segments);
    all.drain(..all.len().saturating_sub(MAX_LOG_SEGMENTS));
    all
}

async fn put(parts: &Parts, key: &str, body: Bytes, mode: Put) -> Result<(), NodeError> {
    Ok(patiently(parts, "publishing the log", || parts.own.put(key, body.clone(), mode)).await?)
}

/// A file of the log, as far as it was written at one moment.
struct Part {
    path: PathBuf,
    first: u64,
    size: u64,
    /// Whether it grows no more.
    closed: bool,
}

impl Part {
    fn load(&self, hotkey: &Hotkey) -> Result<(LogSegment, Bytes), NodeError> {
        let mut bytes = segments::read(&self.path)?;
        bytes.truncate(usize::try_from(self.size).unwrap_or(usize::MAX));
        let (begin, end) = segments::check(&self.path, &bytes, hotkey)?;
        Ok((LogSegment { begin, end, object: Hash::of(&bytes), size: self.size }, bytes.into()))
    }
}

impl EventLog {
    /// The log's files at this moment.
    fn parts(&self) -> Result<Vec<Part>, NodeError> {
        let tail = self.lock();
        let mut parts = Vec::new();
        for path in segments::list(&self.dir)? {
            let Some(first) = segments::first(&path) else { continue };
            let closed = first != tail.first();
            let size = if closed { fs::metadata(&path)?.len() } else { tail.bytes() };
            if size > 0 {
                parts.push(Part { path, first, size, closed });
            }
        }
        Ok(parts)
    }
}
