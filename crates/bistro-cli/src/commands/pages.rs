//! Prints the pages of a miner at a block.

use std::io::Write as _;

use anyhow::Result;
use bistro_core::ids::{Block, Uid};
use bistro_core::pages::PageId;
use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::data::DataArgs;
use crate::run_rules;

/// Flags of `pages`.
#[derive(Args, Clone, Debug)]
pub struct PagesArgs {
    #[command(flatten)]
    data: DataArgs,
    /// The block.
    #[arg(long)]
    block: u64,
    /// The miner.
    #[arg(long)]
    uid: u16,
    /// The mechanism, whose window counts: `recommended`, `readme`, or a file like those of `config/rules/`.
    #[arg(long, env = "BISTRO_RULES", default_value = "recommended", value_name = "NAME|FILE")]
    rules: String,
    /// Rows of a page, as the run's rules have it.
    #[arg(long, alias = "rows_per_page", default_value_t = 8, value_name = "N")]
    rows_per_page: u64,
    /// One JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

/// Runs the command. Only a folder is read; no network is asked.
#[allow(clippy::unused_async, reason = "the others wait")]
pub async fn run(args: &PagesArgs, _stop: CancellationToken) -> Result<()> {
    let window = run_rules::mechanism(&args.rules)?.window;
    let source = bistro_pages::open::source(&args.data.dataset, &args.data.source_options(args.rows_per_page, None)?)?;
    let index = source.index();
    index.check()?;
    let (block, uid) = (Block(args.block), Uid(args.uid));
    let (trained, judged) = (window.trained(index, block, uid), window.judged(index, block, uid));
    let mut out = std::io::stdout().lock();
    if args.json {
        let all = serde_json::json!({
            "dataset": index.dataset, "digest": index.digest(), "block": block, "uid": uid,
            "trained": trained, "judged": judged,
        });
        writeln!(out, "{all}")?;
        return Ok(());
    }
    writeln!(out, "dataset {} digest {} rows per page {}", index.dataset, index.digest(), index.rows_per_page)?;
    for (what, pages) in [("the miner trains on", &trained), ("the validators judge on", &judged)] {
        writeln!(out, "at block {} {what} {} pages of uid {}:", args.block, pages.len(), args.uid)?;
        for PageId { config, split, row } in pages {
            writeln!(out, "  {config} {split} {row}")?;
        }
    }
    Ok(())
}
