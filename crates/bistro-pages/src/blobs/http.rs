//! Files of a web server.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::Url;
use serde::Deserialize;

use super::{Blobs, MAX_FILES, check_range, is_plain};
use crate::error::PagesError;
use crate::fault::Fault;
use crate::web::Web;

/// The files below an address, such as `https://huggingface.co/datasets/OWNER/NAME/resolve/REVISION`.
pub struct HttpBlobs {
    web: Web,
    base: Url,
}

/// What the hub says of a revision.
#[derive(Deserialize)]
struct Revision {
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl HttpBlobs {
    /// No network is asked yet.
    pub fn new(web: Web, base: &str) -> Result<Self, PagesError> {
        let bad = |why: String| PagesError::page(Fault::NotFound, base, why);
        let base = Url::parse(base).map_err(|e| bad(e.to_string()))?;
        if base.cannot_be_a_base() {
            Err(bad("no files can lie below this address".into()))
        } else {
            Ok(Self { web, base })
        }
    }

    fn url(&self, path: &str) -> Result<Url, PagesError> {
        let mut url = self.base.clone();
        let bad = || PagesError::page(Fault::NotFound, path, "this path leaves the dataset");
        if !is_plain(path) {
            return Err(bad());
        }
        url.path_segments_mut().map_err(|()| bad())?.pop_if_empty().extend(path.split('/'));
        Ok(url)
    }
}

/// Where the hub lists the files of `…/datasets/OWNER/NAME/resolve/REVISION[/FOLDER]`, and the folder.
fn listing(base: &Url) -> Option<(Url, String)> {
    let parts: Vec<&str> = base.path_segments()?.filter(|part| !part.is_empty()).collect();
    let at = parts.iter().position(|part| *part == "datasets")?;
    let [owner, name, "resolve", revision, folder @ ..] = &parts[at + 1..] else { return None };
    let mut url = base.clone();
    url.set_path(&["/api/datasets", owner, name, "revision", revision].join("/"));
    let folder = folder.iter().flat_map(|part| [part, "/"]).collect();
    Some((url, folder))
}

#[async_trait]
impl Blobs for HttpBlobs {
    fn place(&self, path: &str) -> String {
        let shown = |url: &Url| format!("{}{}", url.origin().ascii_serialization(), url.path());
        if path.is_empty() { shown(&self.base) } else { self.url(path).map_or_else(|_| path.into(), |url| shown(&url)) }
    }

    async fn list(&self) -> Result<Vec<String>, PagesError> {
        let Some((url, folder)) = listing(&self.base) else {
            let why = "only Hugging Face's hub (…/datasets/OWNER/NAME/resolve/REVISION) lists its files";
            return Err(PagesError::page(Fault::BadAnswer, self.base.as_str(), why));
        };
        let answer = self.web.get(&url, None, 256 << 20).await?;
        let revision: Revision = serde_json::from_slice(&answer.bytes)
            .map_err(|e| PagesError::page(Fault::BadAnswer, url.as_str(), e.to_string()))?;
        let below = revision.siblings.into_iter().filter_map(|s| s.rfilename.strip_prefix(&folder).map(String::from));
        let mut paths: Vec<_> = below.filter(|path| path.ends_with(".parquet")).take(MAX_FILES).collect();
        paths.sort();
        Ok(paths)
    }

    async fn len(&self, path: &str) -> Result<u64, PagesError> {
        let url = self.url(path)?;
        let answer = self.web.get(&url, Some(0..1), 1).await?;
        answer.total.ok_or_else(|| PagesError::page(Fault::NoRanges, self.place(path), "the length is not told"))
    }

    async fn range(&self, path: &str, range: Range<u64>, len: u64) -> Result<Bytes, PagesError> {
        let (url, wanted) = (self.url(path)?, range.end.saturating_sub(range.start));
        check_range(&self.place(path), &range, len)?;
        let answer = self.web.get(&url, Some(range), wanted).await?;
        match answer.total {
            Some(found) if found != len => {
                let why = format!("it has {found} bytes, its index says {len}");
                Err(PagesError::page(Fault::DatasetChanged, self.place(path), why))
            }
            _ => Ok(answer.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_lists_a_revision() {
        let found = |base: &str| listing(&Url::parse(base).unwrap()).map(|(url, folder)| (url.to_string(), folder));
        let hub = "https://huggingface.co/datasets/HuggingFaceFW/fineweb-edu-score-2/resolve/main";
        let api = "https://huggingface.co/api/datasets/HuggingFaceFW/fineweb-edu-score-2/revision/main";
        assert_eq!(found(hub), Some((api.into(), String::new())));
        assert_eq!(found(&format!("{hub}/data/x/")), Some((api.into(), "data/x/".into())));
        assert_eq!(found("https://example.org/files"), None);
    }
}
