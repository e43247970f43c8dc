//! Any bytes in place of a delta, in the encoding that the first byte chooses: a named reason, or sound values.
#![no_main]

#[path = "../../crates/bistro-delta/tests/common/mod.rs"]
mod common;

use bistro_core::protocol::Encoding;
use bistro_delta::decode_delta;
use common::{meta, small};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, object)) = bytes.split_first() else { return };
    let encoding = Encoding::ALL[usize::from(*choice) % Encoding::ALL.len()];
    let spec = small().spec();
    if let Ok(delta) = decode_delta(object, &spec, &meta(encoding)) {
        assert!(delta.is_finite() && delta.spec() == spec);
    }
});
