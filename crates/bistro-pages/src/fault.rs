//! What can go wrong with one page: each fault has one name.

use bistro_core::ports::Retry;

/// What went wrong with a page, or with a file that it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The server wants fewer requests (429).
    RateLimited,
    /// The server failed (5xx).
    ServerError,
    /// The server could not be reached.
    NoNetwork,
    /// The answer did not come in time.
    TooSlow,
    /// The server wants a token or other rights (401, 403).
    Refused,
    /// There is no such dataset, file or bucket (404).
    NotFound,
    /// The server sends whole files only.
    NoRanges,
    /// More bytes than a page may have.
    TooLarge,
    /// The answer is not what the server's interface promises.
    BadAnswer,
    /// Fewer rows came than were asked for.
    ShortPage,
    /// Other rows came, or the server does not have them.
    MissingRows,
    /// A row came cut short.
    RowCut,
    /// No row of the page has text.
    EmptyText,
    /// All rows together are shorter than one sequence.
    PageTooShort,
    /// The index has no such page.
    NoSuchPage,
    /// A parquet file is cut short or damaged, or lacks the column of text.
    BadParquet,
    /// The dataset has grown or shrunk since its index was made.
    DatasetChanged,
    /// A part of this program failed on the page.
    Broken,
}

impl Fault {
    /// Its name in logs and in [`bistro_core::ports::PortError`].
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// Whether the same request may succeed later with nothing changed on this side.
    pub fn passes(self) -> bool {
        matches!(self, Self::RateLimited | Self::ServerError | Self::NoNetwork | Self::TooSlow | Self::Broken)
    }

    /// Whether a second answer may be better: some servers are, for a moment, of two minds.
    pub fn worth_asking_again(self) -> bool {
        self.passes() || matches!(self, Self::BadAnswer | Self::ShortPage | Self::MissingRows)
    }

    /// Whether to try again.
    pub fn retry(self) -> Retry {
        if self.passes() { Retry::Soon } else { Retry::Never }
    }

    /// How to mend it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::RateLimited => "wait, or set HF_TOKEN: an account has twice the quota",
            Self::ServerError | Self::TooSlow => "it may be gone soon",
            Self::NoNetwork => "check the connection and the address",
            Self::Refused => "accept the dataset's terms and set HF_TOKEN, or check the bucket's policy",
            Self::NotFound => "check the name, and that the index belongs to this dataset",
            Self::NoRanges => "use a server that answers range requests",
            Self::DatasetChanged => "name the revision that the index was made of, or make a new index and a new run",
            Self::BadParquet => "get the file again",
            Self::PageTooShort => "make pages of more rows, or sequences shorter",
            Self::TooLarge
            | Self::BadAnswer
            | Self::ShortPage
            | Self::MissingRows
            | Self::RowCut
            | Self::EmptyText
            | Self::NoSuchPage
            | Self::Broken => "another page may do",
        }
    }
}
