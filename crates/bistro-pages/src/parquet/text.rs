//! Rows of text out of a column's part of a row group, for the layouts that nearly all files have: texts one after the other,
//! or by their number in a dictionary. Only as much is unpacked as stands before the last row that is wanted, and nothing is
//! made but the rows' texts.

use std::ops::Range;

use parquet::basic::Compression;

use super::hybrid::Hybrid;
use super::page::{Header, Kind, PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY};
use super::unpack::{Page, Trouble};

/// A column's part of a row group.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a> {
    /// Its pages, each after its header.
    pub(super) bytes: &'a [u8],
    pub(super) compression: Compression,
    /// Whether rows may lack the text.
    pub(super) optional: bool,
}

/// Texts of rows, a missing one as an empty one.
pub(super) struct Texts {
    found: Vec<String>,
    /// Rows that a dictionary has: their place in `found`, and the number there.
    named: Vec<(usize, u32)>,
    /// Bytes that may still come.
    room: u64,
}

impl Texts {
    /// At most `max_bytes` bytes of text.
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { found: Vec::new(), named: Vec::new(), room: max_bytes }
    }

    /// The texts, in order.
    pub(super) fn into_found(self) -> Vec<String> {
        self.found
    }

    /// Adds rows `wanted` of a chunk.
    pub(super) fn add(&mut self, chunk: Chunk<'_>, wanted: Range<usize>) -> Result<(), Trouble> {
        let (mut at, mut row) = (0, 0);
        let mut dictionary = None;
        while row < wanted.end {
            let (header, page) = chunk.page(&mut at)?;
            match header.kind {
                Kind::Dictionary => dictionary = Some((header, page)),
                Kind::Data => {
                    let end = row + header.values;
                    if end > wanted.start && header.values > 0 {
                        let rows = wanted.start.max(row) - row..wanted.end.min(end) - row;
                        self.add_rows(chunk, &header, page, rows)?;
                    }
                    row = end;
                }
                Kind::Other => return Err(Trouble::Unknown),
            }
        }
        let named = std::mem::take(&mut self.named);
        let Some(last) = named.iter().map(|(_, number)| *number as usize).max() else { return Ok(()) };
        let (header, page) = dictionary.ok_or(Trouble::Damaged)?;
        if ![PLAIN, PLAIN_DICTIONARY].contains(&header.encoding) {
            return Err(Trouble::Unknown);
        }
        let (bytes, places) = page.read(parts(last + 1, header.values), |bytes| entries(bytes, last))?;
        for (row, number) in named {
            self.found[row] = self.text(&bytes[places[number as usize].clone()])?;
        }
        Ok(())
    }

    /// Adds rows `rows` of a data page.
    fn add_rows(
        &mut self,
        chunk: Chunk<'_>,
        header: &Header,
        page: Page<'_>,
        rows: Range<usize>,
    ) -> Result<(), Trouble> {
        if chunk.optional && header.level_encoding != RLE {
            return Err(Trouble::Unknown);
        }
        match header.encoding {
            PLAIN => {
                let part = parts(rows.end, header.values);
                let (bytes, places) = page.read(part, |bytes| plain(bytes, chunk.optional, rows.clone()))?;
                for place in places {
                    let text = self.text(&bytes[place])?;
                    self.found.push(text);
                }
            }
            PLAIN_DICTIONARY | RLE_DICTIONARY => {
                let (_, numbers) = page.read(1.0, |bytes| numbers(bytes, chunk.optional, rows.clone()))?;
                for number in numbers {
                    self.named.extend(number.map(|number| (self.found.len(), number)));
                    self.found.push(String::new());
                }
            }
            _ => return Err(Trouble::Unknown),
        }
        Ok(())
    }

    fn text(&mut self, bytes: &[u8]) -> Result<String, Trouble> {
        self.room = self.room.checked_sub(bytes.len() as u64).ok_or(Trouble::TooLarge)?;
        Ok(std::str::from_utf8(bytes).map_err(|_| Trouble::Damaged)?.to_owned())
    }
}

impl<'a> Chunk<'a> {
    /// The page at `at`, which moves on behind it.
    fn page(&self, at: &mut usize) -> Result<(Header, Page<'a>), Trouble> {
        let rest = self.bytes.get(*at..).unwrap_or_default();
        let (header, length) = Header::read(rest).ok_or(Trouble::Damaged)?;
        let packed = rest[length..].get(..header.packed).ok_or(Trouble::Damaged)?;
        *at += length + header.packed;
        Ok((header, Page { packed, compression: self.compression, size: header.unpacked }))
    }
}

/// The share of `all` that `some` are.
fn parts(some: usize, all: usize) -> f64 {
    (some as f64 / all as f64).min(1.0)
}

/// Where the texts of rows `rows` stand in a page of texts; a missing one stands nowhere and has no bytes.
fn plain(bytes: &[u8], optional: bool, rows: Range<usize>) -> Option<Vec<Range<usize>>> {
    let (before, present, mut at) = present(bytes, optional, rows)?;
    for _ in 0..before {
        at = text_at(bytes, at)?.end;
    }
    let place = |present: bool| {
        let place = if present { text_at(bytes, at)? } else { at..at };
        at = place.end;
        Some(place)
    };
    present.into_iter().map(place).collect()
}

/// Numbers of rows `rows` of a page of numbers, whose bits are said first.
fn numbers(bytes: &[u8], optional: bool, rows: Range<usize>) -> Option<Vec<Option<u32>>> {
    let (before, present, at) = present(bytes, optional, rows)?;
    let count = present.iter().filter(|present| **present).count();
    let mut found = Vec::with_capacity(count);
    // A page without any value may end here.
    if count > 0 {
        let (width, coded) = bytes.get(at..)?.split_first()?;
        let mut all = Hybrid::new(coded, *width)?;
        all.take(before, |_, _| {})?;
        all.take(count as u64, |number, times| found.extend(std::iter::repeat_n(number, times as usize)))?;
    }
    let mut found = found.into_iter();
    Some(present.into_iter().map(|present| if present { found.next() } else { None }).collect())
}

/// How many values come before those of `rows`, which of the rows have one, and where the values begin.
fn present(bytes: &[u8], optional: bool, rows: Range<usize>) -> Option<(u64, Vec<bool>, usize)> {
    if !optional {
        return Some((rows.start as u64, vec![true; rows.len()], 0));
    }
    let levels = text_at(bytes, 0)?;
    let end = levels.end;
    let mut levels = Hybrid::new(&bytes[levels], 1)?;
    let (mut before, mut present) = (0, Vec::with_capacity(rows.len()));
    levels.take(rows.start as u64, |level, times| before += u64::from(level) * times)?;
    let each = |level, times| present.extend(std::iter::repeat_n(level == 1, times as usize));
    levels.take(rows.len() as u64, each)?;
    Some((before, present, end))
}

/// Where the entries of a dictionary stand, up to number `last`.
fn entries(bytes: &[u8], last: usize) -> Option<Vec<Range<usize>>> {
    let mut at = 0;
    let entry = |_| {
        let place = text_at(bytes, at)?;
        at = place.end;
        Some(place)
    };
    // How many there are is only claimed: the room for them is made as they come.
    (0..=last).map(entry).collect()
}

/// Where the text stands whose length, in four bytes, is at `at`.
fn text_at(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let length = u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize;
    let start = at + 4;
    let end = start.checked_add(length).filter(|end| *end <= bytes.len())?;
    Some(start..end)
}
