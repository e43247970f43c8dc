//! How much memory reading a delta and adding it takes: what the values need, and a fixed overhead that does not grow with
//! the model. Every allocation of this process is counted, so this file has one test.
#![allow(clippy::unwrap_used)]

mod common;

use bistro_core::params::{Params, Tensor};
use bistro_core::protocol::Encoding;
use bistro_delta::{Packed, decode_delta, encode_delta};
use common::meta;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Bytes beside the values, whatever the model.
const OVERHEAD: usize = 3 << 20;

/// `rows` rows of 512 values in four matrices, as AdamW's deltas look: a row for all, and noise.
fn delta(rows: usize) -> Params {
    let mut state = 1_u32;
    let mut draw = move || {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let common: Vec<f32> = (0..512).map(|_| draw()).collect();
    let mut tensor = |_| (0..rows / 4 * 512).map(|i| (common[i % 512] + 0.02 * draw()) * 1e-3).collect();
    let tensors = (0..4).map(|i| (format!("layer.{i}"), Tensor::new(vec![rows / 4, 512], tensor(i))));
    Params { tensors: tensors.collect() }
}

/// The most bytes that `work` holds at a time beyond what was held before, and what came of it.
fn peak<T>(work: impl FnOnce() -> T) -> (usize, T) {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let outcome = work();
    (MEMORY.peak_usage() - before, outcome)
}

#[test]
fn reading_and_adding_takes_the_values_and_a_fixed_overhead() {
    // The threads that help are started before anything is counted.
    delta(64).norm();
    for rows in [4_000, 16_000] {
        let (delta, master) = (delta(rows), delta(rows));
        let (spec, values) = (delta.spec(), rows * 512 * 4);
        let mut sum = master.clone();
        // Storage of its own, as a loop keeps it.
        master.plus_scaled_into(&delta, 1.0, &mut sum);
        for encoding in Encoding::ALL {
            let name = encoding.name();
            let object = encode_delta(&delta, &meta(encoding));
            let (bytes, decoded) = peak(|| decode_delta(&object, &spec, &meta(encoding)).unwrap());
            assert!(bytes <= values + OVERHEAD, "{name}: {bytes} bytes for {values} bytes of values");
            let (bytes, ()) = peak(|| {
                Packed::read(&object, &spec, &meta(encoding)).unwrap().add_into(&master, 0.5, &mut sum);
            });
            assert!(bytes <= OVERHEAD, "{name}: {bytes} bytes beside the sum, whose storage is there");
            assert_eq!(sum, master.plus_scaled(&decoded, 0.5), "{name}");
        }
        let (bytes, ()) = peak(|| master.copy_into(&mut sum));
        assert!(bytes <= OVERHEAD && sum == master, "{bytes} bytes for taking it out");
    }
}
