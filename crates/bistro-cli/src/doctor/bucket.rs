//! The bucket: D11 to D14.

use bistro_core::ports::{OwnBucket as _, PortError};
use bistro_core::protocol::Encoding;
use bistro_storage::check::{self, PREFIX, Report};

use super::Outcome;
use super::subject::{Buckets, Subject};
use crate::exit;

/// Bytes that are uploaded to measure the line.
const PROBE: usize = 8 << 20;
/// An upload that takes longer is late for its block: blocks.
const SLOW_BLOCKS: f64 = 5.0;
/// Seconds between blocks on Bittensor's networks.
const BLOCK_SECONDS: f64 = 12.0;

/// D11.
pub(super) async fn reach(subject: &Subject, buckets: &Buckets) -> Outcome {
    match buckets.own.list(&format!("{PREFIX}check/")).await {
        Ok(_) => Outcome::pass(format!("{} is there, and the keys open it", buckets.address)),
        Err(error) => refused(subject, &error),
    }
}

fn refused(subject: &Subject, error: &PortError) -> Outcome {
    Outcome::fail(error.message.clone(), subject.bucket_line()).ending(exit::of_port(error))
}

/// D12 to D14: everything is tried, and a probe uploaded.
pub(super) async fn try_all(subject: &Subject, buckets: &Buckets) -> Vec<(&'static str, Outcome)> {
    let id = format!("{:016x}", rand::random::<u64>());
    let report = check::check(&buckets.own, &buckets.public, &id, PROBE).await;
    let public = |name: &str| name.starts_with("public_");
    let own = "the keys can write, write once, read, list and delete, in parts as well";
    let strangers = format!("the public can read `{PREFIX}`, and nothing else");
    vec![
        ("D12", worst(subject, &report, |name| !public(name), own)),
        ("D13", worst(subject, &report, public, &strangers)),
        ("D14", upload(subject, &report)),
    ]
}

/// The first failure, else the first warning, among the findings of a kind.
fn worst(subject: &Subject, report: &Report, of: impl Fn(&str) -> bool, all: &str) -> Outcome {
    let findings: Vec<_> = report.findings.iter().filter(|finding| of(finding.name)).collect();
    let first = |verdict| findings.iter().find(|finding| finding.verdict == verdict);
    if let Some(finding) = first(check::Verdict::Fail) {
        return Outcome::fail(format!("{}: {}", finding.name, finding.detail), subject.bucket_line());
    }
    if let Some(finding) = first(check::Verdict::Warn) {
        return Outcome::warn(format!("{}: {}", finding.name, finding.detail), subject.bucket_line());
    }
    if findings.is_empty() { Outcome::skip("nothing could be tried") } else { Outcome::pass(all) }
}

fn upload(subject: &Subject, report: &Report) -> Outcome {
    let Some(speed) = report.upload_bytes_per_second else { return Outcome::skip("nothing was uploaded") };
    let line = format!("{:.1} MiB/s", speed / f64::from(1 << 20));
    let Some((config, _)) = &subject.model else { return Outcome::pass(line) };
    let (what, bytes) = match subject.encoding {
        Some(encoding) => {
            (format!("a delta ({})", encoding.name()), bistro_delta::max_object_size(&config.spec(), encoding))
        }
        None => ("a whole master".to_owned(), bistro_delta::max_object_size(&config.spec(), Encoding::F32)),
    };
    let seconds = bytes as f64 / speed;
    let says = format!("{line}: {what} takes at most {seconds:.0} s, {:.1} blocks", seconds / BLOCK_SECONDS);
    if subject.encoding.is_some() && seconds > SLOW_BLOCKS * BLOCK_SECONDS {
        return Outcome::warn(says, format!("{} --delta.encoding coarse", subject.program()));
    }
    Outcome::pass(says)
}
