//! One tensor as it lies in a file: checked once, read as often as wanted, by all cores and without a copy in between.

use bistro_core::params::PART;
use bistro_core::protocol::Encoding;
use rayon::prelude::*;

use crate::coded::Coded;
use crate::error::DeltaError;
use crate::{blocks, coded};

/// The bytes of a tensor, every value known to be finite.
#[derive(Clone, Debug)]
pub(crate) struct TensorBytes<'a> {
    shape: Vec<usize>,
    kind: Kind<'a>,
}

#[derive(Clone, Debug)]
enum Kind<'a> {
    Blocks(Encoding, &'a [u8]),
    Coded(Coded<'a>),
}

/// Values of the longest block.
const BLOCK: usize = 4096;

impl<'a> TensorBytes<'a> {
    /// Checks a stranger's bytes, as many as the shape says, without reading them into values.
    pub(crate) fn check(name: &str, encoding: Encoding, shape: &[usize], bytes: &'a [u8]) -> Result<Self, DeltaError> {
        let shape = shape.to_vec();
        let values: usize = shape.iter().product();
        if values == 0 || !matches!(encoding, Encoding::Fine | Encoding::Coarse) {
            check_blocks(name, encoding, bytes, values)?;
            return Ok(Self { shape, kind: Kind::Blocks(encoding, bytes) });
        }
        let coded = Coded::parse(bytes, &shape).map_err(|fault| match fault {
            coded::Fault::NotFinite => DeltaError::NotFinite { tensor: name.into(), index: 0, value: f32::NAN },
            coded::Fault::Form(what) => DeltaError::Malformed(format!("tensor `{name}`: {what}")),
        })?;
        Ok(Self { shape, kind: Kind::Coded(coded) })
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values into `out`, which has room for exactly them.
    pub(crate) fn read_into(&self, out: &mut [f32]) {
        self.each(out, |_, out, values| out.copy_from_slice(values));
    }

    /// `base + scale · values` into `out`; each has the tensor's length. A value is multiplied and added as by
    /// [`bistro_core::params::Params::plus_scaled`], to the bit, while it is still in the processor's cache.
    pub(crate) fn add_into(&self, base: &[f32], scale: f32, out: &mut [f32]) {
        self.each(out, |at, out, values| {
            let base = &base[at..at + values.len()];
            for ((out, w), d) in out.iter_mut().zip(base).zip(values) {
                *out = w + d * scale;
            }
        });
    }

    /// Calls `each` with some values in a row, where they begin, and their places in `out`; from all cores.
    fn each(&self, out: &mut [f32], each: impl Fn(usize, &mut [f32], &[f32]) + Sync) {
        match &self.kind {
            Kind::Blocks(encoding, bytes) => {
                let part_bytes = blocks::bytes(*encoding, PART).max(1);
                let parts = out.par_chunks_mut(PART).zip(bytes.par_chunks(part_bytes)).enumerate();
                parts.for_each(|(part, (out, bytes))| {
                    let mut buffer = [0.0; BLOCK];
                    let block = blocks::values(*encoding);
                    let of_block = blocks::bytes(*encoding, block);
                    for (i, (out, bytes)) in out.chunks_mut(block).zip(bytes.chunks(of_block)).enumerate() {
                        let values = &mut buffer[..out.len()];
                        blocks::decode(*encoding, bytes, values);
                        each(part * PART + i * block, out, values);
                    }
                });
            }
            Kind::Coded(coded) => {
                let length = Coded::stripe_values(&self.shape);
                out.par_chunks_mut(length).enumerate().for_each(|(stripe, out)| {
                    coded.stripe(stripe, |at, values| {
                        each(stripe * length + at, &mut out[at..at + values.len()], values);
                    });
                });
            }
        }
    }
}

fn check_blocks(name: &str, encoding: Encoding, bytes: &[u8], values: usize) -> Result<(), DeltaError> {
    let block = blocks::values(encoding);
    let of_block = blocks::bytes(encoding, block);
    let check = |(i, bytes): (usize, &[u8])| {
        let checked = blocks::check(encoding, bytes, block.min(values - i * block));
        checked.err().map(|fault| (i, fault))
    };
    // The first fault in the order of the values, whichever core finds it.
    let fault = bytes.par_chunks(of_block).with_min_len(16).enumerate().find_map_first(check);
    let Some((i, fault)) = fault else { return Ok(()) };
    let start = i * block;
    if fault == blocks::Fault::Indices {
        let what = format!("tensor `{name}`: the indices of the block from value {start} do not ascend within it");
        return Err(DeltaError::Malformed(what));
    }
    let mut read = vec![0.0; block.min(values - start)];
    blocks::decode(encoding, &bytes[i * of_block..bytes.len().min((i + 1) * of_block)], &mut read);
    // None where only a scale's largest multiple, which this block does not hold, is infinite.
    let (index, value) = read.iter().copied().enumerate().find(|(_, v)| !v.is_finite()).unwrap_or((0, f32::INFINITY));
    Err(DeltaError::NotFinite { tensor: name.into(), index: start + index, value })
}
