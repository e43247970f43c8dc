//! Files of a dataset, read by ranges: wherever they are, only the bytes that are needed come.
//!
//! - this file: the port, and a place by its name.
//! - [`mod@file`]: a folder on this machine.
//! - [`http`]: a web server, Hugging Face's hub above all.
//! - [`s3`]: a bucket.

pub mod file;
pub mod http;
pub mod s3;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::PagesError;
use crate::fault::Fault;
use crate::web::{Web, WebOptions};
pub use s3::S3Options;

/// Most bytes of one range.
pub const MAX_RANGE: u64 = 512 << 20;

/// Most files of a dataset.
pub const MAX_FILES: usize = 200_000;

/// Files below one place, by their path from there.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Where a file is, in words for an operator.
    fn place(&self, path: &str) -> String;

    /// Paths of all `.parquet` files, sorted.
    async fn list(&self) -> Result<Vec<String>, PagesError>;

    /// Bytes of a file.
    async fn len(&self, path: &str) -> Result<u64, PagesError>;

    /// `range` of a file of `len` bytes: exactly so many. A file of another length is [`Fault::DatasetChanged`].
    async fn range(&self, path: &str, range: Range<u64>, len: u64) -> Result<Bytes, PagesError>;
}

/// The files at `place`: `https://…`, `s3://BUCKET/PREFIX` or a path. No network is asked yet.
pub fn open(place: &str, web: &WebOptions, s3: &S3Options) -> Result<Arc<dyn Blobs>, PagesError> {
    if let Some(bucket) = place.strip_prefix("s3://") {
        return Ok(Arc::new(s3::S3Blobs::new(bucket, s3)?));
    }
    if place.starts_with("https://") || place.starts_with("http://") {
        return Ok(Arc::new(http::HttpBlobs::new(Web::new(web.clone())?, place)?));
    }
    Ok(Arc::new(file::FileBlobs::new(PathBuf::from(place.strip_prefix("file://").unwrap_or(place)))?))
}

/// Whether the path of a file stays below its place on every kind of server.
pub fn is_plain(path: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.len() <= 1024 && path.split('/').all(part) && !path.contains(['\\', '\0', '?', '#'])
}

/// That a range lies within its file and is not too long.
pub(crate) fn check_range(at: &str, range: &Range<u64>, len: u64) -> Result<(), PagesError> {
    if range.start >= range.end || range.end > len {
        return Err(PagesError::page(Fault::BadParquet, at, format!("bytes {range:?} of {len} are pointed at")));
    }
    if range.end - range.start > MAX_RANGE {
        let why = format!("{} bytes at once, at most {MAX_RANGE} are read", range.end - range.start);
        return Err(PagesError::page(Fault::TooLarge, at, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_their_place() {
        for good in ["a.parquet", "data/CC-MAIN-2013-20/train-00000-of-00014.parquet", "ä b/c.parquet"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "a\\b", "a?b", "a#b", &"x".repeat(2000)] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
