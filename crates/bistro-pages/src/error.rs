//! Why a dataset cannot be used.

use std::path::PathBuf;

use bistro_core::pages::IndexError;

/// Why a dataset cannot be used, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// The name says no source.
    #[error("`{0}` is not a dataset: write `dir:PATH` for a folder of text files")]
    NoScheme(String),
    /// A source of other versions.
    #[error("`{scheme}:` datasets cannot be read yet: use `dir:PATH`, a folder of text files, in place of `{dataset}`")]
    Scheme {
        /// What stands before the colon.
        scheme: String,
        /// The whole name.
        dataset: String,
    },
    /// The ids of another tokenizer would be noise to the run's model.
    #[error("the tokenizer `{0}` is unknown: `gpt2` is built in")]
    Tokenizer(String),
    /// A number that makes no pages.
    #[error("{name} is {value}: it must lie between {min} and {max}")]
    Option {
        /// Which number.
        name: &'static str,
        /// Its value.
        value: u64,
        /// Smallest allowed.
        min: u64,
        /// Largest allowed.
        max: u64,
    },
    /// The folder is missing, or something else stands in its place.
    #[error("there is no folder `{0}`: give an existing folder of .txt files")]
    NoFolder(PathBuf),
    /// The folder holds no text.
    #[error("no .txt file with text lies in `{0}` or below it")]
    NoText(PathBuf),
    /// A file's name is no Unicode, so two machines might sort it differently.
    #[error("the name of `{0}` is not UTF-8: rename the file")]
    Name(PathBuf),
    /// A file is no text.
    #[error("`{file}` is not UTF-8 at byte {offset}: convert it (`iconv -t utf-8`) or take it out of the folder")]
    NotUtf8 {
        /// Which file.
        file: PathBuf,
        /// First byte that is not.
        offset: usize,
    },
    /// More than is kept in memory.
    #[error("the text files of `{folder}` have {bytes} bytes together, at most {max} are read: take some out")]
    TooLarge {
        /// The folder.
        folder: PathBuf,
        /// Bytes found.
        bytes: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// Fewer rows than pages need.
    #[error("`{folder}` is too small ({source}): add text, or make pages of fewer rows")]
    TooSmall {
        /// The folder.
        folder: PathBuf,
        /// Rows found and wanted.
        source: IndexError,
    },
    /// The disk or the permissions.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
