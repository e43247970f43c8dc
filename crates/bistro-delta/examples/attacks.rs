//! Writes the crafted files of `attacks/`: `cargo run -p bistro-delta --example attacks -- attacks`. What each tries, and how
//! it is refused, stands in `attacks/README.md`, which `tests/attacks.rs` holds against the files.
#![allow(clippy::unwrap_used)] // whoever crafts attacks sees where it fails

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::Path;

use bistro_core::ids::Hotkey;
use bistro_core::params::{Params, Tensor};
use bistro_core::protocol::Encoding;
use bistro_delta::encode_delta;
use common::{file, meta, small, split};

/// The honest object in `encoding`.
fn honest(encoding: Encoding) -> Vec<u8> {
    encode_delta(&small(), &meta(encoding)).to_vec()
}

/// The honest object with one text of its header replaced.
fn header(encoding: Encoding, from: &str, to: &str) -> Vec<u8> {
    let (text, data) = split(&honest(encoding));
    assert!(text.contains(from), "{from} is not in {text}");
    file(&text.replacen(from, to, 1), &data)
}

/// The honest object with `bytes` at `at` of its data.
fn data(encoding: Encoding, at: usize, bytes: &[u8]) -> Vec<u8> {
    let (text, mut data) = split(&honest(encoding));
    data[at..at + bytes.len()].copy_from_slice(bytes);
    file(&text, &data)
}

/// The honest object with one value replaced before it is encoded.
fn value(encoding: Encoding, value: f32) -> Vec<u8> {
    let mut poison = small();
    poison.tensors.insert("norm".into(), Tensor::new(vec![24], [vec![0.5; 23], vec![value]].concat()));
    encode_delta(&poison, &meta(encoding)).to_vec()
}

fn deltas() -> Vec<(&'static str, Vec<u8>)> {
    use Encoding::{Bf16, Coarse, F32, Fine, Int4, Int8, TopK};
    let (text, body) = split(&honest(F32));
    let length = |n: u64| [&n.to_le_bytes(), text.as_bytes(), &body].concat();
    let mut loud = Params::zeros(&small().spec());
    loud.tensors.insert("embed".into(), Tensor::new(vec![48, 24], vec![1e6; 48 * 24]));
    vec![
        ("f32-empty", vec![]),
        ("f32-length-of-all-memory", length(u64::MAX)),
        ("f32-length-into-the-data", length(text.len() as u64 + 8)),
        ("f32-nested", file(&format!("{{\"a\":{}", "[".repeat(4000)), &body)),
        (
            "f32-pickle",
            b"\x80\x02}q\x00(X\x05\x00\x00\x00modelq\x01cos\nsystem\nq\x02X\x02\x00\x00\x00idq\x03\x85q\x04Rq\x05u."
                .to_vec(),
        ),
        ("f32-zip", [b"PK\x03\x04\x14\x00\x08\x08\x08\x00".to_vec(), vec![0; 64]].concat()),
        ("f32-padded", [honest(F32), vec![0; 8192]].concat()),
        ("f32-one-byte-more", [honest(F32), vec![0]].concat()),
        ("f32-one-byte-less", honest(F32)[..honest(F32).len() - 1].to_vec()),
        (
            "f32-name-twice",
            header(F32, "\"norm\":", "\"norm\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},\"norm\":"),
        ),
        ("f32-metadata-twice", header(F32, "{\"__metadata__\":", "{\"__metadata__\":{},\"__metadata__\":")),
        ("f32-tensors-overlap", header(F32, "[4608,4704]", "[4512,4608]")),
        ("f32-tensor-runs-backwards", header(F32, "[0,4608]", "[4608,0]")),
        ("f32-shape-overflows", header(F32, "[48,24]", "[4294967296,4294967296]")),
        ("f32-shape-turned", header(F32, "[48,24]", "[24,48]")),
        ("f32-other-type", header(F32, "\"dtype\":\"F32\"", "\"dtype\":\"F64\"")),
        (
            "f32-tensor-too-many",
            header(F32, "\"norm\":", "\"more\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},\"norm\":"),
        ),
        ("f32-name-with-path", header(F32, "\"norm\"", "\"../norm\"")),
        ("f32-other-base", header(F32, "0707", "0807")),
        ("f32-other-hotkey", header(F32, "5CGYyLcr", "5CGYyLcs")),
        ("f32-other-subnet", header(F32, "\"netuid\":\"212\"", "\"netuid\":\"1\"")),
        ("f32-other-block", header(F32, "3000000", "2999999")),
        ("f32-other-encoding", header(F32, "\"encoding\":\"f32\"", "\"encoding\":\"bf16\"")),
        ("f32-other-format", header(F32, "bistro-delta/1", "bistro-delta/9")),
        ("f32-nan", value(F32, f32::NAN)),
        ("f32-infinity", value(F32, f32::INFINITY)),
        ("f32-norm", encode_delta(&loud, &meta(F32)).to_vec()),
        ("bf16-rounds-to-infinity", value(Bf16, f32::MAX)),
        ("int8-nan-scale", value(Int8, f32::NAN)),
        ("int8-scale-overflows", data(Int8, 0, &[0x7f, 0x7f])),
        ("int8-declared-as-numbers", header(Int8, "\"dtype\":\"U8\"", "\"dtype\":\"I8\"")),
        ("int8-block-missing", header(Int8, "[1162]", "[904]")),
        ("int4-infinite-scale", data(Int4, 0, &[0x80, 0x7f])),
        ("topk-index-twice", data(TopK, 2, &[0x07, 0x70, 0x00])),
        ("topk-indices-descend", data(TopK, 2, &[0x09, 0x80, 0x00])),
        ("topk-index-beyond", data(TopK, 2 + 51, &[0xff, 0xff, 0xff])),
        ("topk-nan-scale", data(TopK, 0, &[0xc0, 0x7f])),
        ("fine-too-many-products", data(Fine, 0, &[5])),
        ("fine-rank-without-rows", data(Fine, 0, &[4])),
        ("fine-nan-level", data(Fine, 1, &f32::NAN.to_le_bytes())),
        ("fine-huge-level", data(Fine, 5, &2e30_f32.to_le_bytes())),
        ("fine-huge-product", data(Fine, 17, &f32::MAX.to_le_bytes())),
        ("fine-stripe-of-4-gib", stripe(Fine, u32::MAX)),
        ("fine-stripe-too-short", stripe(Fine, 0)),
        ("fine-longer-than-possible", long(Fine)),
        ("coarse-longer-than-possible", long(Coarse)),
        ("coarse-infinite-level", data(Coarse, 9, &f32::NEG_INFINITY.to_le_bytes())),
    ]
}

