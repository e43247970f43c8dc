//! What is written is read back, by us and by the `safetensors` crate; what that crate writes, we read.
#![allow(clippy::unwrap_used)]

mod common;

use bistro_core::params::{ModelSpec, Params, Tensor};
use bistro_core::protocol::Encoding;
use bistro_delta::{
    DeltaError, bf16, decode_delta, encode_delta, max_master_size, max_object_size, read, read_master, write,
    write_master,
};
use common::{EXACT, meta, params, spec};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};

#[test]
fn a_delta_comes_back_within_its_size() {
    for encoding in EXACT {
        let object = encode_delta(&params(), &meta(encoding));
        assert_eq!(decode_delta(&object, &spec(), &meta(encoding)).unwrap(), params());
        let max = max_object_size(&spec(), encoding);
        assert!((object.len() as u64) < max && max < object.len() as u64 + 4096);
        let data = spec().numel() * if encoding == Encoding::F32 { 4 } else { 2 };
        assert_eq!(common::split(&object).1.len(), data);
    }
}

#[test]
fn another_reader_finds_the_same() {
    for encoding in EXACT {
        let object = encode_delta(&params(), &meta(encoding));
        let (_, header) = SafeTensors::read_metadata(&object).unwrap();
        let metadata = header.metadata().as_ref().unwrap();
        let texts = [
            ("format", "bistro-delta/1"),
            ("encoding", if encoding == Encoding::F32 { "f32" } else { "bf16" }),
            ("base", "0707070707070707070707070707070707070707070707070707070707070707"),
            ("netuid", "212"),
            ("uid", "3"),
            ("hotkey", "5CGYyLcrWUfBDKExbvRjDQinEoCZWQmD6SjaXBLhny6A2wjE"),
            ("block", "3000000"),
        ];
        for (name, text) in texts {
            assert_eq!(metadata[name], text, "{name}");
        }
        let file = SafeTensors::deserialize(&object).unwrap();
        assert_eq!(file.len(), spec().tensors.len());
        for (name, tensor) in params().tensors {
            let view = file.tensor(&name).unwrap();
            assert_eq!(view.shape(), tensor.shape);
            let expected: Vec<u8> = match encoding {
                Encoding::F32 => tensor.data.iter().flat_map(|v| v.to_le_bytes()).collect(),
                _ => tensor.data.iter().flat_map(|v| bf16::round(*v).to_le_bytes()).collect(),
            };
            assert_eq!(view.data(), expected);
        }
    }
}

#[test]
fn another_writers_file_is_read() {
    let bytes = |tensor: &Tensor| tensor.data.iter().flat_map(|v| v.to_le_bytes()).collect();
    let bytes: Vec<Vec<u8>> = params().tensors.values().map(bytes).collect();
    let view = |((name, shape), bytes)| (name, TensorView::new(Dtype::F32, shape, bytes).unwrap());
    let views = spec().tensors.into_iter().zip(bytes.iter().map(Vec::as_slice)).map(view);
    let file = serialize(views, Some([("author".to_owned(), "another".to_owned())].into())).unwrap();
    let (read, metadata) = read(&file, &spec(), Encoding::F32).unwrap();
    assert_eq!(read, params());
    assert_eq!(metadata["author"], "another");
}

#[test]
fn a_master_is_bit_exact_and_says_what_transformers_asks() {
    let mut master = params();
    let odd = vec![-0.0, f32::MIN_POSITIVE / 2.0, f32::MAX, -1.0e-45, 0.1, 3.0];
    master.tensors.insert("lm_head.weight".into(), Tensor::new(vec![2, 3], odd));
    let file = write_master(&master);
    assert_eq!(file.len() as u64, max_master_size(&spec()));
    let read = read_master(&file, &spec(), &master.hash()).unwrap();
    assert_eq!(read.hash(), master.hash());
    let (_, header) = SafeTensors::read_metadata(&file).unwrap();
    let metadata = header.metadata().as_ref().unwrap();
    assert_eq!(metadata["format"], "pt");
    assert_eq!(metadata["hash"], master.hash().to_string());

    let other = params();
    let wrong = read_master(&write_master(&other), &spec(), &master.hash()).unwrap_err();
    assert_eq!(wrong, DeltaError::WrongHash { expected: master.hash(), found: other.hash() });
    assert!(wrong.to_string().contains(&other.hash().to_string()));
    let long = [&file[..], b"x"].concat();
    assert!(matches!(read_master(&long, &spec(), &master.hash()), Err(DeltaError::TooLarge { .. })));
    assert!(matches!(read_master(&file[..20], &spec(), &master.hash()), Err(DeltaError::Malformed(_))));
}

prop_compose! {
    fn any_params()(
        shapes in prop::collection::btree_map("[a-z.\"\\\\é]{1,12}", prop::collection::vec(0_usize..5, 0..4), 0..6)
    )(
        values in shapes.values().map(|s| prop::collection::vec(any::<u32>(), s.iter().product::<usize>())).collect::<Vec<_>>(),
        shapes in Just(shapes),
    ) -> Params {
        let finite = |bits: u32| Some(f32::from_bits(bits)).filter(|v| v.abs() < 3e38).unwrap_or(1.5);
        let tensor = |((name, shape), bits): ((String, Vec<usize>), Vec<u32>)| {
            (name, Tensor::new(shape, bits.into_iter().map(finite).collect()))
        };
        Params { tensors: shapes.into_iter().zip(values).map(tensor).collect() }
    }
}

proptest! {
    #[test]
    fn any_model_comes_back(params in any_params()) {
        let spec: ModelSpec = params.spec();
        for encoding in EXACT {
            let file = write(&params, encoding, &[("note".to_owned(), "\"\u{0}é".to_owned())].into());
            prop_assert!(SafeTensors::deserialize(&file).is_ok());
            let (read, metadata) = read(&file, &spec, encoding).unwrap();
            prop_assert_eq!(&metadata["note"], "\"\u{0}é");
            for (name, tensor) in &params.tensors {
                for (found, value) in read.tensors[name].data.iter().zip(tensor.data.iter()) {
                    let expected = match encoding {
                        Encoding::F32 => *value,
                        _ => bf16::widen(bf16::round(*value)),
                    };
                    prop_assert_eq!(found.to_bits(), expected.to_bits());
                }
            }
            prop_assert_eq!(read.spec(), params.spec());
        }
    }
}
