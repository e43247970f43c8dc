//! A parquet file's table of contents.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::MetadataFetch;
use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};

use crate::blobs::Blobs;
use crate::error::PagesError;
use crate::fault::Fault;

/// Bytes read from the end of a file at first: most footers are shorter, and need no second request.
const FIRST_GUESS: usize = 64 << 10;

/// Most bytes of text that a row group may claim.
const MAX_COLUMN_BYTES: i64 = 2 << 30;

/// A footer, and the number of the text column among the file's columns.
pub struct Footer {
    /// What the file holds and where.
    pub meta: Arc<ParquetMetaData>,
    /// Bytes of the file.
    pub bytes: u64,
    /// The text column.
    pub column: usize,
}

/// Reads ranges for the decoder.
pub(super) struct Fetch<'a> {
    pub(super) blobs: &'a dyn Blobs,
    pub(super) path: &'a str,
    pub(super) bytes: u64,
}

impl MetadataFetch for Fetch<'_> {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        let (blobs, path, bytes) = (self.blobs, self.path, self.bytes);
        async move { blobs.range(path, range, bytes).await.map_err(outside) }.boxed()
    }
}

impl Footer {
    /// Reads and checks the footer of a file of `bytes` bytes with texts in `column`.
    pub async fn read(blobs: &dyn Blobs, path: &str, bytes: u64, column: &str) -> Result<Self, PagesError> {
        let at = blobs.place(path);
        let bad = |why: String| PagesError::page(Fault::BadParquet, at.clone(), why);
        if bytes < 12 {
            return Err(bad(format!("{bytes} bytes are no parquet file")));
        }
        let reader = ParquetMetaDataReader::new()
            .with_page_index_policy(PageIndexPolicy::Skip)
            .with_prefetch_hint(Some(FIRST_GUESS.min(bytes as usize)));
        let meta = reader.load_and_finish(Fetch { blobs, path, bytes }, bytes).await.map_err(|e| inside(&at, e))?;
        let columns = meta.file_metadata().schema_descr();
        let found = (0..columns.num_columns()).find(|i| columns.column(*i).path().string() == column);
        let column = found.ok_or_else(|| bad(format!("there is no column `{column}`")))?;
        for group in meta.row_groups() {
            check_group(group, column, bytes).map_err(bad)?;
        }
        Ok(Self { meta: Arc::new(meta), bytes, column })
    }

    /// Rows of each row group.
    pub fn groups(&self) -> impl Iterator<Item = u64> + '_ {
        self.meta.row_groups().iter().map(|group| group.num_rows() as u64)
    }

    /// Whether the column is one of texts, one a row; `Some(true)` if rows may lack theirs.
    pub(super) fn flat_text(&self) -> Option<bool> {
        let column = self.meta.file_metadata().schema_descr().column(self.column);
        let text = column.physical_type() == PhysicalType::BYTE_ARRAY
            && (column.converted_type() == ConvertedType::UTF8
                || column.logical_type_ref() == Some(&LogicalType::String));
        let flat = column.max_rep_level() == 0 && column.max_def_level() <= 1;
        (text && flat).then_some(column.max_def_level() == 1)
    }

    /// For the decoder.
    pub(super) fn for_arrow(meta: Arc<ParquetMetaData>) -> Result<ArrowReaderMetadata, ParquetError> {
        ArrowReaderMetadata::try_new(meta, ArrowReaderOptions::new().with_skip_arrow_metadata(true))
    }
}

/// That a group's numbers are possible: they are used without another look.
fn check_group(group: &RowGroupMetaData, column: usize, bytes: u64) -> Result<(), String> {
    if group.num_rows() < 0 || column >= group.num_columns() {
        return Err(format!("a row group has {} rows in {} columns", group.num_rows(), group.num_columns()));
    }
    let chunk = group.column(column);
    let start = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
    let size = chunk.compressed_size();
    let end = start.checked_add(size).filter(|_| start >= 0 && size >= 0 && chunk.data_page_offset() >= 0);
    if end.is_none_or(|end| end as u64 > bytes) || !(0..=MAX_COLUMN_BYTES).contains(&chunk.uncompressed_size()) {
        return Err(format!(
            "a row group's text lies at {start}, {size} bytes, unpacked {}",
            chunk.uncompressed_size()
        ));
    }
    Ok(())
}

/// One of our errors on its way through the decoder.
pub(super) fn outside(error: PagesError) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// What the decoder says, as one of our errors.
pub(super) fn inside(at: &str, error: ParquetError) -> PagesError {
    let bad = |why: String| PagesError::page(Fault::BadParquet, at, why);
    match error {
        ParquetError::External(error) => match error.downcast::<PagesError>() {
            Ok(ours) => *ours,
            Err(other) => bad(other.to_string()),
        },
        other => bad(other.to_string()),
    }
}
