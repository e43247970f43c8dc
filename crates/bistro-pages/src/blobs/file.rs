//! Files on this machine.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Blobs, check_range, is_plain};
use crate::error::PagesError;
use crate::fault::Fault;
use crate::folder;

/// The files below a folder.
pub struct FileBlobs {
    folder: PathBuf,
}

impl FileBlobs {
    /// The folder has to be there.
    pub fn new(folder: PathBuf) -> Result<Self, PagesError> {
        if folder.is_dir() { Ok(Self { folder }) } else { Err(PagesError::NoFolder(folder)) }
    }

    fn fault(&self, path: &str, error: &std::io::Error) -> PagesError {
        let fault = match error.kind() {
            std::io::ErrorKind::NotFound => Fault::NotFound,
            std::io::ErrorKind::PermissionDenied => Fault::Refused,
            _ => Fault::Broken,
        };
        PagesError::page(fault, self.place(path), error.to_string())
    }

    fn read(&self, path: &str, range: Range<u64>, len: u64) -> Result<Bytes, PagesError> {
        let fault = |e: std::io::Error| self.fault(path, &e);
        let mut file = fs_err::File::open(self.folder.join(path)).map_err(fault)?;
        let found = file.metadata().map_err(fault)?.len();
        if found != len {
            let why = format!("it has {found} bytes, its index says {len}");
            return Err(PagesError::page(Fault::DatasetChanged, self.place(path), why));
        }
        file.seek(SeekFrom::Start(range.start)).map_err(fault)?;
        let length = range.end - range.start;
        let mut bytes = Vec::with_capacity(length as usize);
        file.take(length).read_to_end(&mut bytes).map_err(fault)?;
        if bytes.len() as u64 != length {
            return Err(fault(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes.into())
    }
}

#[async_trait]
impl Blobs for FileBlobs {
    fn place(&self, path: &str) -> String {
        self.folder.join(path).display().to_string()
    }

    async fn list(&self) -> Result<Vec<String>, PagesError> {
        Ok(folder::walk(&self.folder, &["parquet"])?.into_iter().map(|(name, _)| name).collect())
    }

    async fn len(&self, path: &str) -> Result<u64, PagesError> {
        let meta = fs_err::metadata(self.folder.join(path));
        meta.map(|meta| meta.len()).map_err(|e| self.fault(path, &e))
    }

    async fn range(&self, path: &str, range: Range<u64>, len: u64) -> Result<Bytes, PagesError> {
        if !is_plain(path) {
            return Err(PagesError::page(Fault::NotFound, path, "this path leaves the folder"));
        }
        check_range(&self.place(path), &range, len)?;
        // A disk answers within milliseconds, and who decodes parquet has a thread for blocking already.
        self.read(path, range, len)
    }
}
