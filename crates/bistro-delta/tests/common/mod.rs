//! A small model and its delta.
#![allow(dead_code)]

use bistro_core::ids::{Block, Hash, Hotkey, NetUid, Uid};
use bistro_core::params::{ModelSpec, Params, Tensor};
use bistro_core::protocol::{DeltaManifest, Encoding, Signed, Statement};
use bistro_delta::DeltaMeta;

pub(crate) fn spec() -> ModelSpec {
    let shapes: [(&str, &[usize]); 4] =
        [("lm_head.weight", &[2, 3]), ("model.norm.weight", &[3]), ("model.scale", &[]), ("unused", &[0, 7])];
    ModelSpec { tensors: shapes.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect() }
}

/// Values that the encodings of [`EXACT`] hold exactly.
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

/// Those that hold every value of [`params`] exactly.
pub(crate) const EXACT: [Encoding; 2] = [Encoding::F32, Encoding::Bf16];

/// A model with matrices that take several blocks, stripes and threads, and with what is no matrix.
pub(crate) fn large_spec() -> ModelSpec {
    let shapes: [(&str, &[usize]); 6] = [
        ("embed", &[5000, 96]),
        ("cube", &[3, 20, 50]),
        ("norm", &[5000]),
        ("scale", &[]),
        ("empty", &[4, 0]),
        ("narrow", &[100, 3]),
    ];
    ModelSpec { tensors: shapes.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect() }
}

/// What AdamW's deltas look like: one row for all, a few rows of their own, and noise; without the platform's sine.
pub(crate) fn large(seed: u32) -> Params {
    let mut state = seed;
    let mut draw = move || {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut tensor = |shape: &Vec<usize>| {
        let columns = shape.last().copied().unwrap_or(1);
        let common: Vec<f32> = (0..columns).map(|_| draw()).collect();
        let values = (0..shape.iter().product()).map(|i: usize| {
            let loud = if (i / columns.max(1)).is_multiple_of(37) { 0.4 } else { 0.02 };
            (common[i % columns] + loud * (draw() + draw() + draw())) * 1e-3
        });
        Tensor::new(shape.clone(), values.collect())
    };
    Params { tensors: large_spec().tensors.iter().map(|(name, shape)| (name.clone(), tensor(shape))).collect() }
}

/// A file of this header (as it is, unpadded) and data.
pub(crate) fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// Header and data of a file.
pub(crate) fn split(file: &[u8]) -> (String, Vec<u8>) {
    let length = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    (String::from_utf8(file[8..8 + length].to_vec()).unwrap(), file[8 + length..].to_vec())
}

/// The model that the files of `attacks/` are against: a matrix that has products, and what is no matrix.
pub(crate) fn small() -> Params {
    let value = |i: usize| ((i % 24 * 31 % 17) * 100 + (i * i * 31 + i / 24 * 7) % 101) as f32 * 1e-5;
    let values = |n: usize| (0..n).map(value).collect();
    let tensor = |shape: &[usize]| Tensor::new(shape.to_vec(), values(shape.iter().product()));
    Params { tensors: [("embed".to_owned(), tensor(&[48, 24])), ("norm".to_owned(), tensor(&[24]))].into() }
}

/// Signs by a hash, which anybody could: a signature is checked elsewhere, what it covers is checked here.
pub(crate) fn fake_sign(message: &[u8]) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&Hash::of(message).0);
    signature
}

/// The other side of [`fake_sign`].
pub(crate) fn fake_verify(_: &Hotkey, message: &[u8], signature: &[u8; 64]) -> bool {
    fake_sign(message) == *signature
}

fn statement() -> DeltaManifest {
    DeltaManifest {
        netuid: NetUid(212),
        uid: Uid(3),
        hotkey: Hotkey([9; 32]),
        block: Block(3_000_000),
        rules: Hash([5; 32]),
        base_seq: 4,
        base: Hash([7; 32]),
        encoding: Encoding::F32,
        object: Hash([8; 32]),
        size: 5000,
        steps: 10,
        tokens: 1024,
        pages: Vec::new(),
    }
}

/// An honest manifest.
pub(crate) fn manifest() -> Vec<u8> {
    Signed::new(statement(), fake_sign).to_json()
}

/// The same statement, signed as one of another kind.
pub(crate) fn signed_as(domain: &str) -> Vec<u8> {
    Signed::new(statement(), |message| {
        fake_sign(&[domain.as_bytes(), &message[DeltaManifest::DOMAIN.len()..]].concat())
    })
    .to_json()
}

/// The encoding that the name of a file of `attacks/` begins with.
pub(crate) fn encoding_of(name: &str) -> Encoding {
    let prefix = name.split('-').next();
    Encoding::ALL.into_iter().find(|e| Some(e.name()) == prefix).unwrap()
}
