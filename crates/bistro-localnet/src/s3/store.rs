//! Objects as files: `buckets/BUCKET/KEY`, with the key's slashes as folders.

use std::fs::Metadata;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use fs_err as fs;
use futures::StreamExt as _;
use s3s::dto::{ETag, ETagCondition, StreamingBlob};
use s3s::{S3Error, S3Result, s3_error};
use tempfile::NamedTempFile;

/// S3's own limits on a key and (Linux's) on each part of it between slashes, bytes.
const KEY_MAX: usize = 1024;
const SEGMENT_MAX: usize = 255;

/// Bytes written to disk at a time.
const WRITE: usize = 1 << 20;

/// The buckets of one folder.
pub(crate) struct Store {
    buckets: PathBuf,
    tmp: PathBuf,
    /// Held while an object's name changes hands, so that a condition and the write it allows are one step.
    names: Mutex<()>,
}

/// An object, open: what is said of it and its bytes are of the same file, whatever the name stands for by now.
pub(crate) struct Object {
    pub(crate) file: std::fs::File,
    pub(crate) length: u64,
    pub(crate) modified: SystemTime,
    pub(crate) etag: String,
}

/// An object's entry in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) length: u64,
    pub(crate) modified: SystemTime,
    pub(crate) etag: String,
}

/// What must hold of the object that a write would replace.
#[derive(Debug, Default)]
pub(crate) struct WriteCondition {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_none_match: Option<ETagCondition>,
}

/// Every write makes a new file, so file, time and length tell contents apart; nothing beside the object is needed.
pub(crate) fn etag(metadata: &Metadata) -> String {
    let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
    format!("{:x}-{seconds:x}{nanos:08x}-{:x}", metadata.ino(), metadata.len())
}

/// Whether `condition` names `etag`, or anything.
pub(crate) fn names(condition: &ETagCondition, etag: &str) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(wanted) => wanted.value() == etag,
    }
}

/// The tag as it goes out.
pub(crate) fn strong(etag: &str) -> ETag {
    ETag::Strong(etag.to_owned())
}

/// Runs file work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> S3Result<T> + Send + 'static) -> S3Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(S3Error::internal_error)?
}

