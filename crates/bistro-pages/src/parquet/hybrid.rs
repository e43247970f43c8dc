//! Small numbers as Parquet stores them: runs of one number, and runs of numbers of some bits each.

use super::page::varint;

/// Reads such numbers one after the other.
pub(super) struct Hybrid<'a> {
    bytes: &'a [u8],
    /// Bits of a number.
    width: u32,
    run: Run<'a>,
}

/// Numbers that the last run still has.
enum Run<'a> {
    Same { value: u32, left: u64 },
    Packed { bytes: &'a [u8], next: u64, left: u64 },
}

impl<'a> Hybrid<'a> {
    /// Numbers of `width` bits (at most 32) from `bytes`.
    pub(super) fn new(bytes: &'a [u8], width: u8) -> Option<Self> {
        (width <= 32).then_some(Self { bytes, width: u32::from(width), run: Run::Same { value: 0, left: 0 } })
    }

    /// Hands out the next `count` numbers, each with how often it comes at this place; `None` if there are fewer.
    pub(super) fn take(&mut self, mut count: u64, mut each: impl FnMut(u32, u64)) -> Option<()> {
        while count > 0 {
            match &mut self.run {
                Run::Same { left: 0, .. } | Run::Packed { left: 0, .. } => self.run = self.next_run()?,
                Run::Same { value, left } => {
                    let some = count.min(*left);
                    each(*value, some);
                    (count, *left) = (count - some, *left - some);
                }
                Run::Packed { bytes, next, left } => {
                    each(packed(bytes, *next, self.width)?, 1);
                    (count, *next, *left) = (count - 1, *next + 1, *left - 1);
                }
            }
        }
        Some(())
    }

    fn next_run(&mut self) -> Option<Run<'a>> {
        let (head, length) = varint(self.bytes)?;
        let rest = &self.bytes[length..];
        let (left, bytes) = if head & 1 == 0 {
            (head >> 1, u64::from(self.width.div_ceil(8)))
        } else {
            ((head >> 1).checked_mul(8)?, (head >> 1).checked_mul(u64::from(self.width))?)
        };
        // Some writers leave out the end of the last run, of which nothing is used.
        let bytes = usize::try_from(bytes).ok()?.min(rest.len());
        let (run, rest) = rest.split_at(bytes);
        self.bytes = rest;
        // Numbers of no bits are all 0, however many a short run claims.
        Some(if head & 1 == 0 || self.width == 0 {
            Run::Same { value: packed(run, 0, self.width)?, left }
        } else {
            Run::Packed { bytes: run, next: 0, left }
        })
    }
}

/// Number `at` of those of `width` bits.
fn packed(bytes: &[u8], at: u64, width: u32) -> Option<u32> {
    let bit = at.checked_mul(u64::from(width))?;
    let (first, end) = (usize::try_from(bit / 8).ok()?, usize::try_from((bit + u64::from(width)).div_ceil(8)).ok()?);
    let mut word = [0; 8];
    word[..end - first].copy_from_slice(bytes.get(first..end)?);
    Some((u64::from_le_bytes(word) >> (bit % 8) & ((1 << width) - 1)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], width: u8, count: u64) -> Option<Vec<u32>> {
        let mut found = Vec::new();
        let each = |value, times| found.extend(std::iter::repeat_n(value, times as usize));
        Hybrid::new(bytes, width)?.take(count, each)?;
        Some(found)
    }

    #[test]
    fn runs_of_both_kinds() {
        // The format's own example: 0 to 7 in three bits each.
        assert_eq!(all(&[3, 0b1000_1000, 0b1100_0110, 0b1111_1010], 3, 8), Some((0..8).collect()));
        // Four times 300 in ten bits, then eight numbers of which three are used.
        let mixed = [8, 0x2c, 0x01, 3, 1, 8, 48, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(all(&mixed, 10, 7), Some(vec![300, 300, 300, 300, 1, 2, 3]));
        assert_eq!(all(&[8, 3], 0, 12), Some(vec![0; 12]), "numbers of no bits");
        assert_eq!(all(&[2, 0xff, 0xff, 0xff, 0xff], 32, 1), Some(vec![u32::MAX]));
    }

    #[test]
    fn what_is_cut_short_ends() {
        assert_eq!(all(&[], 3, 1), None);
        assert_eq!(all(&[3, 0b1000_1000], 3, 2), Some(vec![0, 1]), "the rest of the run is not needed");
        assert_eq!(all(&[3, 0b1000_1000], 3, 3), None);
        assert_eq!(all(&[8], 3, 1), None);
        assert_eq!(all(&[0; 100], 3, 1), None, "runs of nothing");
        assert_eq!(all(&[0xff; 12], 3, 1), None);
        assert!(Hybrid::new(&[], 33).is_none());
    }

    #[test]
    fn a_run_of_billions_takes_no_time() {
        let mut ones = 0;
        let mut numbers = Hybrid::new(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0x0f, 1], 1).unwrap();
        numbers.take(8_000_000_000, |value, times| ones += u64::from(value) * times).unwrap();
        assert_eq!(ones, 8_000_000_000);
    }
}
