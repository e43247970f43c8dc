//! Large objects in parts. Parts live beside the buckets until the object is whole; uploads do not outlive the server.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use s3s::dto::CompletedPart;
use s3s::{S3Error, S3Result, s3_error};
use tempfile::{NamedTempFile, TempDir};

use super::store::{Store, etag};

/// Highest part number, and the least length of every part but the last: AWS's.
const PARTS: i32 = 10_000;
const PART_MIN: u64 = 5 << 20;

/// The uploads under way, by id.
#[derive(Default)]
pub(crate) struct Uploads {
    open: Mutex<HashMap<String, Upload>>,
}

struct Upload {
    bucket: String,
    key: String,
    parts: TempDir,
}

/// Which upload a request means: the id alone is not enough, it must name the same object.
pub(crate) struct UploadOf<'a> {
    pub(crate) id: &'a str,
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
}

impl Uploads {
    /// Begins an upload; its id.
    pub(crate) fn begin(&self, store: &Store, bucket: String, key: String) -> S3Result<String> {
        let parts = tempfile::Builder::new().prefix("upload-").rand_bytes(20).tempdir_in(store.tmp());
        let parts = parts.map_err(S3Error::internal_error)?;
        let id = parts.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.lock().insert(id.clone(), Upload { bucket, key, parts });
        Ok(id)
    }

    /// Keeps a received part, replacing an earlier one of the same number; its ETag.
    pub(crate) fn keep(&self, of: &UploadOf<'_>, number: i32, part: NamedTempFile) -> S3Result<String> {
        if !(1..=PARTS).contains(&number) {
            return Err(s3_error!(InvalidArgument, "part numbers are 1 to 10000"));
        }
        let tag = etag(&part.as_file().metadata().map_err(S3Error::internal_error)?);
        part.persist(part_path(&self.folder(of)?, number)).map_err(S3Error::internal_error)?;
        Ok(tag)
    }

    /// Joins the parts in one file. The upload stays open until [`Self::end`], so a failed completion can be repeated.
    pub(crate) fn join(&self, store: &Store, of: &UploadOf<'_>, parts: &[CompletedPart]) -> S3Result<NamedTempFile> {
        let folder = self.folder(of)?;
        let mut whole = NamedTempFile::new_in(store.tmp()).map_err(S3Error::internal_error)?;
        if parts.is_empty() {
            return Err(s3_error!(MalformedXML));
        }
        if !parts.is_sorted_by(|a, b| a.part_number < b.part_number) {
            return Err(s3_error!(InvalidPartOrder));
        }
        for (index, part) in parts.iter().enumerate() {
            let number = part.part_number.unwrap_or_default();
            let mut file = std::fs::File::open(part_path(&folder, number)).map_err(|_| s3_error!(InvalidPart))?;
            let metadata = file.metadata().map_err(S3Error::internal_error)?;
            if part.e_tag.as_ref().is_some_and(|wanted| wanted.value() != etag(&metadata)) {
                return Err(s3_error!(InvalidPart));
            }
            if metadata.len() < PART_MIN && index + 1 < parts.len() {
                return Err(s3_error!(EntityTooSmall));
            }
            // Copied by the kernel, file to file.
            io::copy(&mut file, whole.as_file_mut()).map_err(S3Error::internal_error)?;
        }
        Ok(whole)
    }

    /// Forgets an upload and its parts.
    pub(crate) fn end(&self, of: &UploadOf<'_>) -> S3Result<()> {
        self.folder(of)?;
        self.lock().remove(of.id);
        Ok(())
    }

    fn folder(&self, of: &UploadOf<'_>) -> S3Result<PathBuf> {
        let open = self.lock();
        let upload = open.get(of.id).filter(|upload| upload.bucket == of.bucket && upload.key == of.key);
        upload.map(|upload| upload.parts.path().to_owned()).ok_or_else(|| s3_error!(NoSuchUpload))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Upload>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn part_path(folder: &Path, number: i32) -> PathBuf {
    folder.join(format!("{number:05}"))
}
