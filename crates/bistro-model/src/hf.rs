//! Model folders as `transformers` reads and writes them: `config.json` and `model.safetensors`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use bistro_core::params::{Params, Tensor};
use fs_err as fs;
use safetensors::tensor::{Dtype, SafeTensors, View};

use crate::config::{LlamaConfig, MAX_CONFIG_BYTES};
use crate::error::ModelError;

/// File of the settings.
pub const CONFIG: &str = "config.json";
/// File of the weights.
pub const WEIGHTS: &str = "model.safetensors";

/// Writes `folder` (made if absent) so that `LlamaForCausalLM.from_pretrained(folder)` loads it. Each file appears whole
/// under its name or not at all; the configuration comes last.
pub fn export(folder: &Path, config: &LlamaConfig, params: &Params) -> Result<(), ModelError> {
    if params.spec() != config.spec() {
        return Err(ModelError::Weights("the tensors are not those of the configuration".into()));
    }
    fs::create_dir_all(folder)?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let views = params.tensors.iter().map(|(name, tensor)| (name, Bytes(tensor)));
    replace(&folder.join(WEIGHTS), |file| {
        safetensors::serialize_to_file(views, Some(metadata), file).map_err(|e| wrong(file, &e))
    })?;
    replace(&folder.join(CONFIG), |file| Ok(fs::write(file, config.to_json())?))
}

/// Reads a folder with one `model.safetensors` of f32 or bf16 tensors.
pub fn import(folder: &Path) -> Result<(LlamaConfig, Params), ModelError> {
    let path = folder.join(CONFIG);
    if fs::metadata(&path)?.len() > MAX_CONFIG_BYTES as u64 {
        return Err(ModelError::Config(format!("{} has more than {MAX_CONFIG_BYTES} bytes", path.display())));
    }
    let config = LlamaConfig::from_json(&fs::read_to_string(path)?)?;
    let path = folder.join(WEIGHTS);
    let bytes = fs::read(&path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| wrong(&path, &e))?;
    let mut params = Params::default();
    for (name, shape) in config.spec().tensors {
        let view = file.tensor(&name).map_err(|e| wrong(&path, &e))?;
        if view.shape() != shape {
            return Err(wrong(&path, &format!("`{name}` is {:?}, the configuration says {shape:?}", view.shape())));
        }
        let Some(data) = to_f32(view.dtype(), view.data()) else {
            let why = format!("`{name}` is {:?}: only F32 and BF16 are read", view.dtype());
            return Err(wrong(&path, &why));
        };
        params.tensors.insert(name, Tensor::new(shape, data));
    }
    Ok((config, params))
}

/// Values of little-endian bytes, which safetensors has checked to fill the shape.
fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    match dtype {
        Dtype::F32 => Some(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        // The upper half of an f32.
        Dtype::BF16 => Some(bytes.as_chunks::<2>().0.iter().map(|[a, b]| f32::from_le_bytes([0, 0, *a, *b])).collect()),
        _ => None,
    }
}

/// Writes a file beside `path`, flushes it to the disk, and puts it in place of `path`.
fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<(), ModelError>) -> Result<(), ModelError> {
    let partial = path.with_added_extension("partial");
    write(&partial)?;
    fs::File::open(&partial)?.sync_all()?;
    Ok(fs::rename(&partial, path)?)
}

fn wrong(file: &Path, why: &dyn std::fmt::Display) -> ModelError {
    ModelError::File { file: file.display().to_string(), why: why.to_string() }
}

/// A tensor as little-endian bytes, made when its turn comes, so that no second copy of the model is held.
struct Bytes<'a>(&'a Tensor);

impl View for Bytes<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.0.data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        self.0.data.len() * 4
    }
}
