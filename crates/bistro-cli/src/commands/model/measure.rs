//! The mean loss of a model on a text.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use bistro_core::tokens::TokenBatch;
use bistro_model::{LlamaConfig, LlamaLearner, TrainOptions, device, hf, memory};
use bistro_pages::Tokenizer;
use fs_err as fs;

use super::{DeviceArgs, EvalArgs, print, tokenizer};

/// Default of `--seq`, if the model's own length is not less.
const SEQ: usize = 2048;

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let mut learner =
        open(&args.on, |config| args.seq.map_or(SEQ.min(config.max_position_embeddings), |seq| seq as usize))?;
    let tokenizer = tokenizer::of(&args.on.model)?;
    let ids = ids(&args.text, &tokenizer, args.max_tokens.unwrap_or(usize::MAX))?;
    if ids.len() < 2 {
        bail!("{}: {} tokens, and it takes two to predict one", args.text.display(), ids.len());
    }
    let seq = args.seq.map_or(SEQ.min(learner.config().max_position_embeddings), |seq| seq as usize);
    let start = Instant::now();
    let (mut sum, tokens) = (0.0, ids.len() - 1);
    for batch in batches(&ids, seq) {
        sum += learner.evaluate(&batch)? * batch.targets() as f64;
    }
    let loss = sum / tokens as f64;
    let (perplexity, rate) = (loss.exp(), tokens as f64 / start.elapsed().as_secs_f64());
    if args.json {
        let all = serde_json::json!({"loss": loss, "perplexity": perplexity, "tokens": tokens, "tokens_per_s": rate});
        return print(&all.to_string());
    }
    print(&format!("loss {loss:.4} nats a token, perplexity {perplexity:.2}, {tokens} tokens, {rate:.0} tokens/s"))
}

/// The model of a folder, ready to evaluate sequences of `seq(config)` tokens.
pub(super) fn open(on: &DeviceArgs, seq: impl Fn(&LlamaConfig) -> usize) -> Result<LlamaLearner> {
    let (config, params) = hf::import(&on.model).with_context(|| format!("model {}", on.model.display()))?;
    let device = device::parse(&on.device)?;
    let mut options = TrainOptions { trains: false, threads: on.threads, ..TrainOptions::default() };
    let plan = memory::plan(&config, &options, device, seq(&config))?;
    tracing::debug!(%plan, "memory");
    options.micro_batch = plan.micro_batch;
    Ok(LlamaLearner::from_params(config, &params, device, options)?)
}

/// The text's tokens, files in the order of their names with end-of-text between, at most `most`.
fn ids(path: &Path, tokenizer: &Tokenizer, most: usize) -> Result<Vec<u32>> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path()));
        files = entries.collect::<Result<Vec<PathBuf>>>()?.into_iter().filter(|path| path.is_file()).collect();
        files.sort();
    }
    let mut ids = Vec::new();
    for (i, file) in files.iter().enumerate() {
        if ids.len() >= most {
            break;
        }
        if i > 0 {
            ids.push(tokenizer.end_of_text());
        }
        ids.extend(tokenizer.encode(&fs::read_to_string(file)?)?);
    }
    ids.truncate(most);
    Ok(ids)
}

/// Every token but the first is predicted once, from up to `seq` before it: whole sequences together, then the rest.
fn batches(ids: &[u32], seq: usize) -> Vec<TokenBatch> {
    let whole = (ids.len() - 1) / seq;
    let rows = (0..whole).flat_map(|row| ids[row * seq..=(row + 1) * seq].iter().copied()).collect();
    let rest = &ids[whole * seq..];
    let all = [TokenBatch { seq: seq + 1, ids: rows }, TokenBatch { seq: rest.len(), ids: rest.to_vec() }];
    all.into_iter().filter(|batch| !batch.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_but_the_first_is_predicted_once() {
        for (len, seq) in [(2, 1), (9, 8), (10, 8), (17, 8), (5, 8), (24, 8)] {
            let ids: Vec<u32> = (0..len).collect();
            let mut predicted = Vec::new();
            for batch in batches(&ids, seq) {
                for row in batch.ids.chunks(batch.seq) {
                    assert!(row.len() - 1 <= seq);
                    predicted.extend_from_slice(&row[1..]);
                }
            }
            assert_eq!(predicted, ids[1..], "{len} tokens by {seq}");
        }
    }
}
