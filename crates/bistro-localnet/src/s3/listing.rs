//! One page of a listing: what comes after a point, at most so many, with folders folded.

use super::store::{Entry, strong};
use s3s::dto::{CommonPrefix, ListObjectsV2Input, ListObjectsV2Output, Object};

/// Names on a page at most, as on AWS.
const PAGE: i32 = 1000;

/// The page of `entries` (in order, all starting with the prefix) that `request` asks for.
pub(crate) fn page(entries: Vec<Entry>, request: ListObjectsV2Input) -> ListObjectsV2Output {
    let max_keys = request.max_keys.unwrap_or(PAGE).clamp(0, PAGE);
    let prefix = request.prefix.clone().unwrap_or_default();
    // The token is the last name of the page before.
    let after = request.continuation_token.clone().max(request.start_after.clone()).unwrap_or_default();
    let mut page = Page::default();
    for entry in entries.into_iter().filter(|entry| entry.key > after) {
        let folder = request.delimiter.as_deref().filter(|d| !d.is_empty()).and_then(|delimiter| {
            let end = entry.key[prefix.len()..].find(delimiter)?;
            Some(entry.key[..prefix.len() + end + delimiter.len()].to_owned())
        });
        // A folder that was named already, on this page or at the end of the one before.
        if folder.as_ref().is_some_and(|folder| *folder <= after || *folder == page.last) {
            continue;
        }
        if page.count == max_keys {
            page.truncated = true;
            break;
        }
        page.push(entry, folder);
    }
    ListObjectsV2Output {
        name: Some(request.bucket),
        next_continuation_token: page.truncated.then_some(page.last),
        is_truncated: Some(page.truncated),
        key_count: Some(page.count),
        max_keys: Some(max_keys),
        contents: Some(page.objects),
        common_prefixes: Some(page.folders),
        prefix: request.prefix,
        delimiter: request.delimiter,
        start_after: request.start_after,
        continuation_token: request.continuation_token,
        ..ListObjectsV2Output::default()
    }
}

#[derive(Default)]
struct Page {
    objects: Vec<Object>,
    folders: Vec<CommonPrefix>,
    count: i32,
    last: String,
    truncated: bool,
}

impl Page {
    fn push(&mut self, entry: Entry, folder: Option<String>) {
        self.count += 1;
        if let Some(folder) = folder {
            self.last.clone_from(&folder);
            self.folders.push(CommonPrefix { prefix: Some(folder) });
            return;
        }
        self.last.clone_from(&entry.key);
        self.objects.push(Object {
            key: Some(entry.key),
            size: i64::try_from(entry.length).ok(),
            last_modified: Some(entry.modified.into()),
            e_tag: Some(strong(&entry.etag)),
            ..Object::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    /// Names of all pages, folders with their slash, `|` between pages.
    fn pages(keys: &[&str], prefix: &str, delimiter: Option<&str>, max_keys: i32) -> String {
        let entry = |key: &&str| Entry {
            key: (*key).to_owned(),
            length: 1,
            modified: SystemTime::UNIX_EPOCH,
            etag: "e".into(),
        };
        let (mut shown, mut token) = (Vec::new(), None);
        for _ in 0..10 {
            let request = ListObjectsV2Input {
                bucket: "shop".into(),
                prefix: Some(prefix.into()),
                delimiter: delimiter.map(Into::into),
                max_keys: Some(max_keys),
                continuation_token: token,
                ..ListObjectsV2Input::default()
            };
            let page = page(keys.iter().map(entry).collect(), request);
            let objects = page.contents.unwrap().into_iter().filter_map(|o| o.key);
            let mut names: Vec<_> =
                objects.chain(page.common_prefixes.unwrap().into_iter().filter_map(|p| p.prefix)).collect();
            names.sort();
            assert_eq!(page.key_count, Some(names.len() as i32));
            shown.push(names.join(" "));
            token = page.next_continuation_token;
            assert_eq!(page.is_truncated, Some(token.is_some()));
            if token.is_none() {
                break;
            }
        }
        shown.join("|")
    }

    #[test]
    fn pages_join_to_the_whole_without_gap_or_repetition() {
        let keys = ["a", "b/1", "b/2", "b/3", "c", "d/1"];
        assert_eq!(pages(&keys, "", None, 1000), "a b/1 b/2 b/3 c d/1");
        assert_eq!(pages(&keys, "", None, 2), "a b/1|b/2 b/3|c d/1");
        assert_eq!(pages(&keys, "", Some("/"), 1000), "a b/ c d/");
        assert_eq!(pages(&keys, "", Some("/"), 1), "a|b/|c|d/");
        assert_eq!(pages(&keys[1..4], "b/", Some("/"), 2), "b/1 b/2|b/3");
    }
}
