//! An index of parquet files, from their footers.

use futures::{StreamExt as _, TryStreamExt as _};

use super::footer::Footer;
use crate::blobs::Blobs;
use crate::error::PagesError;
use crate::fault::Fault;
use crate::index_file::{IndexFile, IndexedConfig, IndexedFile};

/// Footers that are read at a time.
const AT_ONCE: usize = 8;

/// Splits that a path can name.
const SPLITS: [&str; 5] = ["train", "test", "validation", "dev", "partial-train"];

/// Pins all files of `blobs` that `keep` lets pass, by config name.
pub async fn scan(
    blobs: &dyn Blobs,
    dataset: &str,
    column: &str,
    keep: impl Fn(&str) -> bool,
) -> Result<IndexFile, PagesError> {
    let paths: Vec<_> = blobs.list().await?.into_iter().filter(|path| keep(&place_of(path).0)).collect();
    if paths.is_empty() {
        return Err(PagesError::page(Fault::NotFound, blobs.place(""), "no parquet file lies there"));
    }
    let files: Vec<IndexedFile> =
        futures::stream::iter(paths).map(|path| pin(blobs, path, column)).buffered(AT_ONCE).try_collect().await?;
    let mut configs: Vec<IndexedConfig> = Vec::new();
    for file in files {
        let ((name, split), rows) = (place_of(file.path()), file.rows().unwrap_or(0));
        match configs.iter_mut().find(|config| config.name == name && config.split == split) {
            Some(config) => {
                config.rows += rows;
                config.files.push(file);
            }
            None => configs.push(IndexedConfig { name, split, rows, files: vec![file] }),
        }
    }
    Ok(IndexFile::new(dataset, column, configs))
}

async fn pin(blobs: &dyn Blobs, path: String, column: &str) -> Result<IndexedFile, PagesError> {
    let bytes = blobs.len(&path).await?;
    let footer = Footer::read(blobs, &path, bytes, column).await?;
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for rows in footer.groups() {
        match runs.last_mut() {
            Some((same, times)) if *same == rows => *times += 1,
            _ => runs.push((rows, 1)),
        }
    }
    Ok(IndexedFile(path, bytes, runs))
}

/// Config and split of a path, as Hugging Face lays files out: `data/CONFIG/SPLIT-00000-of-00014.parquet`,
/// `CONFIG/SPLIT/0000.parquet`, or `SPLIT.parquet` of the config `default`.
fn place_of(path: &str) -> (String, String) {
    let mut folders: Vec<&str> = path.split('/').collect();
    let name = folders.pop().unwrap_or_default();
    let stem = name.split(['-', '.', '_']).next().unwrap_or_default();
    let split = match folders.last() {
        Some(last) if SPLITS.contains(last) => folders.pop().unwrap_or_default(),
        _ if SPLITS.contains(&stem) => stem,
        _ => "train",
    };
    let split = split.strip_prefix("partial-").unwrap_or(split);
    if folders.first() == Some(&"data") {
        folders.remove(0);
    }
    let config = if folders.is_empty() { "default".into() } else { folders.join("/") };
    (config, split.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_and_split_stand_in_the_path() {
        for (path, config, split) in [
            ("data/CC-MAIN-2013-20/train-00000-of-00014.parquet", "CC-MAIN-2013-20", "train"),
            ("CC-MAIN-2013-20/partial-train/0003.parquet", "CC-MAIN-2013-20", "train"),
            ("sample/10BT/000_00000.parquet", "sample/10BT", "train"),
            ("data/test-00000-of-00001.parquet", "default", "test"),
            ("validation.parquet", "default", "validation"),
            ("x.parquet", "default", "train"),
        ] {
            assert_eq!(place_of(path), (config.into(), split.into()), "{path}");
        }
    }
}
