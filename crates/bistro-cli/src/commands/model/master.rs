//! The newest master of a run, read by anybody: from the chain and from public buckets, with every check that a miner makes.

use anyhow::{Context as _, Result, bail};
use bistro_model::{LlamaConfig, hf};
use bistro_node::leader;
use bistro_pages::Tokenizer;
use fs_err as fs;

use super::{ExportArgs, folder, tokenizer};
use crate::observer;

pub(super) async fn export(args: &ExportArgs) -> Result<()> {
    let netuid = args.subtensor.subnet();
    let network = args.subtensor.network_or("finney")?;
    let parts = observer::connect(&network, netuid).await?;
    let metagraph = parts.chain.metagraph().await?;
    let Some(leader) = leader::find(&parts, &metagraph).await? else {
        bail!("no validator of subnet {netuid} on {} has published a master", network.name);
    };
    let rules = leader.rules(&parts).await?;
    let config = LlamaConfig::from_json(&rules.model.to_string()).context("the run's model")?;
    let master = leader.master(&parts, &config.spec(), None).await?;
    folder::write(&args.out, &config, &master.params)?;
    match &args.tokenizer {
        None if rules.tokenizer == "gpt2" => tokenizer::write_gpt2(&args.out.out)?,
        None => {
            tracing::warn!(tokenizer = rules.tokenizer, "no tokenizer is written: give the run's own by --tokenizer");
        }
        Some(file) => {
            let given = Tokenizer::from_file(file)?;
            if given.name() != rules.tokenizer {
                bail!("--tokenizer {} is `{}`, the run's is `{}`", file.display(), given.name(), rules.tokenizer);
            }
            fs::copy(file, args.out.out.join(hf::TOKENIZER))?;
        }
    }
    tracing::info!(seq = master.seq, validator = %leader.manifest.hotkey, "the newest master");
    folder::report(&args.out.out, &config, &master.params)
}
