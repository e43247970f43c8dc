//! Checks the own bucket with the operator's keys and with a stranger's eyes, and prints the policy to paste.

use std::io::Write as _;

use anyhow::{Result, anyhow, bail};
use bistro_core::ports::BucketAddress;
use bistro_core::protocol::Encoding;
use bistro_storage::check::{Report, Verdict, check, policy};
use bistro_storage::{S3Config, S3OwnBucket, S3PublicBuckets};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::run_rules;

/// Time between two blocks on Bittensor's networks, seconds.
const BLOCK_SECONDS: f64 = 12.0;

/// Flags of `bucket`.
#[derive(Args, Clone, Debug)]
pub struct BucketArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Proves by doing it what your keys may do in the bucket, and what the public may: read `bistro/v1/`, and nothing else.
    ///
    /// Keys, endpoint and region come from AWS's own variables and profile. Objects made for the check are removed again.
    /// Exit status: 0 if no check failed, 2 otherwise.
    Check(CheckArgs),
    /// Prints the bucket's policy, or that of the user whose keys the program has.
    Policy(PolicyArgs),
}

#[derive(Args, Clone, Debug)]
struct CheckArgs {
    /// The bucket: `NAME`, or `NAME@REGION`.
    #[arg(long, env = "BISTRO_BUCKET", value_name = "BUCKET")]
    bucket: String,
    /// The model whose deltas the measured upload is held against: a preset or a `config.json`.
    #[arg(long, env = "BISTRO_MODEL", default_value = "nano", value_name = "PRESET|FILE")]
    model: String,
    /// MiB that are uploaded to measure the line.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(6..=1024), value_name = "N")]
    mebibytes: u16,
    /// First replace the bucket's policy by the one that this command prints. Your keys must be allowed to.
    #[arg(long)]
    set_policy: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Clone, Debug)]
struct PolicyArgs {
    /// The bucket's name.
    #[arg(long, env = "BISTRO_BUCKET", value_name = "BUCKET")]
    bucket: String,
    /// The policy of the user or role whose keys the program has.
    #[arg(long)]
    owner: bool,
}

/// Runs the command until it is done or `stop`.
pub async fn run(args: &BucketArgs, stop: CancellationToken) -> Result<()> {
    match &args.what {
        What::Policy(args) => {
            let name = parse(&args.bucket)?.name;
            let text = if args.owner { policy::for_the_owner(&name) } else { policy::for_the_public(&name) };
            print(&text)
        }
        What::Check(args) => tokio::select! {
            () = stop.cancelled() => bail!("stopped: objects of the check may stay behind under bistro/v1/check/"),
            outcome = run_check(args) => outcome,
        },
    }
}

fn parse(bucket: &str) -> Result<BucketAddress> {
    BucketAddress::parse(bucket).map_err(|why| anyhow!("--bucket {bucket}: {why}"))
}

async fn run_check(args: &CheckArgs) -> Result<()> {
    let address = parse(&args.bucket)?;
    let spec = run_rules::model(&args.model)?.spec();
    let s3 = S3Config::from_environment().await;
    let own = S3OwnBucket::connect(address.clone(), &s3).await;
    if args.set_policy {
        own.set_policy(&policy::for_the_public(&address.name)).await?;
    }
    let public = S3PublicBuckets::new(&s3);
    let id = format!("{:016x}", rand::random::<u64>());
    let report = check(&own, &public, &id, usize::from(args.mebibytes) << 20).await;
    let sizes = Encoding::ALL.map(|encoding| (encoding, bistro_delta::max_object_size(&spec, encoding)));
    let shown = Shown { report, bucket: address.name, endpoint: s3.endpoint_url, model: args.model.clone(), sizes };
    print(&if args.json { format!("{:#}", shown.json()) } else { shown.text() })?;
    if !shown.report.holds() {
        bail!("bucket {} is not set up for Bistro: see the checks that failed", shown.bucket);
    }
    Ok(())
}

fn print(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{}", text.trim_end())?)
}

/// A report as it is printed.
struct Shown {
    report: Report,
    bucket: String,
    endpoint: Option<String>,
    model: String,
    /// The largest delta in each encoding, bytes.
    sizes: [(Encoding, u64); Encoding::ALL.len()],
}

impl Shown {
    fn text(&self) -> String {
        use std::fmt::Write as _; // into a string, which never fails

        let mut text = String::new();
        for finding in &self.report.findings {
            let _ = writeln!(text, "{}  {:<21} {}", word(finding.verdict), finding.name, finding.detail);
        }
        if let Some(speed) = self.report.upload_bytes_per_second {
            let speed_text = format!("Uploads at {:.1} MiB/s", mebibytes(speed));
            let _ = writeln!(text, "\n{speed_text}. A delta of the model `{}` has at most", self.model);
            for (encoding, bytes) in self.sizes {
                let seconds = bytes as f64 / speed;
                let (size, blocks) = (mebibytes(bytes as f64), blocks(seconds));
                let name = encoding.name();
                let _ = writeln!(text, "{name:>8} {size:>9.1} MiB: {seconds:.1} s, {blocks} block(s)");
            }
        }
        if let Some(verdict) = self.verdict_on_keys() {
            text += verdict;
            text += &policy::for_the_owner(&self.bucket);
            text.push('\n');
        }
        if self.wants_policy() {
            text += "\nThe bucket's policy to paste (or let this command set it: --set-policy):\n";
            text += &policy::for_the_public(&self.bucket);
        }
        text
    }

