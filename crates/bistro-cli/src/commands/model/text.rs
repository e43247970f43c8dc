//! Prompts to text.

use std::io::Write as _;

use anyhow::Result;
use bistro_model::sample::{self, Sampling};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

use super::{SampleArgs, measure, tokenizer};

pub(super) fn sample(args: &SampleArgs) -> Result<()> {
    let tokenizer = tokenizer::of(&args.on.model)?;
    let words = tokenizer::Words::of(&args.on.model)?;
    let learner = measure::open(&args.on, |config| config.max_position_embeddings.min(2048))?;
    let end = tokenizer.end_of_text();
    let mut ids = tokenizer.encode(&args.prompt)?;
    let mut begun = words.text(&ids)?;
    if ids.is_empty() {
        ids.push(end); // a new document
    }
    let mut rng = ChaCha20Rng::seed_from_u64(args.seed.unwrap_or_else(rand::random));
    let sampling = Sampling { temperature: args.temperature, top_p: args.top_p };
    let mut out = std::io::stdout();
    write!(out, "{begun}")?;
    let first = usize::from(begun.is_empty());
    for _ in 0..args.tokens {
        let id = sample::next(learner.llama(), &ids, sampling, rng.random())?;
        if id == end {
            break;
        }
        ids.push(id);
        // Letters may be cut between tokens: only what is whole is written.
        let text = words.text(&ids[first..])?;
        if let Some(new) = text.strip_prefix(&begun).filter(|new| !new.ends_with(char::REPLACEMENT_CHARACTER)) {
            write!(out, "{new}")?;
            out.flush()?;
            begun = text;
        }
    }
    Ok(writeln!(out)?)
}
