//! Encodings in blocks of fixed size: exact floats, bfloat16, absmax integers, and the largest values of a block.
//!
//! | encoding | values of a block | bytes of a block |
//! |---|---|---|
//! | f32, bf16 | 4096 | little-endian numbers |
//! | int8 | 256 | scale (bf16), a signed byte a value |
//! | int4 | 256 | scale (bf16), two values a byte, the lower half first, -7 to 7 and 8 added |
//! | topk | 4096 | scale (bf16), 128 indices of 12 bits ascending, two in three bytes, a signed byte each |
//!
//! The last block of a tensor may be shorter; of `n` values, topk keeps the 32nd part, rounded up.

use bistro_core::protocol::Encoding;

use crate::bf16;

/// Values of a block of floats or of topk.
const LONG: usize = 4096;
/// Values of a block of integers.
const SHORT: usize = 256;
/// Topk keeps one value of so many.
const SPARSITY: usize = 32;
/// Bytes of a scale.
const SCALE: usize = 2;

/// What is wrong with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Some value is NaN or infinite.
    NotFinite,
    /// Topk's indices do not ascend within the block.
    Indices,
}

/// Values of a whole block.
pub(crate) fn values(encoding: Encoding) -> usize {
    match encoding {
        Encoding::Int8 | Encoding::Int4 => SHORT,
        _ => LONG,
    }
}

fn kept(n: usize) -> usize {
    n.div_ceil(SPARSITY)
}

/// Bytes of a block of `n` values.
fn block_bytes(encoding: Encoding, n: usize) -> usize {
    match encoding {
        Encoding::Bf16 => 2 * n,
        Encoding::Int8 => SCALE + n,
        Encoding::Int4 => SCALE + n.div_ceil(2),
        Encoding::TopK => SCALE + (kept(n) * 3).div_ceil(2) + kept(n),
        _ => 4 * n,
    }
}

/// Bytes of a tensor of `n` values.
pub(crate) fn bytes(encoding: Encoding, n: usize) -> usize {
    let block = values(encoding);
    let tail = n % block;
    n / block * block_bytes(encoding, block) + if tail == 0 { 0 } else { block_bytes(encoding, tail) }
}

/// Writes one block. A value that is not finite makes the scale NaN: it is for the reader to refuse.
pub(crate) fn encode(encoding: Encoding, values: &[f32], out: &mut [u8]) {
    match encoding {
        Encoding::Bf16 => {
            for (out, value) in out.as_chunks_mut().0.iter_mut().zip(values) {
                *out = bf16::round(*value).to_le_bytes();
            }
        }
        Encoding::Int8 => {
            let (scale, codes) = out.split_at_mut(SCALE);
            let inverse = write_scale(scale, values, 127.0);
            for (code, value) in codes.iter_mut().zip(values) {
                *code = integer(*value, inverse, 127.0) as u8;
            }
        }
        Encoding::Int4 => {
            let (scale, codes) = out.split_at_mut(SCALE);
            let inverse = write_scale(scale, values, 7.0);
            let code = |value: &f32| (integer(*value, inverse, 7.0) + 8) as u8;
            for (byte, pair) in codes.iter_mut().zip(values.chunks(2)) {
                *byte = code(&pair[0]) | pair.get(1).map_or(8, code) << 4;
            }
        }
        Encoding::TopK => encode_largest(values, out),
        _ => {
            for (out, value) in out.as_chunks_mut().0.iter_mut().zip(values) {
                *out = value.to_le_bytes();
            }
        }
    }
}

