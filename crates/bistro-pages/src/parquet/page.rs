//! Headers of the pages that a column's part of a row group consists of.

/// What a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Values or numbers of values, of some rows.
    Data,
    /// Values that data pages name by their number.
    Dictionary,
    /// Anything else that the format knows.
    Other,
}

/// What stands before a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Bytes of the page as it lies there.
    pub(super) packed: usize,
    /// Bytes of the page unpacked.
    pub(super) unpacked: usize,
    /// Rows of a data page, missing ones included; values of a dictionary.
    pub(super) values: usize,
    /// By the format's number.
    pub(super) encoding: i64,
    /// Of the levels that say which values are missing, by the format's number.
    pub(super) level_encoding: i64,
}

/// Values one after the other, each after its length.
pub(super) const PLAIN: i64 = 0;
/// Numbers of values, by the name of older files.
pub(super) const PLAIN_DICTIONARY: i64 = 2;
/// Levels as [`super::hybrid`] reads them.
pub(super) const RLE: i64 = 3;
/// Numbers of values.
pub(super) const RLE_DICTIONARY: i64 = 8;

/// Structures inside one another; a header has three.
const MAX_DEPTH: u32 = 6;

impl Header {
    /// Reads the header at the beginning of `bytes`, and says how long it is; `None` if there is none.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut thrift = Thrift { bytes, at: 0, numbers: Vec::new() };
        thrift.structure(0, MAX_DEPTH)?;
        let number = |path: u64| thrift.numbers.iter().find(|(p, _)| *p == path).map(|(_, value)| *value);
        let size = |path: u64| usize::try_from(number(path)?).ok();
        // The format's own numbers of fields: 1 to 3 of every page, 5 of data pages, 7 of dictionaries.
        let within = |field: u64, inner: u64| field * FIELDS + inner;
        let (kind, field) = match number(1)? {
            0 => (Kind::Data, 5),
            2 => (Kind::Dictionary, 7),
            _ => (Kind::Other, 0),
        };
        let header = Self {
            kind,
            unpacked: size(2)?,
            packed: size(3)?,
            values: if field == 0 { 0 } else { size(within(field, 1))? },
            encoding: if field == 0 { 0 } else { number(within(field, 2))? },
            level_encoding: if kind == Kind::Data { number(within(field, 3))? } else { 0 },
        };
        Some((header, thrift.at))
    }
}

/// More than a structure's fields here: a path of fields is a number in this base.
const FIELDS: u64 = 64;

/// Reads the numbers of a structure in Thrift's compact protocol, which is how Parquet writes its own; texts, lists and the
/// like are passed over.
struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Path of a field, and its value.
    numbers: Vec<(u64, i64)>,
}

impl Thrift<'_> {
    fn structure(&mut self, path: u64, depth: u32) -> Option<()> {
        let mut field = 0;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            field = match head >> 4 {
                0 => u64::try_from(self.number()?).ok()?,
                more => field + u64::from(more),
            };
            if field >= FIELDS {
                return None;
            }
            self.value(head & 15, path * FIELDS + field, depth)?;
        }
    }

    fn value(&mut self, kind: u8, path: u64, depth: u32) -> Option<()> {
        match kind {
            // The value of a truth stands in its kind.
            1 | 2 => {}
            3 => self.skip(1)?,
            4..=6 => {
                let value = self.number()?;
                self.numbers.push((path, value));
            }
            7 => self.skip(8)?,
            8 => {
                let length = self.varint()?;
                self.skip(usize::try_from(length).ok()?)?;
            }
            12 => self.structure(path, depth.checked_sub(1)?)?,
            // A page's header has no lists, sets and maps.
            _ => return None,
        }
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes).filter(|at| *at <= self.bytes.len())?;
        Some(())
    }

    /// A signed number, of which small ones of both signs are short.
    fn number(&mut self) -> Option<i64> {
        let coded = self.varint()?;
        Some((coded >> 1) as i64 ^ -((coded & 1) as i64))
    }

    fn varint(&mut self) -> Option<u64> {
        let (value, length) = varint(self.bytes.get(self.at..)?)?;
        self.at += length;
        Some(value)
    }
}

/// A number of seven bits a byte, lowest first, at the beginning of `bytes`, and how many bytes it takes.
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if *byte < 0x80 {
            return Some((value, i + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written down from a file of pyarrow's: a data page of 1000 rows with statistics, and the dictionary before it.
    const DATA: &[u8] = b"\x15\x00\x15\xd4\x13\x15\xd8\x13\x2c\x15\xd0\x0f\x15\x10\x15\x06\x15\x06\x1c\x18\x01z\x18\x01a\x16\x04\x28\x01z\x18\x01a\x11\x11\x00\x00\x00rest";
    const DICTIONARY: &[u8] = b"\x15\x04\x15\x80\x80\x01\x15\xc8\x01\x4c\x15\xd0\x0f\x15\x00\x12\x00\x00";

    #[test]
    fn headers_are_read_and_their_statistics_passed_over() {
        let data = Header {
            kind: Kind::Data,
            packed: 1260,
            unpacked: 1258,
            values: 1000,
            encoding: RLE_DICTIONARY,
            level_encoding: RLE,
        };
        assert_eq!(Header::read(DATA), Some((data, DATA.len() - 4)));
        let dictionary = Header {
            kind: Kind::Dictionary,
            packed: 100,
            unpacked: 8192,
            values: 1000,
            encoding: PLAIN,
            level_encoding: 0,
        };
        assert_eq!(Header::read(DICTIONARY), Some((dictionary, DICTIONARY.len())));
    }

    #[test]
    fn what_is_no_header_is_none() {
        for length in 0..DICTIONARY.len() {
            assert_eq!(Header::read(&DICTIONARY[..length]), None, "{length} bytes");
        }
        let deep = [0x1c; 100];
        let negative = b"\x15\x04\x15\x01\x15\xc8\x01\x4c\x15\xd0\x0f\x15\x00\x00\x00";
        let list = b"\x19\x18\x00";
        let long_text = b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00";
        for bytes in [&deep[..], negative, list, long_text, &[0xff; 40]] {
            assert_eq!(Header::read(bytes), None, "{bytes:?}");
        }
    }
}