/// The honest object with the length of the first tensor's only stripe replaced.
fn stripe(encoding: Encoding, length: u32) -> Vec<u8> {
    let (_, body) = split(&honest(encoding));
    let at = 17 + usize::from(body[0]) * (4 + 24);
    data(encoding, at, &length.to_le_bytes())
}

/// An object in which one tensor takes more bytes than any of its shape can, and all the others none.
fn long(encoding: Encoding) -> Vec<u8> {
    let (text, _) = split(&honest(encoding));
    let metadata = &text[..text.find(",\"embed\"").unwrap()];
    let entries = "\"embed\":{\"dtype\":\"U8\",\"shape\":[4000],\"data_offsets\":[0,4000]},\
                   \"norm\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4000,4000]}";
    file(&format!("{metadata},{entries}}}"), &[1; 4000])
}

fn manifests() -> Vec<(&'static str, Vec<u8>)> {
    let honest = String::from_utf8(common::manifest()).unwrap();
    let forged = |from: &str, to: &str| {
        assert!(honest.contains(from), "{from} is not in {honest}");
        honest.replacen(from, to, 1).into_bytes()
    };
    vec![
        ("not-json", b"<html>no such key</html>".to_vec()),
        ("cut", honest.as_bytes()[..honest.len() / 2].to_vec()),
        ("nested", "[".repeat(100_000).into_bytes()),
        ("more-behind", [honest.as_bytes(), b"{}"].concat()),
        ("field-too-many", forged("\"steps\"", "\"run\":\"rm -rf /\",\"steps\"")),
        ("field-twice", forged("\"uid\":3", "\"uid\":4,\"uid\":3")),
        ("field-missing", forged("\"steps\":10,", "")),
        ("negative-size", forged("\"size\":5000", "\"size\":-1")),
        ("size-beyond-64-bits", forged("\"size\":5000", "\"size\":18446744073709551616")),
        ("unknown-encoding", forged("\"f32\"", "\"../../etc\"")),
        ("name-for-a-hash", forged(&"08".repeat(32), "../../../other/bucket")),
        ("other-block", forged("3000000", "3000001")),
        ("other-object", forged("0808", "0908")),
        ("other-base", forged("0707", "0607")),
        ("other-uid", forged("\"uid\":3", "\"uid\":4")),
        ("other-signer", forged("5CGYyLcrWUfBDKExbvRjDQinEoCZWQmD6SjaXBLhny6A2wjE", &Hotkey([8; 32]).to_string())),
        ("signature-empty", {
            let at = honest.find("\"signature\":\"").unwrap();
            format!("{}\"signature\":\"\"}}", &honest[..at]).into_bytes()
        }),
        ("signature-of-another-kind", common::signed_as("bistro/v1/master")),
    ]
}

fn main() {
    let folder = std::env::args().nth(1).unwrap();
    let folder = Path::new(&folder);
    for (name, bytes) in deltas() {
        std::fs::write(folder.join("delta").join(format!("{name}.safetensors")), bytes).unwrap();
    }
    for (name, bytes) in manifests() {
        std::fs::write(folder.join("manifest").join(format!("{name}.json")), bytes).unwrap();
    }
}