/// Reads one block that [`check`] passed; any other gives some values too.
#[inline]
pub(crate) fn decode(encoding: Encoding, bytes: &[u8], out: &mut [f32]) {
    match encoding {
        Encoding::Bf16 => {
            for (out, value) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = bf16::widen(u16::from_le_bytes(*value));
            }
        }
        Encoding::Int8 => {
            let (scale, codes) = bytes.split_at(SCALE);
            let scale = read_scale(scale);
            for (out, code) in out.iter_mut().zip(codes) {
                *out = f32::from(*code as i8) * scale;
            }
        }
        Encoding::Int4 => {
            let (scale, codes) = bytes.split_at(SCALE);
            let scale = read_scale(scale);
            let value = |code: u8| f32::from(code as i8 - 8) * scale;
            let (pairs, last) = out.as_chunks_mut::<2>();
            for (pair, byte) in pairs.iter_mut().zip(codes) {
                *pair = [value(byte & 15), value(byte >> 4)];
            }
            if let ([last], Some(byte)) = (last, codes.last()) {
                *last = value(byte & 15);
            }
        }
        Encoding::TopK => {
            out.fill(0.0);
            let (scale, indices, codes) = parts(bytes, out.len());
            for (i, code) in codes.iter().enumerate() {
                if let Some(out) = out.get_mut(index(indices, i)) {
                    *out = f32::from(*code as i8) * scale;
                }
            }
        }
        _ => {
            for (out, value) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = f32::from_le_bytes(*value);
            }
        }
    }
}

/// Whether a stranger's block of `n` values is one that could have been written.
pub(crate) fn check(encoding: Encoding, bytes: &[u8], n: usize) -> Result<(), Fault> {
    // A fold without an early exit runs on vector registers.
    let finite = match encoding {
        Encoding::Bf16 => bytes.as_chunks().0.iter().fold(true, |all, v| all & (u16::from_le_bytes(*v) << 1 < 0xff00)),
        Encoding::Int8 | Encoding::Int4 | Encoding::TopK => (read_scale(bytes) * 128.0).is_finite(),
        _ => bytes.as_chunks().0.iter().fold(true, |all, v| all & f32::from_le_bytes(*v).is_finite()),
    };
    if !finite {
        return Err(Fault::NotFinite);
    }
    if encoding == Encoding::TopK {
        let (_, indices, codes) = parts(bytes, n);
        let mut next = 0;
        for i in 0..codes.len() {
            let index = index(indices, i);
            if index < next || index >= n {
                return Err(Fault::Indices);
            }
            next = index + 1;
        }
    }
    Ok(())
}

fn read_scale(bytes: &[u8]) -> f32 {
    bytes.first_chunk().map_or(f32::NAN, |scale| bf16::widen(u16::from_le_bytes(*scale)))
}

/// Writes the scale at which the largest value is `most`; gives its inverse.
fn write_scale(out: &mut [u8], values: &[f32], most: f32) -> f32 {
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let finite = values.iter().fold(true, |all, value| all & value.is_finite());
    let scale = bf16::round(if finite { largest / most } else { f32::NAN });
    out.copy_from_slice(&scale.to_le_bytes());
    let inverse = 1.0 / bf16::widen(scale);
    // Nothing but zeros, or values so small that their scale's inverse is infinite.
    if inverse.is_finite() { inverse } else { 0.0 }
}

fn integer(value: f32, inverse: f32, most: f32) -> i8 {
    (value * inverse).round_ties_even().clamp(-most, most) as i8
}

/// Scale, indices and codes of a block of `n` values of topk.
fn parts(bytes: &[u8], n: usize) -> (f32, &[u8], &[u8]) {
    let (indices, codes) = bytes[SCALE..].split_at((kept(n) * 3).div_ceil(2));
    (read_scale(bytes), indices, codes)
}

/// Index `i` of those packed in 12 bits each.
fn index(packed: &[u8], i: usize) -> usize {
    let at = i / 2 * 3 + i % 2;
    let two = usize::from(packed[at]) | usize::from(packed[at + 1]) << 8;
    if i.is_multiple_of(2) { two & 0xfff } else { two >> 4 }
}

