//! The beginning of a compressed page: where a row's text ends in the middle of its page, the rest is not unpacked.

use std::io::Read as _;
use std::ops::Deref;

use parquet::basic::Compression;

use super::scratch::Scratch;

/// Bytes that are unpacked beyond what an even spread over the page would need: rows are not of one length, and snappy
/// stops where it is only to within a literal, of which most writers make none longer.
const MARGIN: usize = 64 << 10;

/// Pages that claim more bytes are left to the general decoder.
const MOST: usize = 256 << 20;

/// Why a page cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is made in a way that this reader does not know.
    Unknown,
    /// It is not what it says.
    Damaged,
    /// It has more text than a page may have.
    TooLarge,
}

/// The bytes of a page: as they lie there, or unpacked.
#[derive(Debug)]
pub(super) enum Bytes<'a> {
    There(&'a [u8]),
    Unpacked(Scratch),
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::There(bytes) => bytes,
            Self::Unpacked(bytes) => bytes,
        }
    }
}

/// A page as it lies in its file.
#[derive(Clone, Copy)]
pub(super) struct Page<'a> {
    pub(super) packed: &'a [u8],
    pub(super) compression: Compression,
    /// Bytes when unpacked.
    pub(super) size: usize,
}

impl Page<'_> {
    /// Hands `read` the beginning of the page, about `part` (0 to 1) of it; if that is too little for it (`None`), all of
    /// it, and then too little means that the page is damaged. Returns the bytes and what was found in them.
    pub(super) fn read<T>(&self, part: f64, read: impl Fn(&[u8]) -> Option<T>) -> Result<(Bytes<'_>, T), Trouble> {
        if self.size > MOST {
            return Err(Trouble::Unknown);
        }
        let some = (self.size as f64 * part) as usize + self.size / 32 + MARGIN;
        if some < self.size {
            let beginning = self.beginning(some)?;
            if let Some(found) = read(&beginning) {
                return Ok((beginning, found));
            }
        }
        let whole = self.beginning(self.size)?;
        if whole.len() != self.size {
            return Err(Trouble::Damaged);
        }
        let found = read(&whole).ok_or(Trouble::Damaged)?;
        Ok((whole, found))
    }

    /// At most the first `wanted` bytes, with a little less for want of a place to stop.
    fn beginning(&self, wanted: usize) -> Result<Bytes<'_>, Trouble> {
        let wanted = wanted.min(self.size);
        match self.compression {
            Compression::UNCOMPRESSED => Ok(Bytes::There(&self.packed[..wanted.min(self.packed.len())])),
            Compression::SNAPPY => unsnap(self.packed, wanted, self.size).map(Bytes::Unpacked).ok_or(Trouble::Damaged),
            Compression::ZSTD(_) => unzstd(self.packed, wanted).map(Bytes::Unpacked).map_err(|_| Trouble::Damaged),
            _ => Err(Trouble::Unknown),
        }
    }
}

fn unzstd(packed: &[u8], wanted: usize) -> std::io::Result<Scratch> {
    let mut reader = zstd::stream::read::Decoder::with_buffer(packed)?;
    let mut bytes = Scratch::new(wanted);
    let mut length = 0;
    while length < wanted {
        match reader.read(&mut bytes[length..])? {
            0 => break,
            more => length += more,
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// The library unpacks whole blocks only. But it writes in order and stops at what would not fit, so a block that claims to
/// be shorter gives its beginning.
fn unsnap(packed: &[u8], wanted: usize, size: usize) -> Option<Scratch> {
    let (stated, length) = super::page::varint(packed)?;
    if stated != size as u64 {
        return None;
    }
    let mut bytes = Scratch::new(wanted);
    let mut block = Scratch::new(5 + packed.len() - length);
    let (claim, rest) = block.split_at_mut(5);
    // In five bytes of seven bits, as its longest form has.
    for (i, byte) in claim.iter_mut().enumerate() {
        *byte = (wanted >> (7 * i) & 0x7f) as u8 | if i < 4 { 0x80 } else { 0 };
    }
    rest.copy_from_slice(&packed[length..]);
    match snap::raw::Decoder::new().decompress(&block, &mut bytes) {
        Ok(_) => {}
        Err(snap::Error::Literal { len, dst_len: left, .. } | snap::Error::CopyWrite { len, dst_len: left })
            if wanted < size && left < len =>
        {
            bytes.truncate(wanted.saturating_sub(left as usize));
        }
        Err(_) => return None,
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use parquet::basic::ZstdLevel;

    use super::*;

    fn text() -> Vec<u8> {
        (0..90_000_u64).flat_map(|i| format!("{} loaves, ", i * i % 977).into_bytes()).collect()
    }

    fn packed(compression: Compression, text: &[u8]) -> Vec<u8> {
        match compression {
            Compression::SNAPPY => snap::raw::Encoder::new().compress_vec(text).unwrap(),
            Compression::ZSTD(_) => zstd::encode_all(text, 1).unwrap(),
            _ => text.to_vec(),
        }
    }

    fn kinds() -> [Compression; 3] {
        [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())]
    }

    #[test]
    fn a_page_is_unpacked_as_far_as_it_is_read() {
        let text = text();
        for compression in kinds() {
            let packed = packed(compression, &text);
            let page = Page { packed: &packed, compression, size: text.len() };
            for part in [0.0, 0.3, 0.999, 1.0] {
                let seen = std::cell::Cell::new(0);
                let wanted = (text.len() as f64 * part) as usize;
                let found = page.read(part, |bytes| {
                    seen.set(bytes.len());
                    assert!(bytes == &text[..bytes.len()], "{compression:?}");
                    bytes.get(..wanted).map(<[u8]>::len)
                });
                assert_eq!(found.unwrap().1, wanted, "{compression:?}");
                assert!(
                    seen.get() <= wanted + text.len() / 32 + MARGIN,
                    "{compression:?}: {} for {wanted}",
                    seen.get()
                );
            }
            // More than the estimate holds: the whole is tried.
            let last = |at: usize| page.read(0.0, |bytes| bytes.get(at).copied()).map(|(_, byte)| byte);
            assert_eq!(last(text.len() - 1), Ok(b' '), "{compression:?}");
            assert_eq!(last(text.len()), Err(Trouble::Damaged));
        }
    }

    #[test]
    fn damage_is_told() {
        let text = text();
        for compression in kinds() {
            let whole = packed(compression, &text);
            let read = |packed: &[u8], size| {
                Page { packed, compression, size }.read(1.0, |bytes| Some(bytes.len())).map(|(_, length)| length)
            };
            assert_eq!(read(&whole, text.len()), Ok(text.len()));
            assert_eq!(read(&whole[..whole.len() / 2], text.len()), Err(Trouble::Damaged), "{compression:?}");
            assert_eq!(read(&whole, text.len() + 1), Err(Trouble::Damaged), "{compression:?}");
            assert_eq!(read(&[], text.len()), Err(Trouble::Damaged), "{compression:?}");
            // Cut where the page begins: nothing of it comes.
            let cut = Page { packed: &whole[..1], compression, size: text.len() };
            assert_eq!(cut.read(0.1, |bytes| bytes.get(text.len() / 10).copied()).unwrap_err(), Trouble::Damaged);
        }
        for page in [
            Page { packed: &[1], compression: Compression::LZ4_RAW, size: 1 },
            Page { packed: &[1], compression: Compression::SNAPPY, size: MOST + 1 },
        ] {
            assert_eq!(page.read(1.0, |_| Some(())).unwrap_err(), Trouble::Unknown);
        }
    }
}
