//! Proves what a bucket lets its owner and the public do, by doing it: with the operator's own keys and without any.
//!
//! Everything happens to objects of its own, whose names hold `id`; what is left of them is removed at the end.
//!
//! - this file: the report.
//! - `owner`: writing, writing once, parts, listing, deleting.
//! - `public`: reading one prefix, and nothing else.
//! - [`clock`]: the server's time.
//! - [`policy`]: what to paste where a check fails.

pub mod clock;
mod owner;
pub mod policy;
mod public;

use std::time::Duration;

use aws_sdk_s3::Client;
use bistro_core::ports::{OwnBucket as _, PortError};
use bytes::Bytes;

use crate::own::S3OwnBucket;
use crate::public::S3PublicBuckets;

/// The one prefix that the public may read: all objects of the protocol lie there.
pub const PREFIX: &str = "bistro/v1/";

/// Every anonymous request may take this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it must be.
    Pass,
    /// Bistro works, but the bucket gives away or lacks something.
    Warn,
    /// Bistro does not work, or not safely.
    Fail,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its name, the same in every run: `put`, `public_list`.
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// One sentence: what was found, and how to mend it.
    pub detail: String,
}

/// All checks, in the order in which they were made.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The checks. Those that an earlier failure makes meaningless are absent.
    pub findings: Vec<Finding>,
    /// What the upload of the large probe moved, bytes a second; absent if it failed.
    pub upload_bytes_per_second: Option<f64>,
}

impl Report {
    /// Whether no check failed.
    pub fn holds(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict != Verdict::Fail)
    }

    /// How the check `name` ended; `None` if it was not made.
    pub fn verdict(&self, name: &str) -> Option<Verdict> {
        self.findings.iter().find(|finding| finding.name == name).map(|finding| finding.verdict)
    }
}

/// Checks `own`, with `public` as the strangers' view of it. `id` tells this run's objects from others' (letters and digits);
/// `large` bytes (more than 5 MiB) are uploaded in parts to measure the line.
pub async fn check(own: &S3OwnBucket, public: &S3PublicBuckets, id: &str, large: usize) -> Report {
    let (stranger, _) = public.client_of(&own.address());
    let mut run = Run { own, public, stranger, id, large, findings: Vec::new(), speed: None };
    let writes = run.owner().await;
    run.strangers(writes).await;
    run.clean_up().await;
    Report { findings: run.findings, upload_bytes_per_second: run.speed }
}

/// A run of all checks.
struct Run<'a> {
    own: &'a S3OwnBucket,
    public: &'a S3PublicBuckets,
    /// The same bucket, without keys.
    stranger: Client,
    id: &'a str,
    large: usize,
    findings: Vec<Finding>,
    speed: Option<f64>,
}

impl Run<'_> {
    fn note(&mut self, name: &'static str, verdict: Verdict, detail: impl Into<String>) {
        self.findings.push(Finding { name, verdict, detail: detail.into() });
    }

    fn pass(&mut self, name: &'static str, detail: impl Into<String>) {
        self.note(name, Verdict::Pass, detail);
    }

    fn fail(&mut self, name: &'static str, detail: impl Into<String>) {
        self.note(name, Verdict::Fail, detail);
    }

    /// What the owner's call did: passed with `done`, or failed with the error's own words.
    fn outcome(&mut self, name: &'static str, outcome: Result<(), PortError>, done: &str) -> bool {
        match outcome {
            Ok(()) => self.pass(name, done),
            Err(error) => self.fail(name, error.message),
        }
        self.findings.last().is_some_and(|finding| finding.verdict == Verdict::Pass)
    }

    /// The name of a probe under the public prefix.
    fn key(&self, what: &str) -> String {
        format!("{PREFIX}check/{}/{what}", self.id)
    }

    /// The name of a probe where the public has no business.
    fn key_elsewhere(&self) -> String {
        format!("bistro-check-{}", self.id)
    }

    /// The small probe's bytes.
    fn small(&self) -> Bytes {
        format!("bistro bucket check {}\n", self.id).into()
    }

    async fn clean_up(&mut self) {
        let left = [self.key("small"), self.key("large"), self.key("stranger"), self.key_elsewhere()];
        for key in left {
            // Absent for the most part; and whether deleting works was a check of its own.
            if let Err(error) = self.own.delete(&key).await {
                tracing::debug!(%error, key, "a probe may stay behind");
            }
        }
    }
}
