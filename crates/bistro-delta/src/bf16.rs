//! bfloat16: the upper half of an f32.

/// The nearest bfloat16, ties to the even one. NaN stays NaN; what lies beyond the largest bfloat16 becomes infinite.
pub fn round(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        // Without the quiet bit a NaN whose payload lies in the lower half would turn into infinity.
        return (bits >> 16) as u16 | 0x40;
    }
    let last_kept = (bits >> 16) & 1;
    ((bits + 0x7fff + last_kept) >> 16) as u16
}

/// The same number as f32: exact.
pub fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ties_go_to_the_even_neighbour() {
        let table: [(u32, u16); 11] = [
            (0x3f80_0000, 0x3f80), // 1
            (0x3f80_8000, 0x3f80), // half way, even below
            (0x3f81_8000, 0x3f82), // half way, even above
            (0x3f80_8001, 0x3f81), // just above half way
            (0x3f80_7fff, 0x3f80), // just below
            (0x8000_0000, 0x8000), // -0
            (0x0000_0001, 0x0000), // the smallest subnormal
            (0x7f7f_7fff, 0x7f7f), // rounds to the largest
            (0x7f7f_ffff, 0x7f80), // f32::MAX rounds to infinity
            (0xff80_0000, 0xff80), // -infinity
            (0x7f80_0001, 0x7fc0), // a NaN that truncation would make infinite
        ];
        for (from, to) in table {
            assert_eq!(round(f32::from_bits(from)), to, "{from:08x}");
        }
    }

    #[test]
    fn every_bfloat16_survives() {
        for bits in 0..=u16::MAX {
            let value = widen(bits);
            let back = round(value);
            assert!(back == bits || (value.is_nan() && widen(back).is_nan()), "{bits:04x} came back as {back:04x}");
        }
    }

    proptest! {
        #[test]
        fn no_neighbour_is_nearer(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            let rounded = round(value);
            prop_assume!(value.is_finite() && widen(rounded).is_finite());
            let distance = |b: u16| (f64::from(widen(b)) - f64::from(value)).abs();
            for neighbour in [rounded.wrapping_sub(1), rounded.wrapping_add(1)] {
                if widen(neighbour).is_finite() {
                    prop_assert!(distance(rounded) <= distance(neighbour));
                }
            }
        }
    }
}
