//! What the chain answers, decoded by name and checked. Pure: no connection in here.

use std::time::Duration;

use bistro_core::ids::{Block, Hotkey, NetUid, Uid};
use bistro_core::ports::{Metagraph, Neuron};
use subxt::dynamic::Value;
use subxt::ext::scale_decode::DecodeAsType;
use subxt::ext::scale_value::{Composite, ValueDef};

use crate::error::ChainError;

/// A subnet has at most as many neurons as there are uids below the next subnet's storage index.
pub(super) const MAX_NEURONS: usize = 4096;
/// The longest text of a commitment that any field can hold.
const MAX_TEXT_BYTES: usize = 512;

/// The wanted fields of the runtime's `Metagraph`.
#[derive(DecodeAsType)]
#[decode_as_type(crate_path = "subxt::ext::scale_decode")]
pub(super) struct MetagraphAnswer {
    netuid: u16,
    tempo: u16,
    min_allowed_weights: u16,
    max_weights_limit: u16,
    weights_rate_limit: u64,
    commit_reveal_weights_enabled: bool,
    hotkeys: Vec<[u8; 32]>,
    validator_permit: Vec<bool>,
    last_update: Vec<u64>,
    total_stake: Vec<u64>,
}

/// The places of [`SelectiveAnswer`]'s fields in the runtime's `SelectiveMetagraph`, by which they are asked for.
pub(super) const WANTED: [u16; 10] = [0, 8, 24, 25, 27, 46, 52, 57, 59, 69];

/// The same fields, as they come when asked for alone: a tenth of the whole, or absent.
#[derive(DecodeAsType)]
#[decode_as_type(crate_path = "subxt::ext::scale_decode")]
pub(super) struct SelectiveAnswer {
    netuid: u16,
    tempo: Option<u16>,
    min_allowed_weights: Option<u16>,
    max_weights_limit: Option<u16>,
    weights_rate_limit: Option<u64>,
    commit_reveal_weights_enabled: Option<bool>,
    hotkeys: Option<Vec<[u8; 32]>>,
    validator_permit: Option<Vec<bool>>,
    last_update: Option<Vec<u64>>,
    total_stake: Option<Vec<u64>>,
}

impl SelectiveAnswer {
    /// `None` if a field did not come: there were runtimes that numbered fields from the name on, not from the netuid.
    pub(super) fn complete(self) -> Option<MetagraphAnswer> {
        Some(MetagraphAnswer {
            netuid: self.netuid,
            tempo: self.tempo?,
            min_allowed_weights: self.min_allowed_weights?,
            max_weights_limit: self.max_weights_limit?,
            weights_rate_limit: self.weights_rate_limit?,
            commit_reveal_weights_enabled: self.commit_reveal_weights_enabled?,
            hotkeys: self.hotkeys?,
            validator_permit: self.validator_permit?,
            last_update: self.last_update?,
            total_stake: self.total_stake?,
        })
    }
}

impl MetagraphAnswer {
    /// The port's metagraph at `block`, if the answer is of subnet `netuid` and agrees with itself. What the answer does not say
    /// (threshold of stake, block time) is the caller's to add.
    pub(super) fn check(self, netuid: NetUid, block: Block) -> Result<Metagraph, ChainError> {
        let wrong = |why: String| Err(ChainError::Malformed { what: "the metagraph", why });
        if self.netuid != netuid.0 {
            return wrong(format!("it is of subnet {}, not {netuid}", self.netuid));
        }
        let count = self.hotkeys.len();
        if count > MAX_NEURONS {
            return wrong(format!("{count} neurons, more than {MAX_NEURONS}"));
        }
        for (column, length) in [
            ("validator_permit", self.validator_permit.len()),
            ("last_update", self.last_update.len()),
            ("total_stake", self.total_stake.len()),
        ] {
            if length != count {
                return wrong(format!("{length} entries of {column} for {count} hotkeys"));
            }
        }
        let columns = self.hotkeys.into_iter().zip(self.validator_permit).zip(self.last_update).zip(self.total_stake);
        let neurons = columns.enumerate().map(|(uid, (((hotkey, validator_permit), last_update), stake))| Neuron {
            uid: Uid(uid as u16),
            hotkey: Hotkey(hotkey),
            stake,
            validator_permit,
            last_update: Block(last_update),
        });
        Ok(Metagraph {
            netuid,
            block,
            neurons: neurons.collect(),
            weights_rate_limit: self.weights_rate_limit,
            min_allowed_weights: self.min_allowed_weights,
            max_weight: self.max_weights_limit,
            stake_threshold: 0,
            block_time: Duration::ZERO,
            tempo: self.tempo,
            commit_reveal: self.commit_reveal_weights_enabled,
        })
    }
}

