//! Named tensors to bytes and back, in each encoding.
//!
//! A file is a safetensors file with one entry a tensor. In f32 and bf16 the entry has the tensor's own type and shape; in
//! every other encoding it is a row of bytes (`U8`) that `blocks.rs` or `coded` describe.

use std::collections::BTreeMap;

use bistro_core::params::{ModelSpec, Params};
use bistro_core::protocol::Encoding;
use rayon::prelude::*;

use crate::error::DeltaError;
use crate::header::{Entry, Header};
use crate::tensor::TensorBytes;
use crate::{blocks, coded};

/// Whether a tensor's bytes can be fewer than the longest possible.
fn varies(encoding: Encoding) -> bool {
    matches!(encoding, Encoding::Fine | Encoding::Coarse)
}

/// Bytes of a tensor of this shape; the most where they vary.
fn tensor_bytes(encoding: Encoding, shape: &[usize]) -> usize {
    let values = shape.iter().product();
    match encoding {
        _ if values == 0 => 0,
        Encoding::Fine | Encoding::Coarse => coded::max_bytes(encoding, shape),
        _ => blocks::bytes(encoding, values),
    }
}

/// Type and shape of an entry of `bytes` bytes.
fn form(encoding: Encoding, shape: &[usize], bytes: u64) -> (&'static str, Vec<u64>) {
    let own = || shape.iter().map(|side| *side as u64).collect();
    match encoding {
        Encoding::F32 => ("F32", own()),
        Encoding::Bf16 => ("BF16", own()),
        _ => ("U8", vec![bytes]),
    }
}

/// The header of this model's file: tensors in name order, one after another.
fn header(
    spec: &ModelSpec,
    encoding: Encoding,
    lengths: impl Iterator<Item = usize>,
    metadata: &BTreeMap<String, String>,
) -> Header {
    let mut end = 0;
    let entry = |((name, shape), length): ((&String, &Vec<usize>), usize)| {
        let begin = end;
        end += length as u64;
        let (dtype, shape) = form(encoding, shape, length as u64);
        (name.clone(), Entry { dtype: dtype.into(), shape, data_offsets: (begin, end) })
    };
    Header { metadata: metadata.clone(), tensors: spec.tensors.iter().zip(lengths).map(entry).collect() }
}

/// Length in bytes of this model's file with this metadata; the most where it varies.
pub fn file_size(spec: &ModelSpec, encoding: Encoding, metadata: &BTreeMap<String, String>) -> u64 {
    let lengths = || spec.tensors.values().map(|shape| tensor_bytes(encoding, shape));
    let header = header(spec, encoding, lengths(), metadata).to_bytes().len();
    (header + lengths().sum::<usize>()) as u64
}

/// A safetensors file: names in order, numbers little-endian in row-major order; bfloat16 is rounded to nearest, ties to
/// even. The same arguments give the same bytes on every machine.
pub fn write(params: &Params, encoding: Encoding, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let spec = params.spec();
    if varies(encoding) {
        let encoded = params.tensors.values().map(|tensor| match tensor.data.len() {
            0 => Vec::new(),
            _ => coded::encode(encoding, &tensor.shape, &tensor.data),
        });
        let encoded: Vec<Vec<u8>> = encoded.collect();
        let mut file = header(&spec, encoding, encoded.iter().map(Vec::len), metadata).to_bytes();
        file.extend(encoded.iter().flatten());
        return file;
    }
    let lengths = || spec.tensors.values().map(|shape| tensor_bytes(encoding, shape));
    let mut file = header(&spec, encoding, lengths(), metadata).to_bytes();
    let start = file.len();
    file.resize(start + lengths().sum::<usize>(), 0);
    let mut data = &mut file[start..];
    for (tensor, length) in params.tensors.values().zip(lengths()) {
        let (bytes, rest) = data.split_at_mut(length);
        let block = blocks::values(encoding);
        bytes
            .par_chunks_mut(blocks::bytes(encoding, block))
            .zip(tensor.data.par_chunks(block))
            .with_min_len(16)
            .for_each(|(bytes, values)| blocks::encode(encoding, values, bytes));
        data = rest;
    }
    file
}

