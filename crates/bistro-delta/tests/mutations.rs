//! Thousands of damaged files: a short run, on every test, of what `fuzz/` does for hours. None may panic, and what passes
//! must be sound. Drawn from a fixed seed, so that a failure can be met again.
#![allow(clippy::unwrap_used)]

mod common;

use bistro_core::protocol::{DeltaManifest, Encoding, Signed};
use bistro_delta::{decode_delta, encode_delta};
use common::{fake_verify, file, meta, small, split};

struct Draw(u64);

impl Draw {
    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end.max(1)
    }
}

/// Texts and numbers on which readers of such files have stumbled.
const WORDS: [&[u8]; 12] = [
    &[0; 4],
    &[0xff; 4],
    &[0xff; 8],
    &[0, 0, 0xc0, 0x7f],
    &[0, 0, 0x80, 0xff],
    b"18446744073709551615",
    b"-1",
    b"\"",
    b"{}",
    b"[",
    b"1e999",
    b"\\u0000",
];

/// One to four changes: bits, words, cuts, repetitions.
fn damaged(bytes: &[u8], draw: &mut Draw) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=draw.below(4) {
        let at = draw.below(bytes.len());
        match draw.below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << draw.below(8),
            1 if !bytes.is_empty() => bytes[at] = draw.below(256) as u8,
            2 => {
                let word = WORDS[draw.below(WORDS.len())];
                let end = (at + word.len()).min(bytes.len());
                bytes.splice(at..end, word.iter().copied());
            }
            3 => drop(bytes.splice(at..at, WORDS[draw.below(WORDS.len())].iter().copied())),
            4 => drop(bytes.drain(at..(at + draw.below(16)).min(bytes.len()))),
            _ => {
                let again = bytes[at..(at + draw.below(64)).min(bytes.len())].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

#[test]
fn damaged_deltas() {
    let mut draw = Draw(1);
    let spec = small().spec();
    for encoding in Encoding::ALL {
        let meta = meta(encoding);
        let object = encode_delta(&small(), &meta);
        let (header, data) = split(&object);
        let mut passed = 0;
        for i in 0..4000 {
            // Every other time the header stays, so that the tensors' own bytes are reached.
            let object = match i % 2 {
                0 => damaged(&object, &mut draw),
                _ => {
                    let mut body = damaged(&data, &mut draw);
                    body.resize(data.len(), 0);
                    file(&header, &body)
                }
            };
            if let Ok(delta) = decode_delta(&object, &spec, &meta) {
                assert!(delta.is_finite() && delta.spec() == spec, "{encoding:?}, file {i}");
                passed += 1;
            }
        }
        // Damage to a value alone is no fault of form: had nothing passed, no value would have been reached.
        assert!(passed > 100, "{encoding:?}: only {passed} of 4000 got as far as their values");
    }
}

#[test]
fn damaged_manifests() {
    let mut draw = Draw(2);
    let honest = common::manifest();
    let statement = Signed::<DeltaManifest>::from_json(&honest, fake_verify).unwrap().statement;
    for _ in 0..20_000 {
        let json = damaged(&honest, &mut draw);
        if let Ok(signed) = Signed::<DeltaManifest>::from_json(&json, fake_verify) {
            assert_eq!(signed.statement, statement, "another statement under the same signature");
        }
    }
}
