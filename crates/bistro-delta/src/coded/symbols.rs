//! Steps of a matrix as decisions. In front of each row stands how loud it is, and each value is predicted from that, from
//! the values around it, and from the history of its column: most rows of an embedding belong to tokens that did not occur,
//! and are passed over in a fraction of a bit.

use super::range::{Bit, Coder};

/// Largest number of steps.
pub(crate) const MAX_STEPS: i32 = (1 << 12) - 1;

/// Sizes above this are alike to the prediction.
const LOUD: i32 = 3;
/// One step in a column's history.
const UNIT: i32 = 1 << 12;
/// Classes of a column's history: by its binary logarithm.
const HISTORIES: usize = 9;
/// Classes of a row's loudness; the first is silence.
const LOUDNESS: usize = 8;
/// Classes of what the neighbours hold.
const AROUND: usize = 6;
const CONTEXTS: usize = LOUDNESS * AROUND * HISTORIES;

/// The class of a history: 0 below 1/128 of a step on average, then one more each time it doubles.
fn class(history: u16) -> usize {
    ((32 - (u32::from(history) >> 5).leading_zeros()) as usize).min(HISTORIES - 1)
}

/// `history` moved towards a value of `size` steps by one part in 32.
fn moved(history: u16, size: u8) -> u16 {
    let (history, target) = (i32::from(history), i32::from(size) * UNIT);
    (history + ((target - history) >> 5)) as u16
}

/// How loud a row is: 0 for zeros alone, 1 below 1/32 of a step on average, then one more each time it doubles.
fn loudness(row: &[i16]) -> usize {
    let sum: u64 = row.iter().map(|steps| u64::from(steps.unsigned_abs().min(LOUD as u16))).sum();
    let mean = sum * 64 / row.len().max(1) as u64;
    if sum == 0 { 0 } else { ((64 - (mean / 2).leading_zeros()) as usize + 1).min(LOUDNESS - 1) }
}

/// A number below the length of `tree`, a power of two, by its binary digits.
fn digits(coder: &mut impl Coder, tree: &mut [Bit], number: usize) -> usize {
    let mut node = 1;
    for digit in (0..tree.len().ilog2()).rev() {
        let yes = coder.code(&mut tree[node], number >> digit & 1 == 1);
        node = node << 1 | usize::from(yes);
    }
    node - tree.len()
}

/// What has been learned about the values of one stripe.
pub(crate) struct Symbols {
    /// Sizes of the row above, cut to [`LOUD`], with one more on either side.
    above: Vec<u8>,
    /// Histories of the columns over rows that are not silent, newer ones weighing more.
    columns: Vec<u16>,
    /// Loudness of the row above.
    before: usize,
    loudness: [[Bit; LOUDNESS]; LOUDNESS],
    nonzero: Vec<Bit>,
    more: [[Bit; LOUDNESS * AROUND]; 2],
    /// Binary digits of the excess over three steps, by their number.
    digits: [Bit; 16],
    /// Bytes of the column factors, as trees of decisions.
    factors: Vec<[Bit; 256]>,
}

impl Symbols {
    /// For rows of `columns` values with `rank` factors before each.
    pub(crate) fn new(columns: usize, rank: usize) -> Self {
        Self {
            above: vec![0; columns + 2],
            columns: vec![0; columns],
            before: 0,
            loudness: [[Bit::NEW; LOUDNESS]; LOUDNESS],
            nonzero: vec![Bit::NEW; CONTEXTS],
            more: [[Bit::NEW; LOUDNESS * AROUND]; 2],
            digits: [Bit::NEW; 16],
            factors: vec![[Bit::NEW; 256]; rank],
        }
    }

    /// One factor of the row that comes next.
    pub(crate) fn factor(&mut self, coder: &mut impl Coder, component: usize, value: i8) -> i8 {
        digits(coder, &mut self.factors[component], usize::from(value as u8)) as u8 as i8
    }

