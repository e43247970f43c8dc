//! A miner's delta: a safetensors file whose metadata repeats what its manifest states, so that the object stands for
//! itself when it is moved, copied or opened by hand.

use std::collections::BTreeMap;

use bistro_core::ids::{Block, Hash, Hotkey, NetUid, Uid};
use bistro_core::params::{ModelSpec, Params};
use bistro_core::protocol::{DeltaManifest, Encoding};
use bistro_core::skip::{Reason, Skip};
use bytes::Bytes;

use crate::codec;
use crate::packed::Packed;

/// The metadata's `format` of a delta.
pub const FORMAT: &str = "bistro-delta/1";

/// Room for the metadata and for another writer's order and spacing, bytes. Our own metadata take about 350.
const METADATA_ROOM: u64 = 4096;

/// What a delta says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaMeta {
    /// How the numbers are stored.
    pub encoding: Encoding,
    /// Hash of the master that the delta is added to.
    pub base: Hash,
    /// Subnet.
    pub netuid: NetUid,
    /// The miner's slot when it uploaded.
    pub uid: Uid,
    /// The miner.
    pub hotkey: Hotkey,
    /// The chain's head when the delta was cut.
    pub block: Block,
}

impl From<&DeltaManifest> for DeltaMeta {
    fn from(manifest: &DeltaManifest) -> Self {
        let DeltaManifest { encoding, base, netuid, uid, hotkey, block, .. } = *manifest;
        Self { encoding, base, netuid, uid, hotkey, block }
    }
}

impl DeltaMeta {
    /// Name, text, and the reason for a skip where a file says otherwise; in the order of the checks.
    fn fields(&self) -> [(&'static str, String, Reason); 7] {
        [
            ("format", FORMAT.into(), Reason::Malformed),
            ("encoding", self.encoding.name().into(), Reason::BadEncoding),
            ("base", self.base.to_string(), Reason::UnknownBase),
            ("netuid", self.netuid.to_string(), Reason::WrongOwner),
            ("uid", self.uid.to_string(), Reason::WrongOwner),
            ("hotkey", self.hotkey.to_string(), Reason::WrongOwner),
            ("block", self.block.to_string(), Reason::BadBlock),
        ]
    }

    pub(crate) fn check(&self, metadata: &BTreeMap<String, String>) -> Result<(), Skip> {
        for (name, expected, reason) in self.fields() {
            match metadata.get(name) {
                Some(found) if *found == expected => {}
                Some(found) => {
                    let what = format!("the file's `{name}` is `{found}`, the manifest's is `{expected}`");
                    return Err(Skip::new(reason, what));
                }
                None => return Err(Skip::new(reason, format!("the file's metadata lack `{name}`"))),
            }
        }
        Ok(())
    }
}

/// The largest object that [`decode_delta`] looks at, bytes: known before a download starts. Our own objects are at most
/// 4 KiB smaller.
pub fn max_object_size(spec: &ModelSpec, encoding: Encoding) -> u64 {
    codec::file_size(spec, encoding, &BTreeMap::new()) + METADATA_ROOM
}

/// The object of a delta. The same arguments give the same bytes on every machine. Values are taken as they are: one that
/// is not finite is for the reader to refuse.
pub fn encode_delta(delta: &Params, meta: &DeltaMeta) -> Bytes {
    let metadata = meta.fields().into_iter().map(|(name, text, _)| (name.to_owned(), text)).collect();
    codec::write(delta, meta.encoding, &metadata).into()
}

/// [`encode_delta`] with the values that every reader will see: what they lack of `delta` is the miner's to send later.
pub fn encode_with_values(delta: &Params, meta: &DeltaMeta) -> Result<(Bytes, Params), Skip> {
    let object = encode_delta(delta, meta);
    let values = if meta.encoding.is_lossy() { decode_delta(&object, &delta.spec(), meta)? } else { delta.clone() };
    Ok((object, values))
}

/// Reads a stranger's delta. Each step comes before anything that rests on it:
/// 1. the object is no larger than [`max_object_size`]: `TooLarge`;
/// 2. the header has at most [`crate::header::MAX_HEADER_BYTES`], is sound JSON, and names nothing twice: `Malformed`;
/// 3. the metadata's format, encoding, base, netuid, uid, hotkey and block are those of the manifest, whose signature was
///    checked before: `Malformed`, `BadEncoding`, `UnknownBase`, `WrongOwner`, `BadBlock`;
/// 4. names, types and shapes are exactly the model's, each range as long as its tensor can be: `WrongShape`, `Malformed`;
/// 5. the tensors fill the data without gap, overlap or rest: `Malformed`;
/// 6. every value, scale and number is finite, every index ascends within its block, products, rows and stripes fill their
///    tensor's bytes: `NotFinite`, `Malformed`.
///
/// Values are allocated after step 6, four bytes for each of the model's numbers. The same bytes give the same bits on
/// every machine. That the object has the manifest's hash is for the caller to check.
pub fn decode_delta(object: &[u8], spec: &ModelSpec, meta: &DeltaMeta) -> Result<Params, Skip> {
    Ok(Packed::read(object, spec, meta)?.values())
}
