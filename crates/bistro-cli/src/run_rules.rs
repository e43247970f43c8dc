//! The rules with which a validator begins a run: mechanism, model and dataset put together into one document.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use bistro_core::ids::NetUid;
use bistro_core::rules::{Mechanism, Rules, SHIPPED};
use bistro_model::{LlamaConfig, hf};
use fs_err as fs;

use crate::args::RunArgs;
use crate::data::{DataArgs, PageShape};

/// A mechanism by its shipped name, or from a file.
pub fn mechanism(name: &str) -> Result<Mechanism> {
    if let Some((_, text)) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
        return Ok(Mechanism::from_toml(text)?);
    }
    if !Path::new(name).exists() {
        let names: Vec<_> = SHIPPED.iter().map(|(shipped, _)| *shipped).collect();
        bail!("--rules {name}: neither one of {} nor a file", names.join(", "));
    }
    Mechanism::from_toml(&fs::read_to_string(name)?).with_context(|| format!("--rules {name}"))
}

/// The folder of weights that `--model` names, if it does.
pub fn checkpoint(name: &str) -> Option<PathBuf> {
    Some(PathBuf::from(name)).filter(|folder| folder.join(hf::CONFIG).is_file())
}

/// A model by its preset's name, or from a `config.json` or the folder it is in.
pub fn model(name: &str) -> Result<LlamaConfig> {
    if let Some(folder) = checkpoint(name) {
        return hf::config(&folder).with_context(|| format!("--model {name}"));
    }
    if Path::new(name).exists() {
        return LlamaConfig::from_json(&fs::read_to_string(name)?).with_context(|| format!("--model {name}"));
    }
    LlamaConfig::preset(name).with_context(|| format!("--model {name}: neither a preset nor a file"))
}

/// The whole document. Opens the dataset, to pin its index.
pub fn assemble(args: &RunArgs, data: &DataArgs, netuid: NetUid) -> Result<Rules> {
    let config = model(&args.model)?;
    let sequence_length = args.sequence_length.unwrap_or(config.max_position_embeddings);
    let packing = args.packing.into();
    let (rows_per_page, row_bytes) = (args.rows_per_page, args.row_bytes);
    let pages = data.open(&PageShape { rows_per_page, row_bytes, packing, seq: sequence_length }, None)?;
    let rules = Rules {
        version: 1,
        netuid,
        model: serde_json::from_str(&config.to_json())?,
        tokenizer: data.tokenizer_name()?,
        sequence_length,
        packing,
        dataset: pages.index().clone(),
        mechanism: mechanism(&args.rules)?,
    };
    rules.check()?;
    Ok(rules)
}
