//! The operator's dataset: flags, and pages out of them.

use std::path::PathBuf;
use std::sync::Arc;

use bistro_core::pages::DatasetIndex;
use bistro_core::ports::{Pages, PortError, Retry};
use bistro_core::rules::Rules;
use bistro_core::tokens::Packing;
use bistro_pages::blobs::s3::{Credentials, S3Options};
use bistro_pages::web::WebOptions;
use bistro_pages::{CorpusOptions, IndexFile, PageOptions, PagesError, Prefetcher, Recipe, SourceOptions, Tokenizer};
use clap::Args;

/// Pages that are fetched at a time ahead of their use.
const AT_ONCE: usize = 4;

/// Where the dataset is, and how it is read.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Dataset")]
pub struct DataArgs {
    /// The dataset: `dir:PATH` is a folder of .txt, .jsonl or .parquet files; `hf:OWNER/NAME` Hugging Face's rows; `parquet:`
    /// with `https://…`, `s3://BUCKET/PREFIX` or a path is files that are read by ranges.
    #[arg(long, env = "BISTRO_DATASET", default_value = "dir:corpus/sotu")]
    pub dataset: String,
    /// File that pins the dataset's rows, of `dataset index`; some ship with this program (`config/datasets`).
    #[arg(long = "dataset.index", env = "BISTRO_DATASET_INDEX", value_name = "FILE")]
    pub index: Option<PathBuf>,
    /// Another server than Hugging Face's or AWS's.
    #[arg(long = "dataset.endpoint", env = "BISTRO_DATASET_ENDPOINT", value_name = "URL")]
    pub endpoint: Option<String>,
    /// Read the dataset's bucket without keys, although `AWS_ACCESS_KEY_ID` is set.
    #[arg(long = "dataset.anonymous")]
    pub anonymous: bool,
    /// Column that holds the text, where no index says it.
    #[arg(long = "dataset.column", default_value = "text", value_name = "NAME")]
    pub column: String,
    /// The tokenizer: `gpt2`, or the path of a `tokenizer.json`.
    #[arg(long, env = "BISTRO_TOKENIZER", default_value = "gpt2", value_name = "NAME|FILE")]
    pub tokenizer: String,
    /// Folder of pages that came over the network; all programs of this machine may share one.
    /// `~/.cache/bistro/pages` by default.
    #[arg(long = "cache.dir", env = "BISTRO_CACHE_DIR", value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Megabytes that it may have; 0 keeps nothing.
    #[arg(long = "cache.mb", env = "BISTRO_CACHE_MB", default_value_t = 2048, value_name = "N")]
    pub cache_mb: u64,
}

/// What of a page the run's rules decide.
#[derive(Clone, Copy, Debug)]
pub struct PageShape {
    /// Rows of a page.
    pub rows_per_page: u64,
    /// Most bytes of a row that is cut out of a text.
    pub row_bytes: Option<u64>,
    /// How documents become sequences.
    pub packing: Packing,
    /// Tokens of a sequence.
    pub seq: usize,
}

impl DataArgs {
    /// How the dataset is read. Reads the index file if there is one, and from the environment the token and keys.
    ///
    /// # Errors
    /// The index file.
    pub fn source_options(&self, rows_per_page: u64, row_bytes: Option<u64>) -> Result<SourceOptions, PagesError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let defaults = SourceOptions::default();
        let row_bytes =
            row_bytes.map_or(defaults.corpus.row_bytes, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let index = self.index.as_deref().map(IndexFile::read).transpose()?;
        let mut web = WebOptions { token: variable("HF_TOKEN"), ..defaults.web };
        // The operator's own word: such a server may see the token.
        web.trusted.extend(self.endpoint.as_deref().and_then(WebOptions::origin));
        let keys = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY")).filter(|_| !self.anonymous);
        let credentials =
            keys.map(|(id, secret)| Credentials::new(id, secret, variable("AWS_SESSION_TOKEN"), None, "environment"));
        let s3 = S3Options {
            endpoint_url: self.endpoint.clone().or_else(|| variable("AWS_ENDPOINT_URL")),
            region: variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")),
            credentials,
        };
        Ok(SourceOptions {
            corpus: CorpusOptions { rows_per_page, row_bytes, column: self.column.clone() },
            index,
            agreed: None,
            hf_server: self.endpoint.clone().unwrap_or(defaults.hf_server),
            web,
            s3,
        })
    }