impl Store {
    /// The buckets under `root`, which is created if absent; what an earlier run left unfinished is removed.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let (buckets, tmp) = (root.join("buckets"), root.join("tmp"));
        if tmp.exists() {
            fs::remove_dir_all(&tmp)?;
        }
        fs::create_dir_all(&buckets)?;
        fs::create_dir_all(&tmp)?;
        Ok(Self { buckets, tmp, names: Mutex::default() })
    }

    pub(crate) fn create_bucket(&self, bucket: &str) -> io::Result<()> {
        fs::create_dir_all(self.buckets.join(bucket))
    }

    pub(crate) fn has_bucket(&self, bucket: &str) -> bool {
        self.buckets.join(bucket).is_dir()
    }

    /// A file or folder that is gone at the next start, whatever happens.
    pub(crate) fn tmp(&self) -> &Path {
        &self.tmp
    }

    fn bucket_path(&self, bucket: &str) -> S3Result<PathBuf> {
        if self.has_bucket(bucket) { Ok(self.buckets.join(bucket)) } else { Err(s3_error!(NoSuchBucket)) }
    }

    /// The file of an object. A key is only ever a way down from its bucket.
    fn path(&self, bucket: &str, key: &str) -> S3Result<PathBuf> {
        let mut path = self.bucket_path(bucket)?;
        if key.len() > KEY_MAX || key.split('/').any(|segment| segment.len() > SEGMENT_MAX) {
            return Err(s3_error!(KeyTooLongError));
        }
        for segment in key.split('/') {
            if matches!(segment, "" | "." | "..") || segment.contains('\0') {
                return Err(s3_error!(InvalidArgument, "this server takes no key with empty or dotted parts"));
            }
            path.push(segment);
        }
        Ok(path)
    }

    /// Opens an object for reading.
    pub(crate) fn object(&self, bucket: &str, key: &str) -> S3Result<Object> {
        let absent = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => s3_error!(NoSuchKey),
            _ => S3Error::internal_error(error),
        };
        let file = std::fs::File::open(self.path(bucket, key)?).map_err(absent)?;
        let metadata = file.metadata().map_err(S3Error::internal_error)?;
        if !metadata.is_file() {
            return Err(s3_error!(NoSuchKey));
        }
        let modified = metadata.modified().map_err(S3Error::internal_error)?;
        Ok(Object { file, length: metadata.len(), modified, etag: etag(&metadata) })
    }

    /// Writes a body into a file that has no name yet. A body that breaks off leaves nothing behind.
    pub(crate) async fn receive(&self, body: Option<StreamingBlob>) -> S3Result<NamedTempFile> {
        let mut body = body.ok_or_else(|| s3_error!(IncompleteBody))?;
        let mut file = Some(NamedTempFile::new_in(&self.tmp).map_err(S3Error::internal_error)?);
        let mut chunk = Vec::with_capacity(WRITE);
        loop {
            let next = body.next().await.transpose();
            let next = next.map_err(|error| S3Error::with_source(s3s::S3ErrorCode::IncompleteBody, error))?;
            if let Some(bytes) = &next {
                chunk.extend_from_slice(bytes);
            }
            if chunk.len() >= WRITE || next.is_none() {
                let Some(mut out) = file.take() else { return Err(s3_error!(InternalError)) };
                let (out, emptied) = blocking(move || {
                    out.write_all(&chunk).map_err(S3Error::internal_error)?;
                    chunk.clear();
                    Ok((out, chunk))
                })
                .await?;
                if next.is_none() {
                    return Ok(out);
                }
                (file, chunk) = (Some(out), emptied);
            }
        }
    }

    /// Gives a received file its name, if `condition` holds, in one step; its ETag.
    pub(crate) fn commit(
        &self,
        file: NamedTempFile,
        bucket: &str,
        key: &str,
        condition: &WriteCondition,
    ) -> S3Result<String> {
        let path = self.path(bucket, key)?;
        let _one_at_a_time = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.object(bucket, key).ok().map(|object| object.etag);
        let met = match (&condition.if_match, &condition.if_none_match) {
            (Some(wanted), _) if !current.as_ref().is_some_and(|etag| names(wanted, etag)) => false,
            (_, Some(unwanted)) => !current.as_ref().is_some_and(|etag| names(unwanted, etag)),
            _ => true,
        };
        if !met {
            return Err(s3_error!(PreconditionFailed));
        }
        let etag = etag(&file.as_file().metadata().map_err(S3Error::internal_error)?);
        let folder = |error: io::Error| S3Error::with_source(s3s::S3ErrorCode::InvalidRequest, Box::new(error));
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(folder)?;
        }
        file.persist(&path).map_err(|error| folder(error.error))?;
        Ok(etag)
    }

    /// Removes an object, and the folders that it leaves empty.
    pub(crate) fn delete(&self, bucket: &str, key: &str) -> S3Result<()> {
        let path = self.path(bucket, key)?;
        let _one_at_a_time = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if !path.is_file() {
            return Ok(());
        }
        std::fs::remove_file(&path).map_err(S3Error::internal_error)?;
        let root = self.buckets.join(bucket);
        for folder in path.ancestors().skip(1).take_while(|folder| **folder != root) {
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// All objects whose key starts with `prefix`, in order of key bytes.
    pub(crate) fn entries(&self, bucket: &str, prefix: &str) -> S3Result<Vec<Entry>> {
        let root = self.bucket_path(bucket)?;
        // The deepest folder that holds every match; a prefix that is no key (`../`) can only match nothing.
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let start = if folder.is_empty() { Ok(root.clone()) } else { self.path(bucket, folder) };
        let mut folders: Vec<PathBuf> = start.ok().into_iter().collect();
        let mut entries = Vec::new();
        while let Some(folder) = folders.pop() {
            // Gone since its parent was read: its objects are, too.
            let Ok(files) = std::fs::read_dir(&folder) else { continue };
            for file in files.flatten() {
                let (path, Ok(metadata)) = (file.path(), file.metadata()) else { continue };
                let Some(key) = path.strip_prefix(&root).ok().and_then(Path::to_str) else { continue };
                if metadata.is_dir() {
                    folders.push(path);
                } else if key.starts_with(prefix) {
                    let modified = metadata.modified().map_err(S3Error::internal_error)?;
                    entries.push(Entry {
                        key: key.to_owned(),
                        length: metadata.len(),
                        modified,
                        etag: etag(&metadata),
                    });
                }
            }
        }
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(entries)
    }
}

/// Runs `work` on the store, off the async threads.
pub(crate) async fn on<T: Send + 'static>(
    store: &Arc<Store>,
    work: impl FnOnce(&Store) -> S3Result<T> + Send + 'static,
) -> S3Result<T> {
    let store = store.clone();
    blocking(move || work(&store)).await
}
