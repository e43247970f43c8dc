//! Any bytes in place of a manifest: an error, or the statement that was signed.
#![no_main]

#[path = "../../crates/bistro-delta/tests/common/mod.rs"]
mod common;

use bistro_core::protocol::{DeltaManifest, MasterManifest, Signed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    if let Ok(signed) = Signed::<DeltaManifest>::from_json(json, |_, _, _| true) {
        let again = Signed::<DeltaManifest>::from_json(&signed.to_json(), |_, _, _| true);
        assert_eq!(again.as_ref(), Ok(&signed));
    }
    if let Ok(signed) = Signed::<MasterManifest>::from_json(json, |_, _, _| true) {
        let _ = signed.statement.check_lineage();
    }
});
