//! New folders, and folders made from others.

use std::path::Path;

use anyhow::{Context as _, Result};
use bistro_core::params::Params;
use bistro_model::hf::{self, ExportOptions};
use bistro_model::{LlamaConfig, init as weights};
use fs_err as fs;

use super::{ImportArgs, InitArgs, OutArgs, print, tokenizer};
use crate::run_rules;

pub(super) fn init(args: &InitArgs) -> Result<()> {
    let config = run_rules::model(&args.model)?;
    let params = weights::weights(&config, args.seed);
    write(&args.out, &config, &params)?;
    if config.vocab_size == tokenizer::GPT2_IDS {
        tokenizer::write_gpt2(&args.out.out)?;
    }
    report(&args.out.out, &config, &params)
}

pub(super) fn import(args: &ImportArgs) -> Result<()> {
    let (config, params) = hf::import(&args.folder).with_context(|| format!("model {}", args.folder.display()))?;
    write(&args.out, &config, &params)?;
    for name in [hf::TOKENIZER, tokenizer::SETTINGS] {
        let (from, to) = (args.folder.join(name), args.out.out.join(name));
        if from.is_file() && !to.exists() {
            fs::copy(from, to)?;
        }
    }
    report(&args.out.out, &config, &params)
}

pub(super) fn write(out: &OutArgs, config: &LlamaConfig, params: &Params) -> Result<()> {
    let options = ExportOptions { stored_as: out.dtype.into(), ..ExportOptions::default() };
    Ok(hf::export_with(&out.out, config, params, options)?)
}

/// The hash is that of the f32 weights in memory: the one of a master.
pub(super) fn report(folder: &Path, config: &LlamaConfig, params: &Params) -> Result<()> {
    let parameters = config.parameters().unwrap_or_default();
    print(&format!("{}: {parameters} parameters, hash {}", folder.display(), params.hash()))
}
