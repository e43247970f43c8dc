//! The runtime's description of itself, with its types under the names that they have on subtensor.
//!
//! Clients tell an event, a call or an account by the path of its type (`*_runtime::RuntimeEvent`, `pallet_subtensor::…`). Ours
//! are modules of one crate, so the paths are rewritten once the description is made; nothing else is touched.

use codec::{Decode, Encode};
use frame_metadata::{RuntimeMetadata, RuntimeMetadataPrefixed};
use scale_info::PortableRegistry;
use sp_core::OpaqueMetadata;

/// Modules of this crate, longest first, and what stands for them.
const RENAMED: &[(&[&str], &[&str])] = &[
    (&["subtensor", "metagraph"], &["pallet_subtensor", "rpc_info", "metagraph"]),
    (&["subtensor", "pallet"], &["pallet_subtensor", "pallet"]),
    (&["subtensor"], &["pallet_subtensor", "pallet"]),
    (&["commitments", "pallet"], &["pallet_commitments", "pallet"]),
    (&["commitments"], &["pallet_commitments", "types"]),
    (&["drand", "pallet"], &["pallet_drand", "pallet"]),
    (&["drand"], &["pallet_drand", "types"]),
    (&["extensions", "metadata_hash"], &["frame_metadata_hash_extension"]),
    (&["extensions", "nonce"], &["node_subtensor_runtime", "check_nonce"]),
    (&["extensions", "subtensor"], &["pallet_subtensor", "transaction_extension"]),
    (&["aura"], &["pallet_aura"]),
    (&[], &["node_subtensor_runtime"]),
];

/// Rewrites the paths of an encoded description.
pub(super) fn with_subtensor_paths(metadata: OpaqueMetadata) -> OpaqueMetadata {
    let Ok(mut decoded) = RuntimeMetadataPrefixed::decode(&mut &metadata[..]) else { return metadata };
    match &mut decoded.1 {
        RuntimeMetadata::V14(m) => rename(&mut m.types),
        RuntimeMetadata::V15(m) => rename(&mut m.types),
        RuntimeMetadata::V16(m) => rename(&mut m.types),
        _ => return metadata,
    }
    OpaqueMetadata::new(decoded.encode())
}

fn rename(types: &mut PortableRegistry) {
    // `crate::chain::runtime`, wherever this file is.
    let ours: Vec<&str> = module_path!().rsplit_once("::").map_or("", |(parent, _)| parent).split("::").collect();
    for ty in &mut types.types {
        let segments = &mut ty.ty.path.segments;
        let inner: Vec<&str> = segments.iter().map(String::as_str).collect();
        let Some(inner) = inner.strip_prefix(ours.as_slice()) else { continue };
        let renamed = RENAMED.iter().find_map(|(from, to)| Some((to, inner.strip_prefix(*from)?)));
        if let Some((to, rest)) = renamed {
            *segments = to.iter().chain(rest).map(|s| (*s).to_owned()).collect();
        }
    }
}
