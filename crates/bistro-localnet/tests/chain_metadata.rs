//! Every call, storage entry, event, error and constant of our pallets against those of real subtensor runtimes, by name and shape.
//!
//! The runtimes' metadata is not part of this repository. Where the folder beside it is missing there is nothing to compare.
#![allow(clippy::unwrap_used)]

use bistro_localnet::chain::{LocalChain, LocalChainConfig, runtime::Runtime};
use scale_info::{Field, PortableRegistry, TypeDef, TypeDefPrimitive, form::PortableForm};
use std::{collections::BTreeSet, path::Path};
use subxt::metadata::{Metadata, PalletMetadata};

/// Pallets that are written here; the others are FRAME's own.
const OURS: [&str; 4] = ["SubtensorModule", "Commitments", "Drand", "Aura"];
/// The runtime whose version the local chain starts with: what we have must be there too.
const MODEL: &str = "finney-365.v16.scale";
/// Levels of nesting that are compared.
const DEPTH: u8 = 8;
const OTHERS: [&str; 2] = ["devnet-293.v15.scale", "devnet-381.scale"];

/// What a value of a type looks like on the wire, newtypes seen through. Calls may hold calls: nesting ends at some depth.
fn shape(types: &PortableRegistry, id: u32, depth: u8) -> String {
    if depth == 0 {
        return "deeper".to_owned();
    }
    let depth = depth - 1;
    let ty = types.resolve(id).unwrap();
    match &ty.type_def {
        TypeDef::Composite(composite) if composite.fields.len() == 1 => shape(types, composite.fields[0].ty.id, depth),
        TypeDef::Composite(composite) => format!("{{{}}}", fields(types, &composite.fields, depth)),
        TypeDef::Variant(variants) => {
            let variants = variants
                .variants
                .iter()
                .map(|v| format!("{}={}({})", v.name, v.index, fields(types, &v.fields, depth)));
            format!("<{}>", variants.collect::<Vec<_>>().join("|"))
        }
        TypeDef::Sequence(of) => format!("[{}]", shape(types, of.type_param.id, depth)),
        TypeDef::Array(of) => format!("[{};{}]", shape(types, of.type_param.id, depth), of.len),
        TypeDef::Tuple(of) => {
            let fields = of.fields.iter().map(|field| shape(types, field.id, depth));
            format!("({})", fields.collect::<Vec<_>>().join(","))
        }
        TypeDef::Primitive(TypeDefPrimitive::Str) => "[U8]".to_owned(),
        TypeDef::Primitive(primitive) => format!("{primitive:?}"),
        TypeDef::Compact(of) => format!("compact {}", shape(types, of.type_param.id, depth)),
        TypeDef::BitSequence(_) => "bits".to_owned(),
    }
}

fn fields(types: &PortableRegistry, fields: &[Field<PortableForm>], depth: u8) -> String {
    let field =
        |f: &Field<PortableForm>| format!("{}:{}", f.name.as_deref().unwrap_or_default(), shape(types, f.ty.id, depth));
    fields.iter().map(field).collect::<Vec<_>>().join(",")
}

/// One line for everything a client can name: what it is, and what it looks like.
fn facts(metadata: &Metadata) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    for pallet in metadata.pallets().filter(|pallet| OURS.contains(&pallet.name())) {
        facts.extend(facts_of(metadata, &pallet));
    }
    // Version 14 of the format tells nothing of runtime APIs.
    let api = metadata.runtime_api_trait_by_name("SubnetInfoRuntimeApi");
    for name in ["get_metagraph", "get_selective_metagraph"] {
        let Some(method) = api.and_then(|api| api.method_by_name(name)) else { continue };
        let inputs = method.inputs().map(|input| shape(metadata.types(), input.id, DEPTH)).collect::<Vec<_>>();
        let looks = format!("({}) -> {}", inputs.join(", "), shape(metadata.types(), method.output_ty(), DEPTH));
        facts.push((format!("SubnetInfoRuntimeApi.{name}"), looks));
    }
    facts
}