fn encode_largest(values: &[f32], out: &mut [u8]) {
    let mut order: Vec<u16> = (0..values.len() as u16).collect();
    // By size, and among equals by index, so that the same values give the same bytes everywhere.
    let rank = |i: &u16| (std::cmp::Reverse(values[usize::from(*i)].abs().to_bits()), *i);
    let count = kept(values.len());
    if count < order.len() {
        order.select_nth_unstable_by_key(count, rank);
        order.truncate(count);
    }
    order.sort_unstable();
    let (scale, rest) = out.split_at_mut(SCALE);
    let inverse = write_scale(scale, values, 127.0);
    let (indices, codes) = rest.split_at_mut((count * 3).div_ceil(2));
    indices.fill(0);
    for (i, (place, code)) in order.iter().zip(codes).enumerate() {
        let at = i / 2 * 3 + i % 2;
        let bits = if i.is_multiple_of(2) { *place } else { *place << 4 }.to_le_bytes();
        indices[at] |= bits[0];
        indices[at + 1] |= bits[1];
        *code = integer(values[usize::from(*place)], inverse, 127.0) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn through(encoding: Encoding, values: &[f32]) -> Vec<f32> {
        let mut block = vec![0; bytes(encoding, values.len())];
        encode(encoding, values, &mut block);
        check(encoding, &block, values.len()).unwrap();
        let mut out = vec![f32::NAN; values.len()];
        decode(encoding, &block, &mut out);
        out
    }

    #[test]
    fn known_blocks() {
        let values = [1.0, -0.5, 0.25, 127.0, -127.0];
        let mut block = [0; 7];
        encode(Encoding::Int8, &values, &mut block);
        assert_eq!(block, [0x80, 0x3f, 1, 0, 0, 127, 0x81]);
        let mut block = [0; 5];
        encode(Encoding::Int4, &[7.0, -7.0, 1.0, 0.0, -3.0], &mut block);
        assert_eq!(block, [0x80, 0x3f, 0x1f, 0x89, 0x85]);
        let mut values = [0.0; 96];
        (values[3], values[64], values[90]) = (1.0, -127.0, 64.0);
        let mut block = [0; 10];
        encode(Encoding::TopK, &values, &mut block);
        assert_eq!(block, [0x80, 0x3f, 0x03, 0x00, 0x04, 0x5a, 0x00, 1, 0x81, 64]);
    }

    #[test]
    fn indices_that_no_writer_makes_are_refused() {
        let mut block = [0x80, 0x3f, 0x03, 0x00, 0x04, 0x5a, 0x00, 1, 0x81, 64];
        check(Encoding::TopK, &block, 96).unwrap();
        block[2] = 0x40; // 64 twice
        assert_eq!(check(Encoding::TopK, &block, 96), Err(Fault::Indices));
        block[2] = 0x03;
        block[5] = 0x60; // 96 of 96
        assert_eq!(check(Encoding::TopK, &block, 96), Err(Fault::Indices));
    }

    proptest! {
        #[test]
        fn integers_are_near(values in prop::collection::vec(-1e3_f32..1e3, 1..257)) {
            let most = values.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            for (encoding, levels) in [(Encoding::Int8, 127.0), (Encoding::Int4, 7.0)] {
                for (value, read) in values.iter().zip(through(encoding, &values)) {
                    prop_assert!((value - read).abs() <= most * (0.505 / levels + 0.004), "{encoding:?}: {value} as {read}");
                }
            }
        }

        #[test]
        fn the_largest_stay(values in prop::collection::vec(-1e3_f32..1e3, 1..4097)) {
            let read = through(Encoding::TopK, &values);
            let dropped = values.iter().zip(&read).filter(|(_, r)| **r == 0.0).map(|(v, _)| v.abs());
            let smallest = values.iter().zip(&read).filter(|(_, r)| **r != 0.0).map(|(v, _)| v.abs()).fold(1e3, f32::min);
            prop_assert!(read.iter().filter(|r| **r != 0.0).count() <= values.len().div_ceil(32));
            // A value that is kept and rounds to zero looks dropped.
            prop_assert!(dropped.fold(0.0, f32::max) <= smallest.max(8.0));
        }
    }
}
