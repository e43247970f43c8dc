//! Dataset and tokenizer: D15 and D16.

use std::path::Path;

use bistro_core::pages::PageId;
use bistro_core::rules::Rules;
use bistro_core::tokens::Packing;
use bistro_pages::{DatasetName, Tokenizer};

use super::Outcome;
use super::subject::Subject;
use crate::data::PageShape;
use crate::exit;

/// D15, quickly: that there is something to open.
pub(super) fn dataset_is_there(subject: &Subject) -> Outcome {
    let data = &subject.common.dataset;
    let bad = |why: String| Outcome::fail(why, format!("{} --dataset dir:FOLDER", subject.program()));
    let options = match data.source_options(1, None) {
        Ok(options) => options,
        Err(error) => return bad(error.to_string()),
    };
    match DatasetName::parse(&data.dataset) {
        Err(error) => bad(error.to_string()),
        Ok(DatasetName::Folder(folder)) if !folder.is_dir() => {
            let hint = if folder == Path::new("corpus/sotu") { ": ./scripts/setup.sh fetches it" } else { "" };
            bad(format!("--dataset {}: there is no folder {}{hint}", data.dataset, folder.display()))
        }
        Ok(name) => {
            let pinned = options.index.is_some() || !name.is_remote();
            Outcome::pass(format!(
                "{}{}",
                data.dataset,
                if pinned { "" } else { ", with its shipped index or the run's" }
            ))
        }
    }
}

/// D15: the dataset is opened as the run has it, and one page is read.
pub(super) async fn dataset(subject: &Subject, rules: Option<&Rules>) -> Outcome {
    let there = dataset_is_there(subject);
    if there.verdict == super::Verdict::Fail {
        return there;
    }
    let (data, rules) = (subject.common.dataset.clone(), rules.cloned());
    let opening = tokio::task::spawn_blocking(move || match &rules {
        Some(rules) => data.open_for(rules),
        None => data.open(&PageShape { rows_per_page: 1, row_bytes: None, packing: Packing::Join, seq: 128 }, None),
    });
    let mend = format!("{} --dataset …, as the run's validator has it", subject.program());
    let pages = match opening.await {
        Ok(Ok(pages)) => pages,
        Ok(Err(error)) => return Outcome::fail(error.message.clone(), mend).ending(exit::of_port(&error)),
        Err(error) => return Outcome::fail(format!("opening the dataset ended: {error}"), mend),
    };
    let index = pages.index();
    let rows: u64 = index.configs.iter().map(|config| config.rows).sum();
    let Some(first) = index.configs.first() else { return Outcome::fail("the dataset is empty", mend) };
    let page = PageId { config: first.name.clone(), split: first.split.clone(), row: 0 };
    match pages.page(&page).await {
        Ok(_) => Outcome::pass(format!("{}: {rows} rows, and its first page reads", index.dataset)),
        Err(error) => Outcome::fail(error.message.clone(), "see docs/datasets.md").ending(exit::of_port(&error)),
    }
}

/// D16.
pub(super) fn tokenizer(subject: &Subject, rules: Option<&Rules>) -> Outcome {
    let name = &subject.common.dataset.tokenizer;
    let mend = format!("{} --tokenizer gpt2|FILE", subject.program());
    let tokenizer = match Tokenizer::find(name) {
        Ok(tokenizer) => tokenizer,
        Err(error) => return Outcome::fail(error.to_string(), mend),
    };
    if let Some(rules) = rules.filter(|rules| rules.tokenizer != tokenizer.name()) {
        let says = format!("--tokenizer {name} is `{}`, and the run's is `{}`", tokenizer.name(), rules.tokenizer);
        return Outcome::fail(says, mend);
    }
    let (ids, vocabulary) = (tokenizer.vocab_size(), subject.model.as_ref().map(|(config, _)| config.vocab_size));
    if let Some(vocabulary) = vocabulary.filter(|vocabulary| *vocabulary < ids) {
        return Outcome::fail(format!("{name} has {ids} ids, and the model knows {vocabulary}"), mend);
    }
    Outcome::pass(format!("{name}: {ids} ids"))
}
