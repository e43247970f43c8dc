//! From a model to a folder that `LlamaForCausalLM.from_pretrained` loads.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use bistro_core::params::{Params, Tensor};
use fs_err as fs;
use safetensors::tensor::{Dtype, View};

use super::{CONFIG, INDEX, StoredAs, WEIGHTS, wrong};
use crate::config::LlamaConfig;
use crate::error::ModelError;

/// How a model is stored.
#[derive(Clone, Copy, Debug)]
pub struct ExportOptions {
    /// As what numbers.
    pub stored_as: StoredAs,
    /// A model of more bytes is cut into files of at most this (a larger tensor has a file of its own).
    pub file_bytes: u64,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { stored_as: StoredAs::F32, file_bytes: 5_000_000_000 }
    }
}

/// Writes `folder` (made if absent) in f32, one file of weights up to 5 GB.
pub fn export(folder: &Path, config: &LlamaConfig, params: &Params) -> Result<(), ModelError> {
    export_with(folder, config, params, ExportOptions::default())
}

/// Writes `folder` (made if absent). Each file appears whole under its name or not at all; the configuration comes last.
pub fn export_with(
    folder: &Path,
    config: &LlamaConfig,
    params: &Params,
    options: ExportOptions,
) -> Result<(), ModelError> {
    if params.spec() != config.spec() {
        return Err(ModelError::Weights("the tensors are not those of the configuration".into()));
    }
    fs::create_dir_all(folder)?;
    let files = cut(params, options);
    let count = files.len();
    let name = |i: usize| match count {
        1 => WEIGHTS.to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", i + 1),
    };
    for (i, file) in files.iter().enumerate() {
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let views = file.iter().map(|(name, tensor)| (*name, Bytes(tensor, options.stored_as)));
        replace(&folder.join(name(i)), |path| {
            safetensors::serialize_to_file(views, Some(metadata), path).map_err(|e| wrong(path, &e))
        })?;
    }
    if count > 1 {
        let names = files.iter().enumerate().flat_map(|(i, file)| file.iter().map(move |(tensor, _)| (*tensor, i)));
        let map: BTreeMap<&String, String> = names.map(|(tensor, i)| (tensor, name(i))).collect();
        let bytes = params.spec().numel() * options.stored_as.bytes();
        let index = serde_json::json!({"metadata": {"total_size": bytes}, "weight_map": map});
        replace(&folder.join(INDEX), |path| Ok(fs::write(path, format!("{index:#}\n"))?))?;
    }
    let mut config = config.clone();
    config.rest.insert("torch_dtype".into(), options.stored_as.name().into());
    replace(&folder.join(CONFIG), |path| Ok(fs::write(path, config.to_json())?))
}

/// The tensors of each file, in name order.
fn cut(params: &Params, options: ExportOptions) -> Vec<Vec<(&String, &Tensor)>> {
    let (mut files, mut size) = (vec![Vec::new()], 0);
    for (name, tensor) in &params.tensors {
        let bytes = (tensor.data.len() * options.stored_as.bytes()) as u64;
        if size > 0 && size + bytes > options.file_bytes {
            files.push(Vec::new());
            size = 0;
        }
        size += bytes;
        if let Some(file) = files.last_mut() {
            file.push((name, tensor));
        }
    }
    files
}

/// Writes a file beside `path`, flushes it to the disk, and puts it in place of `path`.
fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<(), ModelError>) -> Result<(), ModelError> {
    let partial = path.with_added_extension("partial");
    write(&partial)?;
    fs::File::open(&partial)?.sync_all()?;
    Ok(fs::rename(&partial, path)?)
}

/// A tensor as bytes, made when its turn comes, so that no second copy of the model is held.
struct Bytes<'a>(&'a Tensor, StoredAs);

impl View for Bytes<'_> {
    fn dtype(&self) -> Dtype {
        self.1.dtype()
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.1.encode(&self.0.data).into()
    }

    fn data_len(&self) -> usize {
        self.0.data.len() * self.1.bytes()
    }
}
