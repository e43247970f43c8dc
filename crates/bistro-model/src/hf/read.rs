//! From a folder to a model. Folders come from anywhere: files are bounded by what the configuration calls for, names of
//! files are plain names within the folder, and every shape is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bistro_core::params::{Params, Tensor};
use fs_err as fs;
use safetensors::tensor::SafeTensors;
use serde::Deserialize;

use super::{CONFIG, INDEX, Model, WEIGHTS, dtype, wrong};
use crate::config::{LlamaConfig, MAX_CONFIG_BYTES};
use crate::error::ModelError;

/// A longer index is refused unread.
const MAX_INDEX_BYTES: u64 = 16 << 20;
/// What a file may hold besides the weights' bytes: its header, and buffers that older models carry.
const SLACK: u64 = 64 << 20;

/// The part of the index that says where weights lie.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Reads and checks the folder's `config.json`.
pub fn config(folder: &Path) -> Result<LlamaConfig, ModelError> {
    LlamaConfig::from_json(&text(&folder.join(CONFIG), MAX_CONFIG_BYTES as u64)?)
}

/// Reads a folder of f32, bf16 or f16 weights. What is stored besides them is ignored, as `transformers` does; a head of its
/// own beside a tied embedding too.
pub fn import(folder: &Path) -> Result<Model, ModelError> {
    let config = config(folder)?;
    let mut missing = config.spec().tensors;
    let limit = (config.parameters().unwrap_or(0) as u64 * 4).saturating_mul(2).saturating_add(SLACK);
    let mut params = Params::default();
    for path in files(folder)? {
        if fs::metadata(&path)?.len() > limit {
            return Err(wrong(&path, &format!("more than {limit} bytes: the model of {CONFIG} is smaller")));
        }
        let bytes = fs::read(&path)?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| wrong(&path, &e))?;
        for (name, view) in file.tensors() {
            let Some(shape) = missing.remove(&name) else { continue };
            if view.shape() != shape {
                return Err(wrong(&path, &format!("`{name}` is {:?}, {CONFIG} says {shape:?}", view.shape())));
            }
            let Some(data) = dtype::decode(view.dtype(), view.data()) else {
                let why = format!("`{name}` is {:?}: only F32, BF16 and F16 are read", view.dtype());
                return Err(wrong(&path, &why));
            };
            params.tensors.insert(name, Tensor::new(shape, data));
        }
    }
    match missing.into_keys().next() {
        Some(name) => Err(wrong(folder, &format!("no file holds `{name}`"))),
        None => Ok((config, params)),
    }
}

/// The files of weights: one, or those that the index names.
fn files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let path = folder.join(INDEX);
    if folder.join(WEIGHTS).exists() || !path.exists() {
        return Ok(vec![folder.join(WEIGHTS)]);
    }
    let index: Index = serde_json::from_str(&text(&path, MAX_INDEX_BYTES)?).map_err(|e| wrong(&path, &e))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    let plain = |name: &&String| Path::new(name).file_name().is_some_and(|file| file == name.as_str());
    match names.iter().find(|name| !plain(name)) {
        Some(name) => Err(wrong(&path, &format!("`{name}` is no plain file name"))),
        None => Ok(names.into_iter().map(|name| folder.join(name)).collect()),
    }
}

fn text(path: &Path, limit: u64) -> Result<String, ModelError> {
    if fs::metadata(path)?.len() > limit {
        return Err(wrong(path, &format!("more than {limit} bytes")));
    }
    Ok(fs::read_to_string(path)?)
}
