//! `bucket check` in buckets that are set up rightly and wrongly.

use bistro_core::ports::OwnBucket as _;
use bistro_localnet::s3::PublicAccess;
use bistro_storage::check::{Report, Verdict, check};
use bistro_storage::{S3OwnBucket, S3PublicBuckets};

use crate::network::{Network, address};

/// Bytes of the large probe: two parts.
pub(crate) const LARGE: usize = 6 << 20;

/// The checks that did not pass, as `name verdict`.
pub(crate) fn complaints(report: &Report) -> Vec<String> {
    let bad = report.findings.iter().filter(|finding| finding.verdict != Verdict::Pass);
    bad.map(|finding| format!("{} {:?}", finding.name, finding.verdict)).collect()
}

async fn report(network: &Network, own: &S3OwnBucket, public: &S3PublicBuckets) -> Report {
    let report = check(own, public, "test", LARGE).await;
    let uploads = std::fs::read_dir(network.dir.path().join("tmp")).unwrap().count();
    assert_eq!(uploads, 0, "the check leaves parts of uploads behind");
    report
}

#[tokio::test]
async fn a_bucket_as_documented_passes_every_check() {
    let network = Network::start().await;
    let own = network.own("alice", "alice-bucket").await;
    let report = report(&network, &own, &network.public()).await;
    assert_eq!(complaints(&report), [""; 0], "{report:?}");
    let names: Vec<_> = report.findings.iter().map(|finding| finding.name).collect();
    let all = [
        "put",
        "put_once",
        "get",
        "multipart",
        "abort",
        "list",
        "delete",
        "public_get",
        "public_get_elsewhere",
        "public_put",
        "public_multipart",
        "public_list",
        "public_delete",
    ];
    assert_eq!(names, all);
    assert!(report.upload_bytes_per_second.is_some_and(|speed| speed > 1000.0));
    assert_eq!(own.list("").await, Ok(vec![]), "the check leaves objects behind");
}

#[tokio::test]
async fn what_the_public_may_do_too_much_is_told() {
    let network = Network::start().await;
    let own = network.own("alice", "alice-bucket").await;
    let most = PublicAccess { read: Some(String::new()), write: true, list: true, delete: true };
    network.server.set_public_access("alice-bucket", most.clone());
    let open = report(&network, &own, &network.public()).await;
    let all = [
        "public_get_elsewhere Warn",
        "public_put Fail",
        "public_multipart Fail",
        "public_list Fail",
        "public_delete Fail",
    ];
    assert_eq!(complaints(&open), all);
    assert!(!open.holds());
    assert_eq!(own.list("").await, Ok(vec![]), "what the stranger wrote stays behind");

    network.server.set_public_access("alice-bucket", PublicAccess { write: false, delete: false, list: false, ..most });
    let readable = report(&network, &own, &network.public()).await;
    assert_eq!(complaints(&readable), ["public_get_elsewhere Warn"]);
    assert!(readable.holds(), "Bistro works there");
}

#[tokio::test]
async fn what_the_public_cannot_read_is_told() {
    let network = Network::start().await;
    let own = network.own("alice", "alice-bucket").await;
    network.server.set_public_access("alice-bucket", PublicAccess { read: None, ..PublicAccess::default() });
    let report = report(&network, &own, &network.public()).await;
    assert_eq!(complaints(&report), ["public_get Fail"]);
    let detail = &report.findings.iter().find(|finding| finding.name == "public_get").unwrap().detail;
    assert!(detail.contains("policy"), "{detail}");
}

#[tokio::test]
async fn keys_that_do_not_fit_are_told_and_the_public_is_checked_all_the_same() {
    let network = Network::start().await;
    let wrong = S3OwnBucket::connect(address("alice-bucket"), &network.config("alice", "guess")).await;
    let refused = report(&network, &wrong, &network.public()).await;
    assert_eq!(complaints(&refused), ["put Fail"]);
    assert!(refused.findings[0].detail.contains("SignatureDoesNotMatch"), "{refused:?}");
    assert_eq!(refused.verdict("public_put"), Some(Verdict::Pass));
    assert_eq!(refused.verdict("public_get"), None, "there is nothing to read");
    let absent = network.own("alice", "alice-bukcet").await;
    let report = report(&network, &absent, &network.public()).await;
    assert!(report.findings[0].detail.contains("no such bucket"), "{report:?}");
}
