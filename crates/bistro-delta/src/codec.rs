//! Named tensors to bytes and back, in each encoding.

use std::collections::BTreeMap;

use bistro_core::params::{ModelSpec, Params, Tensor};
use bistro_core::protocol::Encoding;

use crate::bf16;
use crate::error::DeltaError;
use crate::header::{Entry, Header};

/// The safetensors name of an encoding's numbers.
fn dtype(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::F32 => "F32",
        Encoding::Bf16 => "BF16",
    }
}

/// Bytes of one number.
fn width(encoding: Encoding) -> u64 {
    match encoding {
        Encoding::F32 => 4,
        Encoding::Bf16 => 2,
    }
}

fn numel(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// The header of this model's file: tensors in name order, one after another.
fn header(spec: &ModelSpec, encoding: Encoding, metadata: &BTreeMap<String, String>) -> Header {
    let mut end = 0;
    let mut entry = |shape: &Vec<usize>| {
        let begin = end;
        end += numel(shape) as u64 * width(encoding);
        Entry {
            dtype: dtype(encoding).into(),
            shape: shape.iter().map(|side| *side as u64).collect(),
            data_offsets: (begin, end),
        }
    };
    let tensors = spec.tensors.iter().map(|(name, shape)| (name.clone(), entry(shape))).collect();
    Header { metadata: metadata.clone(), tensors }
}

/// Length in bytes of this model's file with this metadata.
pub fn file_size(spec: &ModelSpec, encoding: Encoding, metadata: &BTreeMap<String, String>) -> u64 {
    let header = header(spec, encoding, metadata).to_bytes().len();
    header as u64 + spec.numel() as u64 * width(encoding)
}

/// A safetensors file: names in order, numbers little-endian in row-major order; bfloat16 is rounded to nearest, ties to
/// even. The same arguments give the same bytes on every machine.
pub fn write(params: &Params, encoding: Encoding, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let spec = params.spec();
    let header = header(&spec, encoding, metadata).to_bytes();
    let data_len = spec.numel() * width(encoding) as usize;
    let mut file = Vec::with_capacity(header.len() + data_len);
    file.extend_from_slice(&header);
    file.resize(header.len() + data_len, 0);
    let mut data = &mut file[header.len()..];
    for tensor in params.tensors.values() {
        let (bytes, rest) = data.split_at_mut(tensor.data.len() * width(encoding) as usize);
        match encoding {
            Encoding::F32 => {
                for (out, value) in bytes.as_chunks_mut().0.iter_mut().zip(tensor.data.iter()) {
                    *out = value.to_le_bytes();
                }
            }
            Encoding::Bf16 => {
                for (out, value) in bytes.as_chunks_mut().0.iter_mut().zip(tensor.data.iter()) {
                    *out = bf16::round(*value).to_le_bytes();
                }
            }
        }
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
    Ok((read_tensors(&header, data, spec, encoding)?, header.metadata))
}

/// The steps of [`read`] after the header's.
pub(crate) fn read_tensors(
    header: &Header,
    data: &[u8],
    spec: &ModelSpec,
    encoding: Encoding,
) -> Result<Params, DeltaError> {
    check_tensors(header, spec, encoding)?;
    check_ranges(header, data.len() as u64)?;
    let tensor = |(name, shape): (&String, &Vec<usize>)| {
        let (begin, end) = header.tensors[name].data_offsets;
        let values = decode(&data[begin as usize..end as usize], encoding);
        check_finite(name, &values)?;
        Ok((name.clone(), Tensor::new(shape.clone(), values)))
    };
    Ok(Params { tensors: spec.tensors.iter().map(tensor).collect::<Result<_, _>>()? })
}

/// Names, types, shapes, and ranges as long as the shapes say.
fn check_tensors(header: &Header, spec: &ModelSpec, encoding: Encoding) -> Result<(), DeltaError> {
    if let Some(name) = header.tensors.keys().find(|name| !spec.tensors.contains_key(*name)) {
        return Err(DeltaError::WrongShape(format!("the model has no tensor `{name}`")));
    }
    for (name, shape) in &spec.tensors {
        let wrong = |what: String| Err(DeltaError::WrongShape(format!("tensor `{name}` {what}")));
        let Some(entry) = header.tensors.get(name) else { return wrong("is missing".into()) };
        if entry.dtype != dtype(encoding) {
            return wrong(format!("has type {}, not {}", entry.dtype, dtype(encoding)));
        }
        if !entry.shape.iter().copied().eq(shape.iter().map(|side| *side as u64)) {
            return wrong(format!("has shape {:?}, not {shape:?}", entry.shape));
        }
        let (begin, end) = entry.data_offsets;
        if end.checked_sub(begin) != Some(numel(shape) as u64 * width(encoding)) {
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

/// `bytes` is as long as whole numbers make it.
fn decode(bytes: &[u8], encoding: Encoding) -> Vec<f32> {
    match encoding {
        Encoding::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Encoding::Bf16 => bytes.as_chunks().0.iter().map(|b| bf16::widen(u16::from_le_bytes(*b))).collect(),
    }
}

fn check_finite(name: &str, values: &[f32]) -> Result<(), DeltaError> {
    // A fold without an early exit runs on vector registers; the search is for the message alone.
    if values.iter().fold(true, |all, value| all & value.is_finite()) {
        return Ok(());
    }
    let index = values.iter().position(|value| !value.is_finite()).unwrap_or_default();
    Err(DeltaError::NotFinite { tensor: name.into(), index, value: values[index] })
}