    /// One row: written as it is, or read into `row`.
    pub(crate) fn row(&mut self, coder: &mut impl Coder, row: &mut [i16]) {
        let loudness = digits(coder, &mut self.loudness[self.before], loudness(row));
        self.before = loudness;
        if loudness == 0 {
            row.fill(0);
            self.above.fill(0);
            return;
        }
        let (mut left, mut further) = (0_u8, 0_u8);
        let (mut corner, mut over) = (0_u8, self.above.get(1).copied().unwrap_or_default());
        for (column, value) in row.iter_mut().enumerate() {
            let next = self.above[column + 2];
            let sum = 2 * (left + over) + further + corner + next;
            let around = [0, 1, 2, 3, 3, 4, 4].get(usize::from(sum)).copied().unwrap_or(AROUND - 1);
            let own = around * LOUDNESS + loudness;
            let context = own * HISTORIES + class(self.columns[column]);
            *value = self.value(coder, context, own, i32::from(*value)) as i16;
            let size = i32::from(*value).abs().min(LOUD) as u8;
            self.columns[column] = moved(self.columns[column], size);
            self.above[column + 1] = size;
            (further, left, corner, over) = (left, size, over, next);
        }
    }

    fn value(&mut self, coder: &mut impl Coder, context: usize, own: usize, value: i32) -> i32 {
        let wanted = value.abs();
        if !coder.code(&mut self.nonzero[context], wanted != 0) {
            return 0;
        }
        let negative = coder.toss(value < 0);
        let mut size = 1;
        while size < LOUD && coder.code(&mut self.more[size as usize - 1][own], wanted > size) {
            size += 1;
        }
        if size == LOUD {
            size += self.excess(coder, wanted - LOUD);
        }
        if negative { -size } else { size }
    }

    /// A number from 0 on: how many binary digits its successor has, then those below the first.
    fn excess(&mut self, coder: &mut impl Coder, wanted: i32) -> i32 {
        let wanted = (wanted + 1).max(1);
        let mut digits = 0;
        while digits < MAX_STEPS.ilog2() && coder.code(&mut self.digits[digits as usize], wanted >> (digits + 1) != 0) {
            digits += 1;
        }
        let mut number = 1;
        for digit in (0..digits).rev() {
            number = number << 1 | i32::from(coder.toss(wanted >> digit & 1 == 1));
        }
        (number - 1).min(MAX_STEPS - LOUD)
    }
}

#[cfg(test)]
mod tests {
    use super::super::range::{Reader, Writer};
    use super::*;
    use proptest::prelude::*;

    fn through(rows: &[Vec<i16>], factors: &[i8]) -> usize {
        let columns = rows.first().map_or(0, Vec::len);
        let (mut writer, mut symbols) = (Writer::new(), Symbols::new(columns, 1));
        for (row, factor) in rows.iter().zip(factors) {
            symbols.factor(&mut writer, 0, *factor);
            symbols.row(&mut writer, &mut row.clone());
        }
        let bytes = writer.finish();
        let (mut reader, mut symbols) = (Reader::new(&bytes), Symbols::new(columns, 1));
        for (row, factor) in rows.iter().zip(factors) {
            assert_eq!(symbols.factor(&mut reader, 0, 0), *factor);
            let mut read = vec![0; columns];
            symbols.row(&mut reader, &mut read);
            assert_eq!(read, *row);
        }
        bytes.len()
    }

    #[test]
    fn still_rows_cost_almost_nothing() {
        let mut rows = vec![vec![0; 128]; 512];
        let bytes = through(&rows, &[5; 512]);
        assert!(bytes < 80, "{bytes} bytes for 65536 zeros");
        for row in rows.iter_mut().step_by(64) {
            row.iter_mut().enumerate().for_each(|(i, value)| *value = i as i16 % 5 - 2);
        }
        let bytes = through(&rows, &[5; 512]);
        assert!(bytes < 8 * 128 * 4 / 8 + 200, "{bytes} bytes for 1024 loud values among 64512 still ones");
    }

    #[test]
    fn the_largest_values_come_back() {
        let most = MAX_STEPS as i16;
        through(&[vec![most, -most, 0, 3, -3, 4, -4], vec![most; 7]], &[i8::MIN, i8::MAX]);
        through(&[vec![1]], &[0]);
        through(&[vec![], vec![]], &[1, 2]);
    }

    proptest! {
        #[test]
        fn rows_come_back(
            rows in prop::collection::vec(prop::collection::vec(-20_i16..20, 9), 0..40),
            factors in prop::collection::vec(any::<i8>(), 40),
        ) {
            through(&rows, &factors);
        }
    }
}
