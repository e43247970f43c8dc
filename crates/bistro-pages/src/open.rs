//! A dataset by its name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bistro_core::ids::Hash;
use bistro_core::pages::DatasetIndex;
use futures::executor::block_on;

use crate::blobs::{self, Blobs, S3Options, file::FileBlobs};
use crate::corpus::{Corpus, CorpusOptions};
use crate::disk::DiskCache;
use crate::error::PagesError;
use crate::folder::{self, FolderKind};
use crate::hf::{self, HfRows};
use crate::index_file::IndexFile;
use crate::pages::{Recipe, TokenPages};
use crate::parquet::{ParquetRows, scan};
use crate::source::Source;
use crate::web::{Web, WebOptions};

/// Where a dataset is and how it is read.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// Rows of a page, rows of a text, and the column of text.
    pub corpus: CorpusOptions,
    /// What pins a dataset that is not a folder; the index that ships with the programs if absent.
    pub index: Option<IndexFile>,
    /// The index that the run's rules hold: enough for `hf:`, which needs no files.
    pub agreed: Option<DatasetIndex>,
    /// The datasets-server.
    pub hf_server: String,
    /// Requests over HTTPS.
    pub web: WebOptions,
    /// Buckets.
    pub s3: S3Options,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            corpus: CorpusOptions::default(),
            index: None,
            agreed: None,
            hf_server: hf::SERVER.into(),
            web: WebOptions::default(),
            s3: S3Options::default(),
        }
    }
}

/// A dataset's name, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatasetName {
    /// `dir:PATH`
    Folder(PathBuf),
    /// `hf:OWNER/NAME`
    Hub(String),
    /// `parquet:PLACE`
    Parquet(String),
}

impl DatasetName {
    /// Reads a name.
    pub fn parse(name: &str) -> Result<Self, PagesError> {
        match name.split_once(':') {
            Some(("dir", path)) if !path.is_empty() => Ok(Self::Folder(path.into())),
            Some(("hf", dataset)) if dataset.split('/').count() == 2 => Ok(Self::Hub(dataset.into())),
            Some(("parquet", place)) if !place.is_empty() => Ok(Self::Parquet(place.into())),
            _ => Err(PagesError::NoScheme(name.into())),
        }
    }

    /// The dataset's name on the hub, where this one tells it.
    pub fn on_hub(&self) -> Option<String> {
        match self {
            Self::Folder(_) => None,
            Self::Hub(dataset) => Some(dataset.clone()),
            Self::Parquet(place) => {
                let mut parts = place.split_once("/datasets/")?.1.split('/');
                let dataset = format!("{}/{}", parts.next()?, parts.next()?);
                (parts.next() == Some("resolve")).then_some(dataset)
            }
        }
    }

    /// Whether pages come over a network, so that keeping them on disk saves something.
    pub fn is_remote(&self) -> bool {
        match self {
            Self::Folder(_) => false,
            Self::Hub(_) => true,
            Self::Parquet(place) => place.starts_with("http") || place.starts_with("s3:"),
        }
    }
}

/// Opens a dataset. Reads all of a folder's text, and blocks meanwhile; asks no network.
pub fn source(dataset: &str, options: &SourceOptions) -> Result<Arc<dyn Source>, PagesError> {
    let name = DatasetName::parse(dataset)?;
    let rows_per_page = options.corpus.rows_per_page;
    let shipped = || name.on_hub().and_then(|dataset| IndexFile::shipped(&dataset)).transpose();
    match &name {
        DatasetName::Folder(path) => folder(path, &options.corpus),
        DatasetName::Hub(hub) => {
            let file = options.index.clone().map_or_else(shipped, |file| Ok(Some(file)))?;
            let column = file.as_ref().map_or(options.corpus.column.clone(), |file| file.column.clone());
            let index = file.map(|file| file.index(rows_per_page)).or_else(|| options.agreed.clone());
            let index =
                index.filter(|index| index.dataset == *hub).ok_or_else(|| PagesError::NoIndex(dataset.into()))?;
            Ok(Arc::new(HfRows::new(Web::new(options.web.clone())?, &options.hf_server, index, &column)?))
        }
        DatasetName::Parquet(place) => {
            let file = options.index.clone().map_or_else(shipped, |file| Ok(Some(file)))?;
            let file = file.ok_or_else(|| PagesError::NoIndex(dataset.into()))?;
            let blobs = blobs::open(place, &options.web, &options.s3)?;
            Ok(Arc::new(ParquetRows::new(blobs, file, rows_per_page)?))
        }
    }
}

