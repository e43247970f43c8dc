//! A validator's master: a plain f32 safetensors file under Hugging Face's names.

use std::collections::BTreeMap;

use bistro_core::ids::Hash;
use bistro_core::params::{ModelSpec, Params};
use bistro_core::protocol::Encoding;
use bytes::Bytes;

use crate::codec;
use crate::error::DeltaError;

/// The metadata's `bistro` of a master.
pub const FORMAT: &str = "bistro-master/1";

fn metadata(hash: &Hash) -> BTreeMap<String, String> {
    // `transformers` opens a file only if its metadata say which framework's it is.
    [("format", "pt".to_owned()), ("bistro", FORMAT.to_owned()), ("hash", hash.to_string())]
        .map(|(name, text)| (name.to_owned(), text))
        .into()
}

/// The file of a master: f32, bit for bit. `transformers` loads it beside the model's `config.json` as it is.
pub fn write_master(params: &Params) -> Bytes {
    codec::write(params, Encoding::F32, &metadata(&params.hash())).into()
}

/// The length of this model's master file, bytes: known before a download starts.
pub fn max_master_size(spec: &ModelSpec) -> u64 {
    codec::file_size(spec, Encoding::F32, &metadata(&Hash([0; 32])))
}

/// Reads a master: sound, exactly the model's tensors, finite, and with the hash that its validator has signed.
pub fn read_master(file: &[u8], spec: &ModelSpec, expected: &Hash) -> Result<Params, DeltaError> {
    let max = max_master_size(spec);
    if file.len() as u64 > max {
        return Err(DeltaError::TooLarge { size: file.len() as u64, max });
    }
    let (params, _) = codec::read(file, spec, Encoding::F32)?;
    let found = params.hash();
    if found == *expected { Ok(params) } else { Err(DeltaError::WrongHash { expected: *expected, found }) }
}
