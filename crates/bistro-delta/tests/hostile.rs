//! What a stranger may upload in place of a delta. Each ends in the named reason; none in a panic.
#![allow(clippy::unwrap_used)]

mod common;

use bistro_core::params::{Params, Tensor};
use bistro_core::protocol::Encoding;
use bistro_core::skip::{Reason, Skip};
use bistro_delta::{DeltaMeta, decode_delta, encode_delta, max_object_size};
use common::{EXACT, file, meta, params, spec, split};

fn decode(object: &[u8]) -> Result<Params, Skip> {
    decode_delta(object, &spec(), &meta(Encoding::F32))
}

fn reason(object: &[u8]) -> Reason {
    decode(object).unwrap_err().reason
}

fn honest() -> Vec<u8> {
    encode_delta(&params(), &meta(Encoding::F32)).to_vec()
}

/// The honest file with one text of its header replaced.
fn forged(from: &str, to: &str) -> Vec<u8> {
    let (header, data) = split(&honest());
    assert!(header.contains(from), "{from} is not in {header}");
    file(&header.replacen(from, to, 1), &data)
}

#[test]
fn forged_metadata() {
    let table = [
        ("bistro-delta/1", "bistro-delta/2", Reason::Malformed),
        ("\"format\":", "\"fromat\":", Reason::Malformed),
        ("\"encoding\":\"f32\"", "\"encoding\":\"bf16\"", Reason::BadEncoding),
        ("\"encoding\":\"f32\",", "", Reason::BadEncoding),
        ("0707", "0708", Reason::UnknownBase),
        ("\"netuid\":\"212\"", "\"netuid\":\"213\"", Reason::WrongOwner),
        ("\"uid\":\"3\"", "\"uid\":\"4\"", Reason::WrongOwner),
        ("\"uid\":\"3\"", "\"uid\":\"03\"", Reason::WrongOwner),
        ("5CGYyLcr", "5CGYyLcs", Reason::WrongOwner),
        ("3000000", "3000001", Reason::BadBlock),
        ("\"3000000\"", "3000000", Reason::Malformed),
        ("{\"__metadata__\":{", "{\"__metadata__\":{\"uid\":\"4\",", Reason::Malformed),
        ("{\"__metadata__\":", "{\"__metadata__\":{},\"__metadata__\":", Reason::Malformed),
    ];
    for (from, to, expected) in table {
        let skip = decode(&forged(from, to)).unwrap_err();
        assert_eq!(skip.reason, expected, "{from} -> {to}: {skip}");
    }
    assert!(decode(&forged("{\"__metadata__\":{", "{\"__metadata__\":{\"more\":\"text\",")).is_ok());
}

type Change = fn(&mut DeltaMeta);

#[test]
fn another_manifest() {
    let changes: [(Change, Reason); 5] = [
        (|m| m.base.0[0] = 0, Reason::UnknownBase),
        (|m| m.netuid.0 = 1, Reason::WrongOwner),
        (|m| m.uid.0 = 1, Reason::WrongOwner),
        (|m| m.hotkey.0[0] = 1, Reason::WrongOwner),
        (|m| m.block.0 = 1, Reason::BadBlock),
    ];
    for (change, expected) in changes {
        let mut other = meta(Encoding::F32);
        change(&mut other);
        assert_eq!(decode_delta(&honest(), &spec(), &other).unwrap_err().reason, expected);
    }
    let small = encode_delta(&params(), &meta(Encoding::Bf16));
    assert_eq!(reason(&small), Reason::BadEncoding);
}

