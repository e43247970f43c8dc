//! An index made from its source, and held against it.

use bistro_core::pages::Config;

use crate::blobs;
use crate::error::PagesError;
use crate::hf;
use crate::index_file::{IndexFile, IndexedConfig};
use crate::open::{DatasetName, SourceOptions};
use crate::parquet::scan;
use crate::web::Web;

/// What of a dataset is pinned.
#[derive(Clone, Debug, Default)]
pub struct SurveyOptions {
    /// Configs whose names start so; all if empty.
    pub config_prefix: String,
    /// This split only; all if absent.
    pub split: Option<String>,
    /// The dataset's name in the index, where the source does not tell it.
    pub name: Option<String>,
}

/// Reads row counts, and for `parquet:` every file's footer, from the source as it is now.
pub async fn survey(dataset: &str, options: &SourceOptions, what: &SurveyOptions) -> Result<IndexFile, PagesError> {
    let name = DatasetName::parse(dataset)?;
    let called = what.name.clone().or_else(|| name.on_hub()).unwrap_or_else(|| dataset.to_owned());
    let column = &options.corpus.column;
    let keep = |config: &str| config.starts_with(&what.config_prefix);
    let mut file = match &name {
        DatasetName::Folder(path) => {
            let place = path.display().to_string();
            let blobs = blobs::open(&place, &options.web, &options.s3)?;
            scan::scan(blobs.as_ref(), &called, column, keep).await?
        }
        DatasetName::Parquet(place) => {
            let blobs = blobs::open(place, &options.web, &options.s3)?;
            scan::scan(blobs.as_ref(), &called, column, keep).await?
        }
        DatasetName::Hub(hub) => {
            let sizes = hf::sizes(&Web::new(options.web.clone())?, &options.hf_server, hub).await?;
            let pin = |c: Config| IndexedConfig { name: c.name, split: c.split, rows: c.rows, files: vec![] };
            // Many datasets have all their rows in `default` once more.
            let twice = |c: &Config| c.name == "default" && sizes.iter().any(|other| other.name != "default");
            let kept = sizes.iter().filter(|config| keep(&config.name) && !twice(config));
            let configs = kept.cloned().map(pin).collect();
            IndexFile::new(&called, column, configs)
        }
    };
    if let Some(split) = &what.split {
        file.configs.retain(|config| config.split == *split);
    }
    Ok(IndexFile::new(&file.dataset, &file.column, file.configs))
}

/// What has changed since `pinned` was made, in words; empty if nothing has. A dataset's configs that the index leaves out
/// are no change.
pub async fn verify(dataset: &str, options: &SourceOptions, pinned: &IndexFile) -> Result<Vec<String>, PagesError> {
    let what = SurveyOptions { name: Some(pinned.dataset.clone()), ..SurveyOptions::default() };
    let mut options = options.clone();
    options.corpus.column.clone_from(&pinned.column);
    let mut now = survey(dataset, &options, &what).await?;
    let known =
        |config: &IndexedConfig| pinned.configs.iter().any(|c| c.name == config.name && c.split == config.split);
    now.configs.retain(known);
    Ok(pinned.differences(&now, 20))
}
