//! `bucket check` and `bucket policy` as an operator meets them; what the check finds in real buckets is tested in
//! `bistro-tests`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::{Command, Output};

fn bucket(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bistro-miner"));
    command.env_clear().env("HOME", "/nonexistent").env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    command.env("AWS_ACCESS_KEY_ID", "AKID").env("AWS_SECRET_ACCESS_KEY", "hush-hush").arg("bucket");
    command.args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_server_that_is_not_there_fails_the_check_by_name() {
    let output = bucket(&["check", "--bucket", "shop"]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{out}{err}");
    assert!(out.starts_with("FAIL  put ") && out.contains("AWS_ENDPOINT_URL"), "{out}");
    assert!(err.contains("bucket shop is not set up"), "{err}");
    assert!(!format!("{out}{err}").contains("hush"), "the secret is shown");
}

/// A bare machine or container: the SDK's development build panics there.
#[test]
fn a_machine_without_certificates_reaches_servers_that_need_none() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bistro-miner"));
    command.env_clear().env("HOME", "/nonexistent").env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    command.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", "/nonexistent");
    command.env("AWS_ACCESS_KEY_ID", "AKID").env("AWS_SECRET_ACCESS_KEY", "hush-hush");
    let output = command.args(["bucket", "check", "--bucket", "shop"]).output().unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{out}{err}");
    assert!(err.contains("install `ca-certificates`"), "{err}");
    assert!(out.starts_with("FAIL  put "), "{out}");
}

#[test]
fn policies_name_the_bucket_and_nothing_wider_than_they_must() {
    let public = text(&bucket(&["policy", "--bucket", "shop"]).stdout);
    assert!(public.contains("\"Resource\": \"arn:aws:s3:::shop/bistro/v1/*\""), "{public}");
    assert!(public.contains("\"Action\": \"s3:GetObject\"") && !public.contains("ListBucket"), "{public}");
    let owner = text(&bucket(&["policy", "--owner", "--bucket", "shop"]).stdout);
    assert!(owner.contains("s3:PutObject") && !owner.contains("s3:*") && !owner.contains("Principal"), "{owner}");
}

#[test]
fn a_name_that_is_no_bucket_s_is_refused() {
    let output = bucket(&["check", "--bucket", "No Bucket"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--bucket No Bucket"), "{}", text(&output.stderr));
}