    /// Opens the dataset as pages of `shape`, prepared ahead. `agreed` is the index of the run's rules where there are any.
    /// Blocks while a folder is read.
    ///
    /// # Errors
    /// `UnknownTokenizer` and `BadDataset`, for the operator to mend.
    pub fn open(&self, shape: &PageShape, agreed: Option<&DatasetIndex>) -> Result<Arc<dyn Pages>, PortError> {
        let tokenizer = Tokenizer::find(&self.tokenizer).map_err(|e| never("UnknownTokenizer", &e))?;
        let source = self.source_options(shape.rows_per_page, shape.row_bytes).map_err(|e| never("BadDataset", &e))?;
        let recipe = Recipe { tokenizer, packing: shape.packing, seq: shape.seq };
        let options = PageOptions {
            source: SourceOptions { agreed: agreed.cloned(), ..source },
            disk: self.cache_folder().map(|folder| (folder, self.cache_mb << 20)),
            ..PageOptions::new(recipe)
        };
        let pages = bistro_pages::open(&self.dataset, &options).map_err(|e| never("BadDataset", &e))?;
        Ok(Arc::new(Prefetcher::new(pages, AT_ONCE)))
    }

    /// Opens the dataset as the run's rules want it.
    ///
    /// # Errors
    /// `OtherTokenizer` and `OtherDataset` where the operator's is not the run's, and those of [`DataArgs::open`].
    pub fn open_for(&self, rules: &Rules) -> Result<Arc<dyn Pages>, PortError> {
        let other = |name: &str, message| PortError { name: name.into(), message, retry: Retry::Never };
        let tokenizer = self.tokenizer_name()?;
        if tokenizer != rules.tokenizer {
            let why = format!("is `{tokenizer}`, and the run's is `{}`: get the same tokenizer.json", rules.tokenizer);
            return Err(other("OtherTokenizer", format!("--tokenizer {} {why}", self.tokenizer)));
        }
        let (index, seq, packing) = (&rules.dataset, rules.sequence_length, rules.packing);
        let shape = PageShape { rows_per_page: index.rows_per_page, row_bytes: index.row_bytes, packing, seq };
        let pages = self.open(&shape, Some(index))?;
        let (ours, theirs) = (pages.index().digest(), index.digest());
        if ours != theirs {
            let message = format!(
                "--dataset {} is not the run's dataset `{}`: its digest is {}, the run's is {}. Get the same files or index",
                self.dataset,
                index.dataset,
                ours.hash16(),
                theirs.hash16(),
            );
            return Err(other("OtherDataset", message));
        }
        Ok(pages)
    }

    /// The name that the run's rules give to the operator's tokenizer.
    ///
    /// # Errors
    /// `UnknownTokenizer`.
    pub fn tokenizer_name(&self) -> Result<String, PortError> {
        let tokenizer = Tokenizer::find(&self.tokenizer).map_err(|e| never("UnknownTokenizer", &e))?;
        Ok(tokenizer.name().to_owned())
    }

    /// Bytes that the cache of pages may take; none for a dataset that is on disk already.
    pub(crate) fn cache_bytes(&self) -> u64 {
        let remote = bistro_pages::DatasetName::parse(&self.dataset).is_ok_and(|name| name.is_remote());
        if remote { self.cache_mb << 20 } else { 0 }
    }

    fn cache_folder(&self) -> Option<PathBuf> {
        let home = || std::env::home_dir().map(|home| home.join(".cache"));
        let cache = || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
        let folder = self.cache_dir.clone().or_else(|| Some(cache()?.join("bistro").join("pages")));
        folder.filter(|_| self.cache_mb > 0)
    }
}

fn never(name: &str, error: &PagesError) -> PortError {
    PortError { name: name.into(), message: error.to_string(), retry: Retry::Never }
}
