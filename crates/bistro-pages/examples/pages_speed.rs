//! Our side of `scripts/bench/pages.sh`: one line of JSON on pages through fetch, parse, tokenise and pack, and on the tokenizer
//! alone. One thread computes; the script gives it one core.
//!
//! Arguments: folder of parquet files, the pages' first rows (a file, one a line), rows of a page, tokens of a sequence, where
//! to write the ids of all pages (u32, little-endian).

use std::error::Error;
use std::io::Write as _;
use std::time::Instant;

use bistro_core::pages::PageId;
use bistro_core::ports::Pages as _;
use bistro_core::tokens::Packing;
use bistro_pages::{CorpusOptions, PageOptions, Recipe, SourceOptions, Tokenizer, open};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, firsts, rows_per_page, seq, out] = arguments.as_slice() else {
        return Err("usage: FOLDER FIRST_ROWS ROWS_PER_PAGE SEQ OUT".into());
    };
    let rows_per_page: u64 = rows_per_page.parse()?;
    let tokenizer = Tokenizer::gpt2();
    tokenizer.encode("loads all tables")?;
    let corpus = CorpusOptions { rows_per_page, ..CorpusOptions::default() };
    let source = SourceOptions { corpus, ..SourceOptions::default() };
    let recipe = Recipe { tokenizer: tokenizer.clone(), packing: Packing::Join, seq: seq.parse()? };
    let options = PageOptions { source: source.clone(), memory_bytes: 0, ..PageOptions::new(recipe) };
    let name = format!("dir:{folder}");
    let pages = open(&name, &options)?;
    let config = pages.index().configs.first().ok_or("no config")?.clone();
    let id = |row| PageId { config: config.name.clone(), split: config.split.clone(), row };
    let firsts: Vec<u64> = std::fs::read_to_string(firsts)?.lines().map(str::parse).collect::<Result<_, _>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build()?;

    let mut ids = Vec::new();
    let started = Instant::now();
    for first in &firsts {
        ids.extend(runtime.block_on(pages.page(&id(*first)))?.ids);
    }
    let pages_seconds = started.elapsed().as_secs_f64();
    std::fs::write(out, ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>())?;

    let rows = bistro_pages::open::source(&name, &source)?;
    let mut texts = Vec::new();
    for first in &firsts {
        texts.extend(runtime.block_on(rows.rows(&id(*first)))?);
    }
    let started = Instant::now();
    let tokens: usize = texts.iter().map(|text| tokenizer.encode(text).map(|ids| ids.len())).sum::<Result<_, _>>()?;
    let tokenize_seconds = started.elapsed().as_secs_f64();
    let bytes: usize = texts.iter().map(String::len).sum();
    writeln!(
        std::io::stdout(),
        "{{\"pages\":{},\"pages_seconds\":{pages_seconds},\"packed\":{},\"bytes\":{bytes},\"tokens\":{tokens},\"tokenize_seconds\":{tokenize_seconds}}}",
        firsts.len(),
        ids.len()
    )?;
    Ok(())
}
