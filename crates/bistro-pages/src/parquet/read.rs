//! Rows of one parquet file: by `text.rs` where the file is made as nearly all are, else by the general decoder.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryStreamExt as _};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, RowSelection, RowSelector};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMask, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use super::footer::{Fetch, Footer, inside, outside};
use super::text::{Chunk, Texts};
use super::unpack::Trouble;
use crate::blobs::Blobs;
use crate::error::PagesError;
use crate::fault::Fault;
use crate::source::MAX_PAGE_BYTES;

/// From this size on, a row group's text is worth another request to learn which of its parts hold the rows.
const WORTH_AN_INDEX: i64 = 4 << 20;

/// Bytes between two ranges that are cheaper to read than another request.
const GAP: u64 = 64 << 10;

/// The texts of rows `wanted` of a file, which has them all.
pub async fn rows(
    blobs: Arc<dyn Blobs>,
    path: String,
    footer: Arc<Footer>,
    wanted: Range<u64>,
) -> Result<Vec<String>, PagesError> {
    match directly(blobs.as_ref(), &path, &footer, &wanted).await? {
        Some(texts) => Ok(texts),
        None => generally(blobs, path, footer, wanted).await,
    }
}

/// The texts, where the file is made in a way that [`super::text`] knows.
async fn directly(
    blobs: &dyn Blobs,
    path: &str,
    footer: &Footer,
    wanted: &Range<u64>,
) -> Result<Option<Vec<String>>, PagesError> {
    let Some(optional) = footer.flat_text() else { return Ok(None) };
    let (groups, skip) = groups_of(footer, wanted);
    if large_with_index(footer, &groups) {
        return Ok(None);
    }
    let metas: Vec<_> = groups.iter().map(|group| footer.meta.row_group(*group)).collect();
    let places = metas.iter().map(|meta| {
        let (start, length) = meta.column(footer.column).byte_range();
        start..start + length
    });
    let at = blobs.place(path);
    let mut texts = Texts::new(MAX_PAGE_BYTES);
    let (mut first, mut missing) = (skip as usize, (wanted.end - wanted.start) as usize);
    for (meta, bytes) in metas.iter().zip(parts(blobs, path, footer.bytes, places.collect()).await?) {
        let rows = first..(first + missing).min(meta.num_rows() as usize);
        (first, missing) = (0, missing - rows.len());
        let compression = meta.column(footer.column).compression();
        let bad = |fault, why: String| Err(PagesError::page(fault, at.clone(), why));
        match texts.add(Chunk { bytes: &bytes, compression, optional }, rows) {
            Ok(()) => {}
            Err(Trouble::Unknown) => return Ok(None),
            Err(Trouble::Damaged) => return bad(Fault::BadParquet, "its column of text is damaged".into()),
            Err(Trouble::TooLarge) => {
                return bad(Fault::TooLarge, format!("more than {MAX_PAGE_BYTES} bytes of text in a page"));
            }
        }
    }
    Ok(Some(texts.into_found()))
}

/// The texts, however the file is made.
async fn generally(
    blobs: Arc<dyn Blobs>,
    path: String,
    footer: Arc<Footer>,
    wanted: Range<u64>,
) -> Result<Vec<String>, PagesError> {
    let at = blobs.place(&path);
    let (groups, skip) = groups_of(&footer, &wanted);
    let meta = with_page_index(blobs.as_ref(), &path, &footer, &groups).await.map_err(|e| inside(&at, e))?;
    let mask = ProjectionMask::leaves(meta.file_metadata().schema_descr(), [footer.column]);
    let arrow = Footer::for_arrow(Arc::clone(&meta)).map_err(|e| inside(&at, e))?;
    let count = (wanted.end - wanted.start) as usize;
    let selection = RowSelection::from(vec![RowSelector::skip(skip as usize), RowSelector::select(count)]);
    let file = RangedFile { blobs, path, bytes: footer.bytes, meta };
    let stream = ParquetRecordBatchStreamBuilder::new_with_metadata(file, arrow)
        .with_row_groups(groups)
        .with_projection(mask)
        .with_row_selection(selection)
        .with_batch_size(count.min(1024))
        .build()
        .map_err(|e| inside(&at, e))?;
    let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(|e| inside(&at, e))?;
    let mut texts = Vec::with_capacity(count);
    let mut bytes = 0;
    for batch in &batches {
        add_texts(batch, &at, &mut texts, &mut bytes)?;
    }
    if texts.len() != count {
        let why = format!("{count} rows were asked for, {} came", texts.len());
        return Err(PagesError::page(Fault::ShortPage, at, why));
    }
    Ok(texts)
}

