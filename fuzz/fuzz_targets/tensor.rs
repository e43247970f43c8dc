//! Any bytes behind an honest header: the encodings' own readers, which damage to a header would hide.
#![no_main]

#[path = "../../crates/bistro-delta/tests/common/mod.rs"]
mod common;

use bistro_core::protocol::Encoding;
use bistro_delta::{Packed, decode_delta, encode_delta};
use common::{file, meta, small, split};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, data)) = bytes.split_first() else { return };
    let encoding = Encoding::ALL[usize::from(*choice) % Encoding::ALL.len()];
    let meta = meta(encoding);
    let (header, honest) = split(&encode_delta(&small(), &meta));
    let mut body = data.to_vec();
    body.resize(honest.len(), 0);
    let object = file(&header, &body);
    let spec = small().spec();
    if let Ok(values) = decode_delta(&object, &spec, &meta) {
        assert!(values.is_finite());
        let mut sum = small();
        Packed::read(&object, &spec, &meta).unwrap().add_into(&small(), 0.5, &mut sum);
        assert_eq!(sum.hash(), small().plus_scaled(&values, 0.5).hash());
    }
});
