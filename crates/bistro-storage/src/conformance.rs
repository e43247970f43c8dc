//! What every pair of [`OwnBucket`] and [`PublicBuckets`] must do, run against the fake, the embedded server and any other.

use std::time::Duration;

use bistro_core::ids::Hash;
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

/// Runs the whole suite. `own` is a bucket of `public` that may hold other objects; what is under `bistro/v1/conformance/` is
/// removed, before and after. The public must be able to read there.
///
/// # Panics
/// At the first behaviour that differs, naming it.
pub async fn check(own: &dyn OwnBucket, public: &dyn PublicBuckets) {
    clear(own).await;
    objects_round_trip(own, public).await;
    modes_of_writing(own).await;
    caps_and_absences(own, public).await;
    pointers(own, public).await;
    hashes(own, public).await;
    listing(own).await;
    pruning(own).await;
    clear(own).await;
    assert_eq!(own.list("bistro/v1/conformance/").await, Ok(vec![]), "deleted objects are still listed");
}

async fn clear(own: &dyn OwnBucket) {
    for key in own.list("bistro/v1/conformance/").await.expect("list") {
        own.delete(&key).await.expect("delete");
    }
}

/// A large object, which a real store uploads in parts: back whole for the owner and for strangers, and immutable.
///
/// # Panics
/// At the first behaviour that differs, naming it.
pub async fn check_large(own: &dyn OwnBucket, public: &dyn PublicBuckets, len: usize) {
    let (key, sent) = ("bistro/v1/conformance/large", body(len));
    own.put(key, sent.clone(), Put::Immutable).await.expect("put of a large object");
    own.put(key, sent.clone(), Put::Immutable).await.expect("the second put of the same large object is done already");
    let mine = own.get(key, len as u64).await.expect("get").expect("the object");
    assert!(mine == sent, "the owner reads other bytes than were written");
    let theirs = public.get(&own.address(), key, limits(len as u64)).await.expect("get").expect("the object");
    assert!(theirs == sent, "a stranger reads other bytes than were written");
    assert_named(public.get(&own.address(), key, limits(len as u64 - 1)).await, "TooLarge");
    let theirs = public.get_hashed(&own.address(), key, limits(len as u64), &Hash::of(&sent)).await;
    assert!(theirs.expect("the hash").expect("the object") == sent, "a stranger reads other bytes than were written");
    assert_named(public.get_hashed(&own.address(), key, limits(len as u64), &Hash::of(b"")).await, "WrongHash");
    let small = public.get(&own.address(), key, limits(u64::MAX)).await.expect("get").expect("the object");
    assert!(small == sent, "a cap far above the length changes what is read");
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
    for (key, len) in [
        ("bistro/v1/conformance/empty", 0),
        ("bistro/v1/conformance/one", 1),
        ("bistro/v1/conformance/a b+ü%2F/öbject.json", 100_000),
    ] {
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
    let key = "bistro/v1/conformance/modes";
    own.put(key, Bytes::from_static(b"first"), Put::Immutable).await.expect("the first immutable put");
    own.put(key, Bytes::from_static(b"first"), Put::Immutable).await.expect("the second immutable put is done already");
    assert_named(own.put(key, Bytes::from_static(b"another"), Put::Immutable).await, "Conflict");
    assert_eq!(own.get(key, 10).await, Ok(Some(Bytes::from_static(b"first"))), "an immutable object changed");
    own.put(key, Bytes::from_static(b"replaced"), Put::Replace).await.expect("replace");
    assert_eq!(own.get(key, 10).await, Ok(Some(Bytes::from_static(b"replaced"))));
}

async fn caps_and_absences(own: &dyn OwnBucket, public: &dyn PublicBuckets) {
    let (address, key) = (own.address(), "bistro/v1/conformance/caps");
    own.put(key, body(1000), Put::Immutable).await.expect("put");
    assert!(own.get(key, 1000).await.expect("a body of exactly the cap").is_some());
    assert_named(own.get(key, 999).await, "TooLarge");
    assert_named(public.get(&address, key, limits(999)).await, "TooLarge");
    assert_eq!(own.get("bistro/v1/conformance/absent", 1).await, Ok(None));
    assert_eq!(public.get(&address, "bistro/v1/conformance/absent", limits(1)).await, Ok(None));
    let nowhere = BucketAddress { name: "bistro-conformance-no-such-bucket".into(), region: address.region };
    match public.get(&nowhere, key, limits(1)).await {
        // Some servers do not tell strangers which buckets exist.
        Err(error) if error.name == "NoSuchBucket" || error.name == "AccessDenied" => {}
        other => panic!("expected NoSuchBucket or AccessDenied, got {other:?}"),
    }
}

/// A pointer read again and again is the newest, whether or not it changed.
async fn pointers(own: &dyn OwnBucket, public: &dyn PublicBuckets) {
    let (address, key) = (own.address(), "bistro/v1/conformance/latest.json");
    for version in [&b"one"[..], b"two", b"three, which is longer", b"two"] {
        own.put(key, Bytes::from_static(version), Put::Replace).await.expect("replace");
        for _ in 0..3 {
            let read = public.get(&address, key, limits(100)).await;
            assert_eq!(read, Ok(Some(Bytes::from_static(version))), "an old or torn pointer");
        }
        assert_named(public.get(&address, key, limits(version.len() as u64 - 1)).await, "TooLarge");
    }
    own.delete(key).await.expect("delete");
    assert_eq!(public.get(&address, key, limits(100)).await, Ok(None), "a pointer that is gone");
}

async fn hashes(own: &dyn OwnBucket, public: &dyn PublicBuckets) {
    let (address, key, sent) = (own.address(), "bistro/v1/conformance/hashed", body(3000));
    assert_eq!(public.get_hashed(&address, key, limits(3000), &Hash::of(&sent)).await, Ok(None));
    own.put(key, sent.clone(), Put::Replace).await.expect("put");
    assert_eq!(public.get_hashed(&address, key, limits(3000), &Hash::of(&sent)).await, Ok(Some(sent.clone())));
    let mut flipped = sent.to_vec();
    flipped[1234] ^= 1;
    own.put(key, flipped.into(), Put::Replace).await.expect("put");
    assert_named(public.get_hashed(&address, key, limits(3000), &Hash::of(&sent)).await, "WrongHash");
}

async fn pruning(own: &dyn OwnBucket) {
    let name = |what: &str| format!("bistro/v1/conformance/prune/{what}");
    for what in ["a", "b", "c", "d/e"] {
        own.put(&name(what), Bytes::from_static(b"x"), Put::Immutable).await.expect("put");
    }
    let all = own.list(&name("")).await.expect("list");
    assert_named(own.prune(&name(""), &[]).await, "BadPrune");
    assert_named(own.prune(&name(""), &[name("a"), "bistro/v1/elsewhere".into()]).await, "BadPrune");
    assert_eq!(own.list(&name("")).await, Ok(all), "a refused prune removed something");
    assert_eq!(own.prune(&name(""), &[name("b"), name("d/e"), name("absent")]).await, Ok(2));
    assert_eq!(own.list(&name("")).await, Ok(vec![name("b"), name("d/e")]));
    assert_eq!(own.prune(&name(""), &[name("b"), name("d/e")]).await, Ok(0));
}

async fn listing(own: &dyn OwnBucket) {
    let keys = [
        "bistro/v1/conformance/list/a",
        "bistro/v1/conformance/list/b/c",
        "bistro/v1/conformance/list/b/d",
        "bistro/v1/conformance/listed",
    ];
    for key in keys {
        own.put(key, Bytes::from_static(b"x"), Put::Immutable).await.expect("put");
    }
    assert_eq!(own.list("bistro/v1/conformance/list").await, Ok(keys.map(String::from).to_vec()), "all keys, in order");
    assert_eq!(own.list("bistro/v1/conformance/list/").await, Ok(keys[..3].iter().map(|k| (*k).to_owned()).collect()));
    assert_eq!(
        own.list("bistro/v1/conformance/list/b/").await,
        Ok(keys[1..3].iter().map(|k| (*k).to_owned()).collect())
    );
    assert_eq!(own.list("bistro/v1/conformance/none/").await, Ok(vec![]));
}
