//! The rules with which a validator begins a run: mechanism, model and dataset put together into one document.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use bistro_core::ids::NetUid;
use bistro_core::rules::{Mechanism, Rules, SHIPPED};
use bistro_core::tokens::Packing;
use bistro_model::LlamaConfig;
use fs_err as fs;

use crate::args::RunArgs;
use crate::workshop::open_pages;

/// The tokenizer of all presets.
const TOKENIZER: &str = "gpt2";

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

/// A model by its preset's name, or from a `config.json`.
pub fn model(name: &str) -> Result<LlamaConfig> {
    if Path::new(name).exists() {
        return LlamaConfig::from_json(&fs::read_to_string(name)?).with_context(|| format!("--model {name}"));
    }
    LlamaConfig::preset(name).with_context(|| format!("--model {name}: neither a preset nor a file"))
}

/// The whole document. Opens the dataset, to pin its index.
pub fn assemble(args: &RunArgs, dataset: &str, netuid: NetUid) -> Result<Rules> {
    let config = model(&args.model)?;
    let sequence_length = args.sequence_length.unwrap_or(config.max_position_embeddings);
    let pages = open_pages(dataset, TOKENIZER, sequence_length, args.rows_per_page)?;
    let rules = Rules {
        version: 1,
        netuid,
        model: serde_json::from_str(&config.to_json())?,
        tokenizer: TOKENIZER.into(),
        sequence_length,
        packing: Packing::Join,
        dataset: pages.index().clone(),
        mechanism: mechanism(&args.rules)?,
    };
    rules.check()?;
    Ok(rules)
}
