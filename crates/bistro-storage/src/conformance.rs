//! What every pair of [`OwnBucket`] and [`PublicBuckets`] must do, run against the fake, the embedded server and any other.

use std::time::Duration;

use bistro_core::ports::{BucketAddress, OwnBucket, PortError, PublicBuckets, Put, ReadLimits};
use bytes::Bytes;

/// Limits for the small objects of this suite.
pub fn limits(max_bytes: u64) -> ReadLimits {
    ReadLimits { max_bytes, deadline: Duration::from_secs(20), min_bytes_per_second: 1 }
}

/// A body of `len` bytes in which every 8 bytes differ, so that a lost or swapped part shows.
pub fn body(len: usize) -> Bytes {
    let words = (0u64..).flat_map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    words.take(len).collect::<Vec<_>>().into()
}

/// Runs the whole suite. `own` is a bucket of `public` that may hold other objects; what is under `conformance/` is removed,
/// before and after.
///
/// # Panics
/// At the first behaviour that differs, naming it.
pub async fn check(own: &dyn OwnBucket, public: &dyn PublicBuckets) {
    clear(own).await;
    objects_round_trip(own, public).await;
    modes_of_writing(own).await;
    caps_and_absences(own, public).await;
    listing(own).await;
    clear(own).await;
    assert_eq!(own.list("conformance/").await, Ok(vec![]), "deleted objects are still listed");
}

async fn clear(own: &dyn OwnBucket) {
    for key in own.list("conformance/").await.expect("list") {
        own.delete(&key).await.expect("delete");
    }
}

/// A large object, which a real store uploads in parts: back whole for the owner and for strangers, and immutable.
///
/// # Panics
/// At the first behaviour that differs, naming it.
pub async fn check_large(own: &dyn OwnBucket, public: &dyn PublicBuckets, len: usize) {
    let (key, sent) = ("conformance/large", body(len));
    own.put(key, sent.clone(), Put::Immutable).await.expect("put of a large object");
    own.put(key, sent.clone(), Put::Immutable).await.expect("the second put of the same large object is done already");
    let mine = own.get(key, len as u64).await.expect("get").expect("the object");
    assert!(mine == sent, "the owner reads other bytes than were written");
    let theirs = public.get(&own.address(), key, limits(len as u64)).await.expect("get").expect("the object");
    assert!(theirs == sent, "a stranger reads other bytes than were written");
    assert_named(public.get(&own.address(), key, limits(len as u64 - 1)).await, "TooLarge");
    own.delete(key).await.expect("delete");
}

/// Asserts that `outcome` is the error `name`.
///
/// # Panics
/// If it is not.
pub fn assert_named<T: std::fmt::Debug>(outcome: Result<T, PortError>, name: &str) {
    match outcome {
        Err(error) if error.name == name => {}
        other => panic!("expected the error {name}, got {other:?}"),
    }
}

async fn objects_round_trip(own: &dyn OwnBucket, public: &dyn PublicBuckets) {
    let address = own.address();
    for (key, len) in [("conformance/empty", 0), ("conformance/one", 1), ("conformance/a b+ü%2F/öbject.json", 100_000)]
    {
        let sent = body(len);
        own.put(key, sent.clone(), Put::Replace).await.expect("put");
        assert_eq!(own.get(key, len as u64).await, Ok(Some(sent.clone())), "own get of {key}");
        let read = public.get(&address, key, limits(len as u64)).await;
        assert_eq!(read, Ok(Some(sent)), "anonymous get of {key}");
        own.delete(key).await.expect("delete");
        own.delete(key).await.expect("the second delete is done already");
        assert_eq!(own.get(key, len as u64).await, Ok(None), "{key} after delete");
    }
}

async fn modes_of_writing(own: &dyn OwnBucket) {
    let key = "conformance/modes";
    own.put(key, Bytes::from_static(b"first"), Put::Immutable).await.expect("the first immutable put");
    own.put(key, Bytes::from_static(b"first"), Put::Immutable).await.expect("the second immutable put is done already");
    assert_named(own.put(key, Bytes::from_static(b"another"), Put::Immutable).await, "Conflict");
    assert_eq!(own.get(key, 10).await, Ok(Some(Bytes::from_static(b"first"))), "an immutable object changed");
    own.put(key, Bytes::from_static(b"replaced"), Put::Replace).await.expect("replace");
    assert_eq!(own.get(key, 10).await, Ok(Some(Bytes::from_static(b"replaced"))));
}

async fn caps_and_absences(own: &dyn OwnBucket, public: &dyn PublicBuckets) {
    let (address, key) = (own.address(), "conformance/caps");
    own.put(key, body(1000), Put::Immutable).await.expect("put");
    assert!(own.get(key, 1000).await.expect("a body of exactly the cap").is_some());
    assert_named(own.get(key, 999).await, "TooLarge");
    assert_named(public.get(&address, key, limits(999)).await, "TooLarge");
    assert_eq!(own.get("conformance/absent", 1).await, Ok(None));
    assert_eq!(public.get(&address, "conformance/absent", limits(1)).await, Ok(None));
    let nowhere = BucketAddress { name: "bistro-conformance-no-such-bucket".into(), region: address.region };
    match public.get(&nowhere, key, limits(1)).await {
        // Some servers do not tell strangers which buckets exist.
        Err(error) if error.name == "NoSuchBucket" || error.name == "AccessDenied" => {}
        other => panic!("expected NoSuchBucket or AccessDenied, got {other:?}"),
    }
}

async fn listing(own: &dyn OwnBucket) {
    let keys = ["conformance/list/a", "conformance/list/b/c", "conformance/list/b/d", "conformance/listed"];
    for key in keys {
        own.put(key, Bytes::from_static(b"x"), Put::Immutable).await.expect("put");
    }
    assert_eq!(own.list("conformance/list").await, Ok(keys.map(String::from).to_vec()), "all keys, in order");
    assert_eq!(own.list("conformance/list/").await, Ok(keys[..3].iter().map(|k| (*k).to_owned()).collect()));
    assert_eq!(own.list("conformance/list/b/").await, Ok(keys[1..3].iter().map(|k| (*k).to_owned()).collect()));
    assert_eq!(own.list("conformance/none/").await, Ok(vec![]));
}