/// The row groups that rows `wanted` lie in, and how many rows of the first are before them.
fn groups_of(footer: &Footer, wanted: &Range<u64>) -> (Vec<usize>, u64) {
    let (mut start, mut skip) = (0, 0);
    let mut groups = Vec::new();
    for (number, rows) in footer.groups().enumerate() {
        let end = start + rows;
        if start < wanted.end && end > wanted.start {
            if groups.is_empty() {
                skip = wanted.start.saturating_sub(start);
            }
            groups.push(number);
        }
        start = end;
    }
    (groups, skip)
}

/// Whether the text of some group is large, and an index says where in it the rows are.
fn large_with_index(footer: &Footer, groups: &[usize]) -> bool {
    let chunk = |group: &usize| footer.meta.row_group(*group).column(footer.column);
    groups.iter().any(|group| chunk(group).compressed_size() >= WORTH_AN_INDEX)
        && groups.iter().all(|group| chunk(group).offset_index_offset().is_some())
}

/// The footer, with the index of the text's parts where the groups are large and have one.
async fn with_page_index(
    blobs: &dyn Blobs,
    path: &str,
    footer: &Footer,
    groups: &[usize],
) -> Result<Arc<ParquetMetaData>, ParquetError> {
    if !large_with_index(footer, groups) {
        return Ok(Arc::clone(&footer.meta));
    }
    let mask = ColumnChunkMask::row_groups_and_columns(groups.iter().copied(), [footer.column]);
    let mut reader = ParquetMetaDataReader::new_with_metadata(footer.meta.as_ref().clone())
        .with_column_index_policy(PageIndexPolicy::Skip)
        .with_offset_index_policy(PageIndexPolicy::Optional)
        .with_offset_index_mask(mask);
    reader.load_page_index(Fetch { blobs, path, bytes: footer.bytes }).await?;
    reader.finish().map(Arc::new)
}

fn add_texts(batch: &RecordBatch, at: &str, texts: &mut Vec<String>, bytes: &mut u64) -> Result<(), PagesError> {
    let bad = |why: String| PagesError::page(Fault::BadParquet, at, why);
    let column = batch.columns().first().ok_or_else(|| bad("the decoder gives no column".into()))?;
    let mut add = |text: Option<&str>| {
        let text = text.unwrap_or_default();
        *bytes += text.len() as u64;
        texts.push(text.into());
        *bytes
    };
    let most = if let Some(strings) = column.as_string_opt::<i32>() {
        strings.iter().map(&mut add).max()
    } else if let Some(strings) = column.as_string_opt::<i64>() {
        strings.iter().map(&mut add).max()
    } else if let Some(strings) = column.as_string_view_opt() {
        strings.iter().map(&mut add).max()
    } else {
        return Err(bad(format!("the column holds {}, not text", column.data_type())));
    };
    match most {
        Some(most) if most > MAX_PAGE_BYTES => {
            let why = format!("{most} bytes of text, at most {MAX_PAGE_BYTES} are read");
            Err(PagesError::page(Fault::TooLarge, at, why))
        }
        _ => Ok(()),
    }
}

/// A file for the decoder.
struct RangedFile {
    blobs: Arc<dyn Blobs>,
    path: String,
    bytes: u64,
    meta: Arc<ParquetMetaData>,
}

impl AsyncFileReader for RangedFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move { self.blobs.range(&self.path, range, self.bytes).await.map_err(outside) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move { parts(self.blobs.as_ref(), &self.path, self.bytes, ranges).await.map_err(outside) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let meta = Arc::clone(&self.meta);
        async move { Ok(meta) }.boxed()
    }
}

/// The bytes of `ranges`, with as few requests as are worth it.
async fn parts(blobs: &dyn Blobs, path: &str, bytes: u64, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>, PagesError> {
    let mut parts: Vec<(Range<u64>, Bytes)> = Vec::new();
    for range in joined(ranges.clone()) {
        parts.push((range.clone(), blobs.range(path, range, bytes).await?));
    }
    let slice = |wanted: &Range<u64>| {
        let (range, bytes) = parts.iter().find(|(r, _)| r.start <= wanted.start && wanted.end <= r.end)?;
        Some(bytes.slice((wanted.start - range.start) as usize..(wanted.end - range.start) as usize))
    };
    let lost = || PagesError::page(Fault::Broken, blobs.place(path), "a range was lost");
    ranges.iter().map(|range| slice(range).ok_or_else(lost)).collect()
}

/// The same bytes in fewer ranges: those with little between them become one.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP) => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests;