fn facts_of(metadata: &Metadata, pallet: &PalletMetadata<'_>) -> Vec<(String, String)> {
    let (name, types) = (pallet.name(), metadata.types());
    let mut facts = vec![(format!("pallet {name}"), pallet.call_index().to_string())];
    for call in pallet.call_variants().unwrap_or_default() {
        let looks = format!("{} ({})", call.index, fields(types, &call.fields, DEPTH));
        facts.push((format!("call {name}.{}", call.name), looks));
    }
    for event in pallet.event_variants().unwrap_or_default() {
        facts.push((format!("event {name}.{}", event.name), fields(types, &event.fields, DEPTH)));
        // Newer runtimes put events between the old ones, so clients go by name; the bytes are those of the model.
        facts.push((format!("index {name}.{}", event.name), event.index.to_string()));
    }
    for error in pallet.error_variants().unwrap_or_default() {
        facts.push((format!("error {name}.{}", error.name), String::new()));
    }
    for constant in pallet.constants() {
        facts.push((format!("constant {name}.{}", constant.name()), shape(types, constant.ty(), DEPTH)));
    }
    let entries = if let Some(storage) = pallet.storage() { storage.entries() } else { Default::default() };
    for entry in entries {
        let keys = entry.keys().map(|key| format!("{:?} {}", key.hasher, shape(types, key.key_id, DEPTH)));
        let keys = keys.collect::<Vec<_>>().join(", ");
        let optional = entry.default_value().is_none();
        let looks = format!("({keys}) -> {} optional={optional}", shape(types, entry.value_ty(), DEPTH));
        facts.push((format!("storage {name}.{}", entry.name()), looks));
    }
    facts
}

/// Whether `there` is `here` without some of its last fields.
fn is_start(there: &str, here: &str) -> bool {
    here.starts_with(there.trim_end_matches(['}', ')', '>']))
}

/// What differs from `theirs`; what they do not have differs only from the model.
fn differences(ours: &[(String, String)], theirs: &[(String, String)], model: bool) -> Vec<String> {
    let differs = |(name, looks): &(String, String)| match theirs.iter().find(|(known, _)| known == name) {
        Some((_, there)) if there == looks => None,
        Some(_) if !model && name.starts_with("index ") => None,
        // The answer grows at its end: older runtimes lack the newest fields.
        Some((_, there)) if !model && name.starts_with("SubnetInfoRuntimeApi.") && is_start(there, looks) => None,
        Some((_, there)) => Some(format!("{name}\n  here  {looks}\n  there {there}")),
        None if model => Some(format!("{name} is not there")),
        None => None,
    };
    ours.iter().filter_map(differs).collect()
}

async fn ours() -> Vec<(String, String)> {
    let chain = LocalChain::start(LocalChainConfig::default()).await.unwrap();
    let bytes = chain.read(|| Runtime::metadata_at_version(15)).unwrap().unwrap();
    chain.stop().await;
    facts(&Metadata::decode_from(&bytes).unwrap())
}

#[tokio::test]
async fn our_pallets_are_subtensors_by_name_index_and_shape() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/subtensor-metadata");
    if !folder.is_dir() {
        eprintln!("skipped: {} is not there", folder.display());
        return;
    }
    let ours = ours().await;
    let mut wrong = BTreeSet::new();
    for file in OTHERS.into_iter().chain([MODEL]) {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        let theirs = Metadata::decode_from(&bytes).unwrap();
        wrong.extend(differences(&ours, &facts(&theirs), file == MODEL).into_iter().map(|d| format!("{file}: {d}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}

#[tokio::test]
async fn the_comparison_sees_a_difference() {
    let ours = ours().await;
    assert!(ours.iter().any(|(name, _)| name == "call SubtensorModule.set_weights"), "{ours:?}");
    assert!(differences(&ours, &ours, true).is_empty());
    let mut theirs = ours.clone();
    theirs.iter_mut().find(|(name, _)| name == "storage SubtensorModule.Weights").unwrap().1.push('!');
    theirs.retain(|(name, _)| name != "event SubtensorModule.WeightsSet");
    theirs.iter_mut().find(|(name, _)| name == "index SubtensorModule.AxonServed").unwrap().1.push('9');
    assert_eq!(differences(&ours, &theirs, false).len(), 1);
    assert_eq!(differences(&ours, &theirs, true).len(), 3);
}