    fn json(&self) -> Value {
        let checks = self.report.findings.iter().map(
            |finding| json!({"name": finding.name, "verdict": word(finding.verdict).trim(), "detail": finding.detail}),
        );
        let deltas = self.report.upload_bytes_per_second.map(|speed| {
            let delta = |(encoding, bytes): (Encoding, u64)| {
                let seconds = bytes as f64 / speed;
                json!({"encoding": encoding.name(), "bytes": bytes, "seconds": seconds, "blocks": blocks(seconds)})
            };
            self.sizes.map(delta).to_vec()
        });
        let paste =
            |wanted: bool, policy: String| wanted.then(|| serde_json::from_str::<Value>(&policy).ok()).flatten();
        json!({
            "bucket": self.bucket,
            "endpoint": self.endpoint,
            "ok": self.report.holds(),
            "checks": checks.collect::<Vec<_>>(),
            "upload_bytes_per_second": self.report.upload_bytes_per_second,
            "model": self.model,
            "deltas": deltas,
            "public_policy": paste(self.wants_policy(), policy::for_the_public(&self.bucket)),
            "owner_policy": paste(self.verdict_on_keys().is_some(), policy::for_the_owner(&self.bucket)),
        })
    }

    /// Whether a check of the public did not pass.
    fn wants_policy(&self) -> bool {
        let public = self.report.findings.iter().filter(|finding| finding.name.starts_with("public_"));
        public.into_iter().any(|finding| finding.verdict != Verdict::Pass)
    }

    /// What to do about the keys, if a check of them failed.
    fn verdict_on_keys(&self) -> Option<&'static str> {
        let mut own = self.report.findings.iter().filter(|finding| !finding.name.starts_with("public_"));
        let failed = own.any(|finding| finding.verdict == Verdict::Fail);
        failed.then_some("\nIf rights are what your keys lack, the policy of their user or role to paste:\n")
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Warn => "WARN",
        Verdict::Fail => "FAIL",
    }
}

fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// Blocks that begin while an upload of `seconds` runs, and the one it begins in.
fn blocks(seconds: f64) -> u64 {
    (seconds / BLOCK_SECONDS).ceil().max(1.0) as u64
}

#[cfg(test)]
mod tests {
    use bistro_storage::check::Finding;

    use super::*;

    fn shown(findings: &[(&'static str, Verdict)]) -> Shown {
        let finding = |&(name, verdict)| Finding { name, verdict, detail: "because".into() };
        let findings = findings.iter().map(finding).collect();
        let report = Report { findings, upload_bytes_per_second: Some(f64::from(1 << 20)) };
        let sizes = Encoding::ALL.map(|encoding| (encoding, 30 << 20));
        Shown { report, bucket: "shop".into(), endpoint: None, model: "nano".into(), sizes }
    }

    #[test]
    fn a_good_bucket_needs_no_policy() {
        let good = shown(&[("put", Verdict::Pass), ("public_get", Verdict::Pass)]);
        assert!(good.text().starts_with("PASS  put"), "{}", good.text());
        assert!(good.text().contains("30.0 MiB: 30.0 s, 3 block(s)"), "{}", good.text());
        assert!(!good.text().contains("Statement"), "{}", good.text());
        let json = good.json();
        assert_eq!(
            (&json["ok"], &json["public_policy"], &json["owner_policy"]),
            (&json!(true), &Value::Null, &Value::Null)
        );
        assert_eq!(json["deltas"][0]["blocks"], 3);
    }

    #[test]
    fn what_failed_decides_which_policy_is_to_paste() {
        let open = shown(&[("put", Verdict::Pass), ("public_list", Verdict::Warn)]);
        assert!(open.text().contains("BistroPublicRead") && !open.text().contains("BistroObjects"), "{}", open.text());
        let keys = shown(&[("put", Verdict::Fail), ("public_list", Verdict::Pass)]);
        assert!(keys.text().contains("BistroObjects") && !keys.text().contains("BistroPublicRead"), "{}", keys.text());
        let json = keys.json();
        assert_eq!((&json["ok"], &json["checks"][0]["verdict"]), (&json!(false), &json!("FAIL")));
        assert_eq!(json["owner_policy"]["Statement"][1]["Resource"], "arn:aws:s3:::shop");
    }
}
