//! The store itself; what goes over HTTP is tested in `bistro-tests`.

use std::io::Write as _;

use s3s::S3ErrorCode;
use s3s::dto::{CompletedPart, ETag, ETagCondition};
use tempfile::{NamedTempFile, TempDir};

use super::store::{Store, WriteCondition};
use super::upload::{UploadOf, Uploads};

struct Shop {
    dir: TempDir,
    store: Store,
}

impl Shop {
    fn open() -> Self {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.create_bucket("shop").unwrap();
        Self { dir, store }
    }

    fn received(&self, bytes: &[u8]) -> NamedTempFile {
        let mut file = NamedTempFile::new_in(self.store.tmp()).unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn put(&self, key: &str, bytes: &[u8], condition: &WriteCondition) -> Result<String, S3ErrorCode> {
        self.store.commit(self.received(bytes), "shop", key, condition).map_err(|error| error.code().clone())
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        self.store.entries("shop", prefix).unwrap().into_iter().map(|entry| entry.key).collect()
    }
}

fn any() -> WriteCondition {
    WriteCondition::default()
}

#[test]
fn a_key_never_leaves_its_bucket() {
    let shop = Shop::open();
    shop.store.create_bucket("other").unwrap();
    for key in ["../other/x", "a/../../other/x", "..", ".", "", "/etc/passwd", "a//b", "a/", "a\0b"] {
        assert_eq!(shop.put(key, b"x", &any()), Err(S3ErrorCode::InvalidArgument), "{key:?}");
        assert!(shop.store.object("shop", key).is_err(), "{key:?}");
        assert!(shop.store.delete("shop", key).is_err(), "{key:?}");
    }
    assert_eq!(shop.put(&"k".repeat(1025), b"x", &any()), Err(S3ErrorCode::KeyTooLongError));
    assert_eq!(shop.put(&"k".repeat(256), b"x", &any()), Err(S3ErrorCode::KeyTooLongError));
    assert!(shop.store.entries("shop", "../other/").unwrap().is_empty());
    assert!(shop.store.entries("other", "").unwrap().is_empty());
}

#[test]
fn conditions_are_kept_and_a_refused_write_changes_nothing() {
    let shop = Shop::open();
    let absent = WriteCondition { if_none_match: Some(ETagCondition::Any), ..any() };
    let present =
        |etag: &str| WriteCondition { if_match: Some(ETagCondition::ETag(ETag::Strong(etag.to_owned()))), ..any() };
    assert_eq!(shop.put("k", b"never", &present("x")), Err(S3ErrorCode::PreconditionFailed));
    let first = shop.put("k", b"first", &absent).unwrap();
    assert_eq!(shop.put("k", b"again", &absent), Err(S3ErrorCode::PreconditionFailed));
    assert_eq!(shop.store.object("shop", "k").unwrap().etag, first);
    let second = shop.put("k", b"later", &present(&first)).unwrap();
    assert_ne!(first, second, "another content of the same length has another tag");
    assert_eq!(shop.put("k", b"stale", &present(&first)), Err(S3ErrorCode::PreconditionFailed));
    assert_eq!(shop.store.object("shop", "k").unwrap().length, 5);
    assert_eq!(std::fs::read_dir(shop.store.tmp()).unwrap().count(), 0, "refused bodies stay behind");
}

#[test]
fn deleting_gives_the_folder_s_name_back() {
    let shop = Shop::open();
    shop.put("a/b/c", b"x", &any()).unwrap();
    shop.put("a/d", b"x", &any()).unwrap();
    assert_eq!(shop.put("a/b", b"x", &any()), Err(S3ErrorCode::InvalidRequest), "a folder is in the way");
    assert_eq!(shop.put("a/d/e", b"x", &any()), Err(S3ErrorCode::InvalidRequest), "an object is in the way");
    shop.store.delete("shop", "a/b/c").unwrap();
    shop.put("a/b", b"x", &any()).unwrap();
    assert_eq!(shop.keys(""), ["a/b", "a/d"]);
    for key in ["a/b", "a/d", "a/d"] {
        shop.store.delete("shop", key).unwrap();
    }
    assert!(shop.keys("").is_empty());
    assert!(shop.store.has_bucket("shop"), "the bucket itself stays");
}

#[test]
fn a_prefix_need_not_end_at_a_folder() {
    let shop = Shop::open();
    for key in ["a/b/c", "a/bc", "ab", "b"] {
        shop.put(key, b"x", &any()).unwrap();
    }
    assert_eq!(shop.keys("a"), ["a/b/c", "a/bc", "ab"]);
    assert_eq!(shop.keys("a/b"), ["a/b/c", "a/bc"]);
    assert_eq!(shop.keys("a/b/"), ["a/b/c"]);
    assert!(shop.keys("c/").is_empty());
}

#[test]
fn an_upload_is_joined_from_the_parts_that_the_client_saw_accepted() {
    let shop = Shop::open();
    let uploads = Uploads::default();
    let id = uploads.begin(&shop.store, "shop".into(), "big".into()).unwrap();
    let of = UploadOf { id: &id, bucket: "shop", key: "big" };
    let part = |number, tag: &str| CompletedPart {
        part_number: Some(number),
        e_tag: Some(ETag::Strong(tag.to_owned())),
        ..CompletedPart::default()
    };
    let large = vec![7; 5 << 20];
    let stale = uploads.keep(&of, 1, shop.received(b"stale")).unwrap();
    let first = uploads.keep(&of, 1, shop.received(&large)).unwrap();
    let second = uploads.keep(&of, 2, shop.received(b"end")).unwrap();
    let refused = |parts: &[CompletedPart]| uploads.join(&shop.store, &of, parts).unwrap_err().code().clone();
    assert_eq!(refused(&[part(1, &stale), part(2, &second)]), S3ErrorCode::InvalidPart);
    assert_eq!(refused(&[part(2, &second), part(1, &first)]), S3ErrorCode::InvalidPartOrder);
    assert_eq!(refused(&[part(1, &first), part(3, &second)]), S3ErrorCode::InvalidPart);
    assert_eq!(refused(&[]), S3ErrorCode::MalformedXML);
    let elsewhere = UploadOf { id: &id, bucket: "shop", key: "other" };
    assert_eq!(uploads.end(&elsewhere).unwrap_err().code(), &S3ErrorCode::NoSuchUpload);
    let whole = uploads.join(&shop.store, &of, &[part(1, &first), part(2, &second)]).unwrap();
    assert_eq!(std::fs::read(whole.path()).unwrap(), [large.as_slice(), b"end"].concat());
    drop(whole);
    uploads.end(&of).unwrap();
    assert_eq!(std::fs::read_dir(shop.dir.path().join("tmp")).unwrap().count(), 0, "parts stay behind");
}