/// Reads a file of exactly this model's tensors in this encoding, and its metadata, from bytes that anybody may have
/// written. Checked in this order: the header is sound; names, types and shapes are the model's; the ranges fill the data
/// without gap or overlap; every value is finite.
pub fn read(
    file: &[u8],
    spec: &ModelSpec,
    encoding: Encoding,
) -> Result<(Params, BTreeMap<String, String>), DeltaError> {
    let (header, data) = Header::read(file)?;
    let tensors = open(&header, data, spec, encoding)?;
    let mut params = Params::default();
    for (name, tensor) in &tensors {
        tensor.read_into(params.to_overwrite(name, tensor.shape()));
    }
    Ok((params, header.metadata))
}

/// The steps of [`read`] after the header's, up to the values, which stay as they are.
pub(crate) fn open<'a>(
    header: &Header,
    data: &'a [u8],
    spec: &ModelSpec,
    encoding: Encoding,
) -> Result<BTreeMap<String, TensorBytes<'a>>, DeltaError> {
    check_tensors(header, spec, encoding)?;
    check_ranges(header, data.len() as u64)?;
    let tensor = |(name, shape): (&String, &Vec<usize>)| {
        let (begin, end) = header.tensors[name].data_offsets;
        Ok((name.clone(), TensorBytes::check(name, encoding, shape, &data[begin as usize..end as usize])?))
    };
    spec.tensors.iter().map(tensor).collect()
}

/// Names, types, shapes, and ranges as long as the shapes say.
fn check_tensors(header: &Header, spec: &ModelSpec, encoding: Encoding) -> Result<(), DeltaError> {
    if let Some(name) = header.tensors.keys().find(|name| !spec.tensors.contains_key(*name)) {
        return Err(DeltaError::WrongShape(format!("the model has no tensor `{name}`")));
    }
    for (name, shape) in &spec.tensors {
        let wrong = |what: String| Err(DeltaError::WrongShape(format!("tensor `{name}` {what}")));
        let Some(entry) = header.tensors.get(name) else { return wrong("is missing".into()) };
        let (begin, end) = entry.data_offsets;
        let most = tensor_bytes(encoding, shape) as u64;
        let length = end.checked_sub(begin).filter(|length| *length == most || varies(encoding) && *length < most);
        let (dtype, sides) = form(encoding, shape, if varies(encoding) { length.unwrap_or(most) } else { most });
        if entry.dtype != dtype {
            return wrong(format!("has type {}, not {dtype}", entry.dtype));
        }
        if entry.shape != sides {
            return wrong(format!("has shape {:?}, not {sides:?}", entry.shape));
        }
        if length.is_none() {
            let what = format!("tensor `{name}` of shape {shape:?} cannot lie at bytes {begin} to {end}");
            return Err(DeltaError::Malformed(what));
        }
    }
    Ok(())
}

/// Every byte of the data belongs to exactly one tensor.
fn check_ranges(header: &Header, data_len: u64) -> Result<(), DeltaError> {
    let mut ranges: Vec<_> = header.tensors.iter().map(|(name, entry)| (entry.data_offsets, name)).collect();
    ranges.sort_unstable();
    let mut filled = 0;
    for ((begin, end), name) in ranges {
        if begin != filled {
            let what = format!("tensor `{name}` starts at byte {begin} of the data, not at {filled}");
            return Err(DeltaError::Malformed(what));
        }
        filled = end;
    }
    if filled == data_len {
        Ok(())
    } else {
        Err(DeltaError::Malformed(format!("its tensors take {filled} bytes of data, it has {data_len}")))
    }
}