/// The wanted fields of `Commitments.CommitmentOf`.
#[derive(DecodeAsType)]
#[decode_as_type(crate_path = "subxt::ext::scale_decode")]
pub(super) struct CommitmentAnswer {
    info: CommitmentInfo,
}

#[derive(DecodeAsType)]
#[decode_as_type(crate_path = "subxt::ext::scale_decode")]
struct CommitmentInfo {
    fields: Vec<Value>,
}

impl CommitmentAnswer {
    /// The first field as text, or why it is none.
    pub(super) fn text(&self) -> Result<String, String> {
        let first = self.info.fields.first().ok_or("it has no field")?;
        let ValueDef::Variant(data) = &first.value else { return Err("its first field is no `Data`".into()) };
        let raw = data.name.strip_prefix("Raw").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
        if !raw && data.name != "BigRaw" {
            return Err(format!("its first field is {}", data.name));
        }
        let mut bytes = Vec::new();
        collect_bytes(&data.values, &mut bytes)?;
        String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())
    }
}

/// The bytes in `values`, however many wrappers lie around them.
fn collect_bytes(values: &Composite<()>, bytes: &mut Vec<u8>) -> Result<(), String> {
    for value in values.values() {
        match &value.value {
            ValueDef::Composite(inner) => collect_bytes(inner, bytes)?,
            _ if bytes.len() == MAX_TEXT_BYTES => return Err(format!("it is longer than {MAX_TEXT_BYTES} bytes")),
            _ => bytes.push(value.as_u128().and_then(|n| u8::try_from(n).ok()).ok_or("it holds no bytes")?),
        }
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::client) mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use scale_info::{TypeDef, TypeDefPrimitive};
    use subxt::config::substrate::{SpecVersionForRange, SubstrateConfig};
    use subxt::ext::codec::Decode as _;
    use subxt::ext::frame_decode::runtime_apis::{RuntimeApiTypeInfo as _, decode_runtime_api_response};
    use subxt::ext::scale_decode::IntoVisitor as _;
    use subxt::ext::scale_encode::EncodeAsType as _;
    use subxt::{Metadata, OfflineClient, OfflineClientAtBlock};

    use super::*;

    /// Clients for the metadata of real runtimes that lies beside the checkout; none elsewhere.
    pub(crate) fn real_runtimes() -> Vec<(String, OfflineClientAtBlock<SubstrateConfig>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/subtensor-metadata");
        let Ok(files) = std::fs::read_dir(&folder) else {
            tracing::info!("no metadata of real runtimes here: skipped");
            return Vec::new();
        };
        let files = files.flatten().filter(|file| file.path().extension().is_some_and(|e| e == "scale"));
        files.map(|file| (file.file_name().to_string_lossy().into_owned(), offline(&file.path()))).collect()
    }

    fn offline(path: &Path) -> OfflineClientAtBlock<SubstrateConfig> {
        let metadata = Metadata::decode(&mut &*std::fs::read(path).unwrap()).unwrap();
        let always = SpecVersionForRange { block_range: 0..u64::MAX, spec_version: 0, transaction_version: 0 };
        let config = SubstrateConfig::builder()
            .set_metadata_for_spec_versions([(0, Arc::new(metadata))])
            .set_spec_version_for_block_ranges([always])
            .build();
        OfflineClient::new_with_config(config).at_block(0_u64).unwrap()
    }

    fn answer(count: usize) -> MetagraphAnswer {
        MetagraphAnswer {
            netuid: 3,
            tempo: 360,
            min_allowed_weights: 1,
            max_weights_limit: u16::MAX,
            weights_rate_limit: 100,
            commit_reveal_weights_enabled: true,
            hotkeys: (0..count).map(|n| [n as u8; 32]).collect(),
            validator_permit: vec![true; count],
            last_update: vec![7; count],
            total_stake: vec![11; count],
        }
    }

    #[test]
    fn a_metagraph_that_contradicts_itself_is_refused() {
        let good = answer(3).check(NetUid(3), Block(9)).unwrap();
        assert_eq!((good.neurons.len(), good.neurons[2].uid, good.block), (3, Uid(2), Block(9)));
        let damages: [fn(&mut MetagraphAnswer); 5] = [
            |a| a.netuid = 4,
            |a| a.validator_permit.truncate(2),
            |a| a.last_update.push(1),
            |a| a.total_stake.clear(),
            |a| *a = answer(MAX_NEURONS + 1),
        ];
        for (n, damage) in damages.iter().enumerate() {
            let mut broken = answer(3);
            damage(&mut broken);
            let outcome = broken.check(NetUid(3), Block(9));
            assert!(matches!(outcome, Err(ChainError::Malformed { .. })), "damage {n} passed");
        }
        assert_eq!(answer(MAX_NEURONS).check(NetUid(3), Block(9)).unwrap().neurons.len(), MAX_NEURONS);
    }

    #[test]
    fn a_metagraph_with_a_field_missing_is_asked_for_whole() {
        let all = || SelectiveAnswer {
            netuid: 3,
            tempo: Some(360),
            min_allowed_weights: Some(1),
            max_weights_limit: Some(u16::MAX),
            weights_rate_limit: Some(100),
            commit_reveal_weights_enabled: Some(true),
            hotkeys: Some(vec![[1; 32]]),
            validator_permit: Some(vec![true]),
            last_update: Some(vec![7]),
            total_stake: Some(vec![11]),
        };
        let whole = all().complete().unwrap().check(NetUid(3), Block(9)).unwrap();
        assert_eq!((whole.tempo, whole.weights_rate_limit, whole.neurons[0].stake), (360, 100, 11));
        assert!(SelectiveAnswer { tempo: None, ..all() }.complete().is_none());
        assert!(SelectiveAnswer { total_stake: None, ..all() }.complete().is_none());
    }

    #[test]
    fn the_wanted_fields_stand_in_their_places_in_every_real_runtime() {
        let names = [
            "netuid",
            "tempo",
            "min_allowed_weights",
            "max_weights_limit",
            "weights_rate_limit",
            "commit_reveal_weights_enabled",
            "hotkeys",
            "validator_permit",
            "last_update",
            "total_stake",
        ];
        for (name, runtime) in real_runtimes() {
            let metadata = runtime.metadata();
            let output =
                metadata.runtime_api_info("SubnetInfoRuntimeApi", "get_selective_metagraph").unwrap().output_id;
            let inner = metadata.types().resolve(output).unwrap().type_params[0].ty.unwrap().id;
            let TypeDef::Composite(fields) = &metadata.types().resolve(inner).unwrap().type_def else {
                panic!("{name}: no struct")
            };
            for (place, wanted) in WANTED.iter().zip(names) {
                assert_eq!(fields.fields[usize::from(*place)].name.as_deref(), Some(wanted), "{name}");
            }
        }
    }

    fn commitment(field: Value) -> Result<String, String> {
        CommitmentAnswer { info: CommitmentInfo { fields: vec![field] } }.text()
    }

    #[test]
    fn only_raw_text_is_a_commitment() {
        let raw = |name: &str, bytes: &[u8]| Value::unnamed_variant(name, [Value::from_bytes(bytes)]);
        assert_eq!(commitment(raw("Raw6", b"bucket")).unwrap(), "bucket");
        let long = Value::unnamed_variant("BigRaw", [Value::unnamed_composite([Value::from_bytes([b'x'; 512])])]);
        assert_eq!(commitment(long).unwrap().len(), 512);
        assert_eq!(commitment(raw("Raw0", b"")).unwrap(), "");
        for bad in [
            raw("BlakeTwo256", &[0x41; 32]),
            raw("TimelockEncrypted", b"x"),
            raw("Raw2", &[0xff, 0xfe]),
            raw("BigRaw", &[b'x'; 513]),
            Value::unnamed_variant("None", []),
            Value::unnamed_variant("Raw1", [Value::u128(300)]),
            Value::u128(1),
        ] {
            assert!(commitment(bad.clone()).is_err(), "{bad:?} passed");
        }
        assert!(CommitmentAnswer { info: CommitmentInfo { fields: vec![] } }.text().is_err());
    }

    /// The smallest value of a type: zeros, empty lists, first variants.
    fn zero(ty: u32, metadata: &Metadata) -> Value {
        let parts = |ids: Vec<u32>| Value::unnamed_composite(ids.into_iter().map(|id| zero(id, metadata)));
        match &metadata.types().resolve(ty).unwrap().type_def {
            TypeDef::Composite(fields) if fields.fields.iter().all(|f| f.name.is_some()) => {
                let fields = fields.fields.iter();
                Value::named_composite(fields.map(|f| (f.name.clone().unwrap(), zero(f.ty.id, metadata))))
            }
            TypeDef::Composite(fields) => parts(fields.fields.iter().map(|f| f.ty.id).collect()),
            TypeDef::Tuple(tuple) => parts(tuple.fields.iter().map(|f| f.id).collect()),
            TypeDef::Array(array) => parts(vec![array.type_param.id; array.len as usize]),
            TypeDef::Sequence(_) => parts(vec![]),
            TypeDef::Variant(variants) => {
                let first = &variants.variants[0];
                let values: Vec<_> = first.fields.iter().map(|f| zero(f.ty.id, metadata)).collect();
                Value::unnamed_variant(first.name.clone(), values)
            }
            TypeDef::Primitive(TypeDefPrimitive::Bool) => Value::bool(false),
            TypeDef::Compact(_) | TypeDef::Primitive(_) => Value::u128(0),
            TypeDef::BitSequence(_) => panic!("no bits in a metagraph"),
        }
    }

    #[test]
    fn the_metagraph_of_every_real_runtime_decodes() {
        for (name, runtime) in real_runtimes() {
            let metadata = runtime.metadata();
            let (api, method) = ("SubnetInfoRuntimeApi", "get_metagraph");
            let output = metadata.runtime_api_info(api, method).unwrap().output_id;
            let inner = metadata.types().resolve(output).unwrap().type_params[0].ty.unwrap().id;
            let ValueDef::Composite(Composite::Named(mut fields)) = zero(inner, &metadata).value else {
                panic!("{name}: the metagraph has no named fields")
            };
            let list = |values: [u128; 2]| Value::unnamed_composite(values.map(Value::u128));
            let keys = Value::unnamed_composite([Value::from_bytes([1; 32]), Value::from_bytes([2; 32])]);
            for (field, value) in [
                ("netuid", Value::u128(3)),
                ("tempo", Value::u128(99)),
                ("weights_rate_limit", Value::u128(100)),
                ("min_allowed_weights", Value::u128(8)),
                ("max_weights_limit", Value::u128(455)),
                ("commit_reveal_weights_enabled", Value::bool(true)),
                ("hotkeys", keys),
                ("validator_permit", Value::unnamed_composite([Value::bool(false), Value::bool(true)])),
                ("last_update", list([5, 70_000])),
                ("total_stake", list([0, 1 << 40])),
            ] {
                fields.iter_mut().find(|(name, _)| name == field).unwrap_or_else(|| panic!("{field} in {name}")).1 =
                    value;
            }
            let value = Value::unnamed_variant("Some", [Value::named_composite(fields)]);
            let bytes = value.encode_as_type(output, metadata.types()).unwrap();
            let visitor = Option::<MetagraphAnswer>::into_visitor();
            let decoded =
                decode_runtime_api_response(api, method, &mut &*bytes, &*metadata, metadata.types(), visitor).unwrap();
            let metagraph = decoded.unwrap().check(NetUid(3), Block(1)).unwrap();
            assert_eq!(
                (metagraph.tempo, metagraph.weights_rate_limit, metagraph.min_allowed_weights, metagraph.max_weight),
                (99, 100, 8, 455),
                "{name}"
            );
            let second = &metagraph.neurons[1];
            assert_eq!((second.hotkey, second.stake, second.last_update), (Hotkey([2; 32]), 1 << 40, Block(70_000)));
            assert!(metagraph.commit_reveal && second.validator_permit && !metagraph.neurons[0].validator_permit);
        }
    }
}
