//! Every encoding: what it keeps, what it costs, and that its bytes and values are the same everywhere.
#![allow(clippy::unwrap_used)]

mod common;

use bistro_core::ids::Hash;
use bistro_core::params::{ModelSpec, Params, Tensor};
use bistro_core::protocol::Encoding;
use bistro_delta::{Packed, decode_delta, encode_delta, encode_with_values, max_object_size};
use common::{large, large_spec, meta, params};
use proptest::prelude::*;

fn through(delta: &Params, encoding: Encoding) -> (usize, Params) {
    let (object, values) = encode_with_values(delta, &meta(encoding)).unwrap();
    assert!(object.len() as u64 <= max_object_size(&delta.spec(), encoding), "{encoding:?}: {} bytes", object.len());
    assert_eq!(decode_delta(&object, &delta.spec(), &meta(encoding)).unwrap(), values);
    (object.len(), values)
}

/// What of `delta` is lost, as a share of its norm.
fn lost(delta: &Params, values: &Params) -> f64 {
    delta.minus(values).norm() / delta.norm()
}

/// Whoever copies an object, and every master that took one, rests on these bytes and values: a change here is another
/// format, and needs another name.
#[test]
fn bytes_and_values_are_fixed() {
    let found = Encoding::ALL.map(|encoding| {
        let small = Hash::of(&encode_delta(&params(), &meta(encoding))).hash16();
        let (object, values) = encode_with_values(&large(1), &meta(encoding)).unwrap();
        [small, Hash::of(&object).hash16(), values.hash().hash16()]
    });
    let expected = [
        ["571f98c5080fe796", "5a090e2b7181ce9a", "9521cef8de61c227"],
        ["589b43f7e0eaebe2", "c67e824c8f4f061d", "21d5096a610e511f"],
        ["bf837cf1fbb27b8a", "1325adbcab284425", "20cc2b2f87764d20"],
        ["fe9e89292f12dbd6", "948ac44176def149", "e0d7a49299b63d39"],
        ["324ed6397e4e6b00", "2bc532a572333467", "49e0c1bcc3911a6f"],
        ["efce7163371f5d25", "907d41aa33b5467d", "211622ad078017ce"],
        ["3f7e2d4afa8f1e9a", "d7dda32618a420a6", "a1696b1532f680d3"],
    ];
    assert_eq!(found, expected);
}

#[test]
fn each_is_smaller_and_loses_more_than_the_one_before() {
    let delta = large(2);
    let f32_bytes = delta.spec().numel() * 4;
    // Times smaller than f32 at least, and the norm's share that may be lost.
    let expected = [(0.99, 0.0), (1.99, 0.003), (3.9, 0.007), (7.8, 0.12), (50.0, 0.99), (20.0, 0.06), (80.0, 0.2)];
    for (encoding, (ratio, share)) in Encoding::ALL.into_iter().zip(expected) {
        let (bytes, values) = through(&delta, encoding);
        let found = (f32_bytes as f64 / bytes as f64, lost(&delta, &values));
        assert!(found.0 >= ratio && found.1 <= share, "{encoding:?}: {found:?}");
    }
}

/// Feedback: what is lost goes with the next delta, so that the sum of what arrives stays near the sum of what was meant.
#[test]
fn what_is_lost_arrives_with_later_deltas() {
    for encoding in Encoding::ALL.into_iter().filter(|e| e.is_lossy() && *e != Encoding::TopK) {
        let (mut meant, mut arrived) = (Params::zeros(&large_spec()), Params::zeros(&large_spec()));
        for round in 0..10 {
            meant = meant.plus_scaled(&large(round), 1.0);
            let (_, values) = through(&meant.minus(&arrived), encoding);
            arrived = arrived.plus_scaled(&values, 1.0);
        }
        let one = lost(&large(0), &through(&large(0), encoding).1);
        // Ten deltas' worth of noise adds up to more than three; the loss does not add up.
        assert!(lost(&meant, &arrived) < one, "{encoding:?}: {} against {one}", lost(&meant, &arrived));
    }
}

#[test]
fn a_packed_delta_adds_as_its_values_do() {
    let master = large(3);
    for encoding in Encoding::ALL {
        let (object, values) = encode_with_values(&large(4), &meta(encoding)).unwrap();
        let packed = Packed::read(&object, &large_spec(), &meta(encoding)).unwrap();
        let mut out = Params::default();
        for scale in [1.0, 0.3, -0.0] {
            packed.add_into(&master, scale, &mut out);
            assert_eq!(out.hash(), master.plus_scaled(&values, scale).hash(), "{encoding:?} at {scale}");
        }
        master.copy_into(&mut out);
        assert_eq!(out.hash(), master.hash(), "taken out to the bit");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let delta = large(5);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Encoding::ALL.map(|encoding| encode_with_values(&delta, &meta(encoding)).unwrap()))
    };
    assert_eq!(run(1), run(3));
}

/// Noise of every size has no structure to find, and still fits; so do zeros.
#[test]
fn what_cannot_be_compressed_fits() {
    let mut state = 1_u32;
    let mut draw = move || {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        f32::from_bits((state >> 3) | 1 << 29) // from 2^-65 to 2^63
    };
    let spec = large_spec();
    let mut tensor = |shape: &Vec<usize>| {
        let values = (0..shape.iter().product()).map(|i: usize| if i.is_multiple_of(2) { draw() } else { -draw() });
        Tensor::new(shape.clone(), values.collect())
    };
    let wild = Params { tensors: spec.tensors.iter().map(|(name, shape)| (name.clone(), tensor(shape))).collect() };
    let mut spikes = Params::zeros(&spec);
    for tensor in spikes.tensors.values_mut() {
        let mut values = tensor.data.to_vec();
        values.iter_mut().step_by(97).for_each(|v| *v = 1e6);
        *tensor = Tensor::new(tensor.shape.clone(), values);
    }
    let tiny = Params::zeros(&spec).plus_scaled(&large(1), 1e-40);
    for encoding in Encoding::ALL {
        for delta in [&wild, &spikes, &tiny] {
            let (_, values) = through(delta, encoding);
            assert!(values.is_finite());
        }
        assert_eq!(through(&Params::zeros(&spec), encoding).1, Params::zeros(&spec));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_shape_and_any_values(
        shape in prop::collection::vec(0_usize..40, 0..4),
        seed in any::<u32>(),
        size in -30_i32..30,
    ) {
        let mut state = seed;
        let mut draw = || {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * 2.0_f32.powi(size)
        };
        let values = (0..shape.iter().product()).map(|_| draw()).collect();
        let delta = Params { tensors: [("w".to_owned(), Tensor::new(shape, values))].into() };
        let spec: ModelSpec = delta.spec();
        for encoding in Encoding::ALL {
            let (_, values) = through(&delta, encoding);
            prop_assert_eq!(values.spec(), spec.clone());
            prop_assert!(values.is_finite());
            if delta.norm() > 0.0 {
                prop_assert!(lost(&delta, &values) <= 1.0, "{:?} adds {}", encoding, lost(&delta, &values));
            }
        }
    }
}
