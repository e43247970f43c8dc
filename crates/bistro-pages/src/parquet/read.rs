//! Rows of one parquet file.

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

/// The footer, with the index of the text's parts where the groups are large and have one.
async fn with_page_index(
    blobs: &dyn Blobs,
    path: &str,
    footer: &Footer,
    groups: &[usize],
) -> Result<Arc<ParquetMetaData>, ParquetError> {
    let chunk = |group: &usize| footer.meta.row_group(*group).column(footer.column);
    let large = groups.iter().any(|group| chunk(group).compressed_size() >= WORTH_AN_INDEX);
    if !large || !groups.iter().all(|group| chunk(group).offset_index_offset().is_some()) {
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
        async move {
            let mut parts: Vec<(Range<u64>, Bytes)> = Vec::new();
            for range in joined(ranges.clone()) {
                let bytes = self.blobs.range(&self.path, range.clone(), self.bytes).await.map_err(outside)?;
                parts.push((range, bytes));
            }
            let slice = |wanted: &Range<u64>| {
                let (range, bytes) = parts.iter().find(|(r, _)| r.start <= wanted.start && wanted.end <= r.end)?;
                Some(bytes.slice((wanted.start - range.start) as usize..(wanted.end - range.start) as usize))
            };
            let lost = || ParquetError::General("a range was lost".into());
            ranges.iter().map(|range| slice(range).ok_or_else(lost)).collect()
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let meta = Arc::clone(&self.meta);
        async move { Ok(meta) }.boxed()
    }
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
mod tests {
    use super::*;

    #[test]
    fn ranges_with_little_between_them_become_one() {
        assert_eq!(joined(vec![10..20, 0..10, 30..40, 12..14, GAP * 9..GAP * 10]), [0..40, GAP * 9..GAP * 10]);
        assert_eq!(
            joined(vec![0..10, 10 + GAP..20 + GAP, 21 + 2 * GAP..30 + 2 * GAP]),
            [0..20 + GAP, 21 + 2 * GAP..30 + 2 * GAP]
        );
        assert!(joined(vec![]).is_empty());
    }
}