#[test]
fn forged_tensors() {
    let table = [
        ("\"unused\"", "\"more\"", Reason::WrongShape),
        ("\"model.norm.weight\"", "\"model.norm.weight\\u0000\"", Reason::WrongShape),
        ("\"dtype\":\"F32\"", "\"dtype\":\"BF16\"", Reason::WrongShape),
        ("\"dtype\":\"F32\"", "\"dtype\":\"F4\"", Reason::WrongShape),
        ("[2,3]", "[3,2]", Reason::WrongShape),
        ("[2,3]", "[6]", Reason::WrongShape),
        ("[2,3]", "[2,3,1]", Reason::WrongShape),
        ("[2,3]", "[18446744073709551615,18446744073709551615]", Reason::WrongShape),
        ("[2,3]", "[2,18446744073709551616]", Reason::Malformed),
        ("[2,3]", "[-2,-3]", Reason::Malformed),
        ("[2,3]", "[2.0,3]", Reason::Malformed),
        ("[2,3]", "6", Reason::Malformed),
        ("[0,24]", "[24,0]", Reason::Malformed),
        ("[0,24]", "[-24,0]", Reason::Malformed),
        ("[0,24]", "[0,25]", Reason::Malformed),
        ("[0,24]", "[0,24,24]", Reason::Malformed),
        ("[0,24]", "[0]", Reason::Malformed),
        ("[0,24]", "[1,25]", Reason::Malformed),
        ("[24,36]", "[12,24]", Reason::Malformed),
        ("[24,36]", "[28,40]", Reason::Malformed),
        ("[36,40]", "[40,44]", Reason::Malformed),
        ("[40,40]", "[18446744073709551615,18446744073709551615]", Reason::Malformed),
        ("[40,40]", "[4,4]", Reason::Malformed),
        ("\"dtype\":\"F32\"", "\"dtype\":\"F32\",\"dtype\":\"F32\"", Reason::Malformed),
        ("\"dtype\":\"F32\"", "\"dtype\":\"F32\",\"more\":1", Reason::Malformed),
        ("\"dtype\":\"F32\",", "", Reason::Malformed),
        (
            "\"unused\":",
            "\"unused\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[40,40]},\"unused\":",
            Reason::Malformed,
        ),
    ];
    for (from, to, expected) in table {
        let skip = decode(&forged(from, to)).unwrap_err();
        assert_eq!(skip.reason, expected, "{from} -> {to}: {skip}");
    }
    let (header, data) = split(&honest());
    let start = header.find(",\"unused\"").unwrap();
    assert_eq!(reason(&file(&format!("{}}}", &header[..start]), &data)), Reason::WrongShape);
    // Order and spacing are the writer's choice.
    assert!(decode(&forged("[24,36]", "[ 24 , 36 ]")).is_ok());
}

#[test]
fn broken_containers() {
    let (header, data) = split(&honest());
    let with_length = |length: u64| [&length.to_le_bytes(), header.as_bytes(), &data].concat();
    let deep = "[".repeat(1000);
    let objects: [(&str, Vec<u8>); 16] = [
        ("nothing", vec![]),
        ("seven bytes", vec![0; 7]),
        ("a length alone", vec![0; 8]),
        ("a header of all of memory", with_length(u64::MAX)),
        ("a header whose end overflows", with_length(u64::MAX - 7)),
        ("a header longer than is read", with_length((1 << 20) + 1)),
        ("a header longer than the file", with_length(honest().len() as u64)),
        ("a header cut short", with_length(header.len() as u64 - 9)),
        ("a header that reaches into the data", with_length(header.len() as u64 + 4)),
        ("a space first", file(&format!(" {header}"), &data)),
        ("a list", file("[]", &data)),
        ("not JSON", file("{nonsense}", &data)),
        ("not UTF-8", [&2_u64.to_le_bytes()[..], b"{\xff", &data].concat()),
        ("nested deeply", file(&format!("{{\"a\":{deep}"), &data)),
        ("two objects", file(&format!("{}{{}}", header.trim_end()), &data)),
        ("a pickle", b"\x80\x02}q\x00(X\x05\x00\x00\x00modelq\x01cos\nsystem\n".repeat(4)),
    ];
    for (what, object) in objects {
        let skip = decode(&object).unwrap_err();
        assert_eq!(skip.reason, Reason::Malformed, "{what}: {skip}");
        assert!(skip.detail.chars().count() <= Skip::MAX_DETAIL);
    }
    assert_eq!(reason(&file("{}", &[])), Reason::Malformed, "no metadata");
    assert_eq!(reason(&[honest(), vec![0]].concat()), Reason::Malformed, "a trailing byte");
    assert_eq!(reason(&honest()[..honest().len() - 1]), Reason::Malformed, "the last byte is missing");
}