/// A folder, whatever it holds.
fn folder(path: &Path, options: &CorpusOptions) -> Result<Arc<dyn Source>, PagesError> {
    match folder::files(path)?.0 {
        FolderKind::Text | FolderKind::JsonLines => Ok(Arc::new(Corpus::open(path, options)?)),
        FolderKind::Parquet => {
            let blobs = Arc::new(FileBlobs::new(path.into())?);
            // Files on a disk: nothing that this waits for needs a runtime.
            let file = block_on(scan::scan(blobs.as_ref(), "", &options.column, |_| true))?;
            let content = block_on(digest(blobs.as_ref(), &file))?;
            let index = DatasetIndex {
                dataset: format!("dir:{}", content.hash16()),
                content: Some(content),
                ..file.index(options.rows_per_page)
            };
            index.check().map_err(|source| PagesError::TooSmall { folder: path.into(), source })?;
            Ok(Arc::new(ParquetRows::with_index(blobs, file, index)))
        }
    }
}

/// BLAKE3 over the files' index and the last bytes of each, which tell where everything in it lies and how long it is:
/// hashing all of a large dataset would take hours.
async fn digest(blobs: &dyn Blobs, file: &IndexFile) -> Result<Hash, PagesError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"bistro-parquet/1");
    hasher.update(&file.digest.0);
    for file in file.configs.iter().flat_map(|config| &config.files) {
        let start = file.bytes().saturating_sub(64 << 10);
        hasher.update(&blobs.range(file.path(), start..file.bytes(), file.bytes()).await?);
    }
    Ok(Hash(*hasher.finalize().as_bytes()))
}

/// How a dataset becomes pages.
#[derive(Clone, Debug)]
pub struct PageOptions {
    /// Where it is.
    pub source: SourceOptions,
    /// How rows become tokens.
    pub recipe: Recipe,
    /// Bytes of packed pages that stay in memory.
    pub memory_bytes: usize,
    /// Folder and bytes of packed pages of remote datasets that stay on disk.
    pub disk: Option<(PathBuf, u64)>,
}

impl PageOptions {
    /// The usual options: 64 MiB of memory hold more pages than a window has.
    pub fn new(recipe: Recipe) -> Self {
        Self { source: SourceOptions::default(), recipe, memory_bytes: 64 << 20, disk: None }
    }
}

/// Opens a dataset as pages. Blocks as [`source`] does.
pub fn open(dataset: &str, options: &PageOptions) -> Result<Arc<TokenPages>, PagesError> {
    let source = source(dataset, &options.source)?;
    let remote = DatasetName::parse(dataset)?.is_remote();
    let disk = options.disk.as_ref().filter(|_| remote);
    let disk = disk.map(|(folder, bytes)| DiskCache::open(folder, *bytes)).transpose()?;
    Ok(Arc::new(TokenPages::new(source, options.recipe.clone(), options.memory_bytes, disk)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood() {
        let on_hub = |name: &str| DatasetName::parse(name).unwrap().on_hub();
        let hub = "parquet:https://huggingface.co/datasets/HuggingFaceFW/fineweb-edu-score-2/resolve/main";
        assert_eq!(on_hub(hub).as_deref(), Some("HuggingFaceFW/fineweb-edu-score-2"));
        assert_eq!(on_hub("hf:a/b").as_deref(), Some("a/b"));
        assert_eq!(on_hub("parquet:s3://bucket/datasets/a/b"), None);
        assert_eq!(DatasetName::parse("dir:corpus").unwrap(), DatasetName::Folder("corpus".into()));
        for bad in ["", "corpus", "dir:", "hf:", "hf:a", "hf:a/b/c", "parquet:", "https://x"] {
            assert!(matches!(DatasetName::parse(bad), Err(PagesError::NoScheme(_))), "{bad}");
        }
    }

    #[test]
    fn the_shipped_index_is_opened_by_name_without_a_network() {
        let found = source("hf:HuggingFaceFW/fineweb-edu-score-2", &SourceOptions::default()).unwrap();
        assert_eq!(found.index().configs.len(), 104);
        let other = source("hf:somebody/else", &SourceOptions::default());
        assert!(matches!(other, Err(PagesError::NoIndex(_))));
        let hub = "parquet:https://huggingface.co/datasets/HuggingFaceFW/fineweb-edu-score-2/resolve/main";
        let error = source(hub, &SourceOptions::default()).err().unwrap();
        assert!(matches!(error, PagesError::NoFiles { .. }) && error.to_string().contains(hub), "{error}");
    }
}
