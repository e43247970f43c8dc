//! A binary adaptive range coder: each yes or no costs as many bits as it surprises.
//!
//! Integers only, so that every machine reads the same. The reader takes any bytes: past their end it reads zeros, and no
//! state makes it stop, so there is nothing in a stream that could be refused.

/// How likely a decision is to be no, learned while coding: the mean of a quick and a slow memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bit {
    quick: u32,
    slow: u32,
    /// Decisions so far, as far as they matter: the first ones weigh more.
    seen: u32,
}

/// A memory that is certain of no.
const CERTAIN: u32 = 1 << 24;

/// Bits of a probability in the coder.
const PRECISION: u32 = 15;
/// The range is widened when it falls below this.
const NARROW: u32 = 1 << 24;

impl Bit {
    /// Nothing known yet.
    pub(crate) const NEW: Self = Self { quick: CERTAIN / 2, slow: CERTAIN / 2, seen: 2 };

    /// Likelihood of no, in 1/2^15, never 0 and never 1.
    fn no(self) -> u32 {
        ((self.quick + self.slow) >> 10).clamp(16, (1 << PRECISION) - 16)
    }

    fn learn(&mut self, yes: bool) {
        let towards = |memory: u32, rate: u32| {
            if yes { memory - (memory >> rate) } else { memory + ((CERTAIN - memory) >> rate) }
        };
        let rate = self.seen.ilog2();
        (self.quick, self.slow) = (towards(self.quick, rate.min(5)), towards(self.slow, rate));
        self.seen = (self.seen + 1).min(1 << 8);
    }
}

/// A writer or a reader of decisions. The code that models the values is the same for both: it offers each decision, and
/// goes on with what comes back; a writer gives back what it was offered, a reader what was written.
pub(crate) trait Coder {
    /// One decision that `bit` predicts and learns from.
    fn code(&mut self, bit: &mut Bit, yes: bool) -> bool;

    /// One decision of which nothing is known.
    fn toss(&mut self, yes: bool) -> bool;
}

/// Writes decisions.
pub(crate) struct Writer {
    low: u64,
    range: u32,
    /// The last byte, kept back because a carry may still reach it, and how many 0xff follow it.
    kept: Option<u8>,
    full: usize,
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { low: 0, range: u32::MAX, kept: None, full: 0, bytes: Vec::new() }
    }

    fn decide(&mut self, yes: bool, bound: u32) {
        if yes {
            self.low += u64::from(bound);
            self.range -= bound;
        } else {
            self.range = bound;
        }
        while self.range < NARROW {
            self.range <<= 8;
            self.shift();
        }
    }

    fn shift(&mut self) {
        let carry = (self.low >> 32) as u8;
        let top = (self.low >> 24) as u8;
        if carry == 0 && top == 0xff && self.kept.is_some() {
            self.full += 1;
        } else {
            self.bytes.extend(self.kept.map(|byte| byte.wrapping_add(carry)));
            self.bytes.extend(std::iter::repeat_n(0xff_u8.wrapping_add(carry), self.full));
            (self.kept, self.full) = (Some(top), 0);
        }
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    /// The bytes; zeros at their end are left away, as the reader finds zeros there anyway.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        for _ in 0..5 {
            self.shift();
        }
        let used = self.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.bytes.truncate(used);
        self.bytes
    }
}

impl Coder for Writer {
    fn code(&mut self, bit: &mut Bit, yes: bool) -> bool {
        self.decide(yes, (self.range >> PRECISION) * bit.no());
        bit.learn(yes);
        yes
    }

    fn toss(&mut self, yes: bool) -> bool {
        self.decide(yes, self.range >> 1);
        yes
    }
}

/// Reads decisions.
pub(crate) struct Reader<'a> {
    bytes: std::slice::Iter<'a, u8>,
    range: u32,
    code: u32,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let mut reader = Self { bytes: bytes.iter(), range: u32::MAX, code: 0 };
        for _ in 0..4 {
            reader.code = reader.code << 8 | reader.next();
        }
        reader
    }

    fn next(&mut self) -> u32 {
        self.bytes.next().map_or(0, |byte| u32::from(*byte))
    }

    fn decide(&mut self, bound: u32) -> bool {
        let yes = self.code >= bound;
        if yes {
            self.code -= bound;
            self.range -= bound;
        } else {
            self.range = bound;
        }
        while self.range < NARROW {
            self.range <<= 8;
            self.code = self.code << 8 | self.next();
        }
        yes
    }
}

impl Coder for Reader<'_> {
    #[inline]
    fn code(&mut self, bit: &mut Bit, _: bool) -> bool {
        let yes = self.decide((self.range >> PRECISION) * bit.no());
        bit.learn(yes);
        yes
    }

    #[inline]
    fn toss(&mut self, _: bool) -> bool {
        self.decide(self.range >> 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes decisions, each under one of four models or none, and reads them back.
    fn through(decisions: &[(u8, bool)]) -> usize {
        let mut writer = Writer::new();
        let mut models = [Bit::NEW; 4];
        for (model, yes) in decisions {
            match models.get_mut(usize::from(*model)) {
                Some(bit) => writer.code(bit, *yes),
                None => writer.toss(*yes),
            };
        }
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes);
        let mut models = [Bit::NEW; 4];
        for (i, (model, yes)) in decisions.iter().enumerate() {
            let read = match models.get_mut(usize::from(*model)) {
                Some(bit) => reader.code(bit, false),
                None => reader.toss(false),
            };
            assert_eq!(read, *yes, "decision {i}");
        }
        bytes.len()
    }

    #[test]
    fn what_is_expected_costs_little() {
        let rare: Vec<_> = (0..100_000).map(|i| (0, i % 1000 == 0)).collect();
        // 0.0114 bits each: 143 bytes at best.
        assert!(through(&rare) < 220);
        let mixed: Vec<_> = (0..80_000_u32).map(|i| (4, i.wrapping_mul(2_654_435_761) >> 31 == 1)).collect();
        assert!((10_000..10_010).contains(&through(&mixed)));
    }

    #[test]
    fn a_carry_runs_through_full_bytes() {
        // Always the upper part of the range: the low end creeps up to a long row of 0xff.
        for last in [false, true] {
            let mut decisions = vec![(4, true); 400];
            decisions.extend([(0, true), (4, last)]);
            decisions.extend(vec![(1, last); 300]);
            through(&decisions);
        }
    }

    proptest! {
        #[test]
        fn decisions_come_back(decisions in prop::collection::vec((0..5_u8, any::<bool>()), 0..2000)) {
            through(&decisions);
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let (mut reader, mut bit) = (Reader::new(&bytes), Bit::NEW);
            for _ in 0..1000 {
                reader.code(&mut bit, false);
                reader.toss(false);
            }
        }
    }
}