/// Ranges that add up to 2⁶⁴ - 1, as eight tensors of 2⁶¹ - 1 bytes and one of 7 do: adding the header's length overflows,
/// and the `safetensors` crate 0.8.0 panics where overflow is checked.
#[test]
fn ranges_that_wrap_around_memory() {
    let whole = (1_u64 << 61) - 1;
    let mut end = 0;
    let mut entry = |name: String, bytes: u64| {
        let begin = end;
        end += bytes;
        format!("\"{name}\":{{\"dtype\":\"U8\",\"shape\":[{bytes}],\"data_offsets\":[{begin},{end}]}}")
    };
    let mut entries: Vec<_> = (0..8).map(|i| entry(format!("t{i}"), whole)).collect();
    entries.push(entry("unused".into(), 7));
    let (header, _) = split(&honest());
    let metadata = &header[..header.find(",\"lm_head").unwrap()];
    assert_eq!(reason(&file(&format!("{metadata},{}}}", entries.join(",")), &[0; 40])), Reason::WrongShape);
}

#[test]
fn too_large_by_one_byte() {
    for encoding in Encoding::ALL {
        let max = max_object_size(&spec(), encoding) as usize;
        let judge = |object: &[u8]| decode_delta(object, &spec(), &meta(encoding)).unwrap_err().reason;
        assert_eq!(judge(&vec![b'{'; max + 1]), Reason::TooLarge);
        assert_eq!(judge(&vec![b'{'; max]), Reason::Malformed);
    }
}

#[test]
fn values_that_are_not_finite() {
    for encoding in Encoding::ALL {
        // The last is finite in f32 and beyond what the others can hold.
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0xff80_0001), f32::MAX] {
            let mut poison = params();
            poison.tensors.insert("model.norm.weight".into(), Tensor::new(vec![3], vec![0.0, 1.0, value]));
            let object = encode_delta(&poison, &meta(encoding));
            let outcome = decode_delta(&object, &spec(), &meta(encoding));
            if encoding == Encoding::F32 && value.is_finite() {
                assert_eq!(outcome.unwrap(), poison);
            } else {
                let skip = outcome.unwrap_err();
                assert_eq!(skip.reason, Reason::NotFinite, "{encoding:?}: {value}");
                assert!(skip.detail.contains("of tensor `model.norm.weight`"), "{skip}");
                // The others have a scale for all values of a block.
                assert!(!EXACT.contains(&encoding) || skip.detail.contains("value 2 of"), "{skip}");
            }
        }
    }
}

#[test]
fn cut_at_every_byte() {
    for encoding in Encoding::ALL {
        let object = encode_delta(&params(), &meta(encoding));
        for end in 0..object.len() {
            let skip = decode_delta(&object[..end], &spec(), &meta(encoding)).unwrap_err();
            assert_eq!(skip.reason, Reason::Malformed, "cut at {end}: {skip}");
        }
    }
}

#[test]
fn every_bit_flipped() {
    for encoding in Encoding::ALL {
        let mut object = encode_delta(&params(), &meta(encoding)).to_vec();
        for bit in 0..object.len() * 8 {
            object[bit / 8] ^= 1 << (bit % 8);
            if let Ok(delta) = decode_delta(&object, &spec(), &meta(encoding)) {
                assert!(delta.is_finite());
                assert_eq!(delta.spec(), spec());
            }
            object[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
