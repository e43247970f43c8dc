//! What others have uploaded, read as anybody can.

use std::time::Duration;

use bistro_core::ids::Hotkey;
use bistro_core::params::{ModelSpec, Params};
use bistro_core::ports::{BucketAddress, Neuron, PortError, ReadLimits, Retry};
use bistro_core::protocol::{DeltaManifest, Folder};
use bistro_node::{NodeError, Parts};
use bytes::Bytes;

/// The newest manifest of another miner: of whoever uploaded last.
pub(super) async fn newest(parts: &Parts, neurons: &[Neuron]) -> Result<(DeltaManifest, Bytes), NodeError> {
    let mut newest: Option<(DeltaManifest, Bytes)> = None;
    for neuron in neurons.iter().filter(|n| n.stake == 0 && n.hotkey != parts.identity.hotkey()) {
        let Some((manifest, bytes)) = manifest(parts, &neuron.hotkey).await? else { continue };
        if newest.as_ref().is_none_or(|(other, _)| other.block < manifest.block) {
            newest = Some((manifest, bytes));
        }
    }
    newest.ok_or_else(|| missing("nobody has uploaded anything").into())
}

/// The newest manifest of `hotkey`, if it has one that it signed.
pub(super) async fn manifest(parts: &Parts, hotkey: &Hotkey) -> Result<Option<(DeltaManifest, Bytes)>, NodeError> {
    let limits = ReadLimits { max_bytes: 1 << 20, deadline: Duration::from_secs(20), min_bytes_per_second: 1024 };
    let Some(text) = parts.chain.commitment(hotkey).await? else { return Ok(None) };
    let Ok(bucket) = BucketAddress::parse(&text) else { return Ok(None) };
    let key = Folder::new(parts.netuid, hotkey).latest();
    let Some(bytes) = parts.public.get(&bucket, &key, limits).await? else { return Ok(None) };
    Ok(parts.statement(&bytes).ok().map(|statement| (statement, bytes)))
}

/// The values that `manifest` names.
pub(super) async fn values(parts: &Parts, spec: &ModelSpec, manifest: &DeltaManifest) -> Result<Params, NodeError> {
    let address = parts.chain.commitment(&manifest.hotkey).await?.unwrap_or_default();
    let bucket = BucketAddress::parse(&address).map_err(|why| missing(&why))?;
    let key = Folder::new(manifest.netuid, &manifest.hotkey).delta(manifest.block, &manifest.object);
    let limits = ReadLimits { max_bytes: manifest.size, deadline: Duration::from_mins(1), min_bytes_per_second: 1024 };
    let object = parts.public.get(&bucket, &key, limits).await?.unwrap_or_default();
    let read = bistro_delta::decode_delta(&object, spec, &manifest.into());
    Ok(read.map_err(|skip| missing(&skip.to_string()))?)
}

/// There is nothing to take.
pub(super) fn missing(message: &str) -> PortError {
    PortError { name: "NoVictim".into(), message: message.to_owned(), retry: Retry::Soon }
}
