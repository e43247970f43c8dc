//! A small model and its delta.
#![allow(dead_code)]

use bistro_core::ids::{Block, Hash, Hotkey, NetUid, Uid};
use bistro_core::params::{ModelSpec, Params, Tensor};
use bistro_core::protocol::Encoding;
use bistro_delta::DeltaMeta;

pub(crate) fn spec() -> ModelSpec {
    let shapes: [(&str, &[usize]); 4] =
        [("lm_head.weight", &[2, 3]), ("model.norm.weight", &[3]), ("model.scale", &[]), ("unused", &[0, 7])];
    ModelSpec { tensors: shapes.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect() }
}

/// Values that both encodings hold exactly.
pub(crate) fn params() -> Params {
    let mut next = 0.0_f32;
    let mut tensor = |shape: &Vec<usize>| {
        let values = (0..shape.iter().product())
            .map(|_| {
                next += 0.5;
                next - 2.0
            })
            .collect();
        Tensor::new(shape.clone(), values)
    };
    Params { tensors: spec().tensors.iter().map(|(name, shape)| (name.clone(), tensor(shape))).collect() }
}

pub(crate) fn meta(encoding: Encoding) -> DeltaMeta {
    DeltaMeta {
        encoding,
        base: Hash([7; 32]),
        netuid: NetUid(212),
        uid: Uid(3),
        hotkey: Hotkey([9; 32]),
        block: Block(3_000_000),
    }
}

pub(crate) const ENCODINGS: [Encoding; 2] = [Encoding::F32, Encoding::Bf16];

/// A file of this header (as it is, unpadded) and data.
pub(crate) fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// Header and data of a file.
pub(crate) fn split(file: &[u8]) -> (String, Vec<u8>) {
    let length = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    (String::from_utf8(file[8..8 + length].to_vec()).unwrap(), file[8 + length..].to_vec())
}
