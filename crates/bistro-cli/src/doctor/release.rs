//! Whether there is a newer release: D21. Asked for only: no program of this project calls anybody's home by itself.

use std::time::Duration;

use bistro_pages::PagesError;
use bistro_pages::fault::Fault;
use bistro_pages::web::{Url, Web, WebOptions};
use semver::Version;
use serde_json::Value;

use super::Outcome;

/// Where the newest release of this repository is told, in the words of GitHub's interface
/// (`GET /repos/{owner}/{repo}/releases/latest`).
pub const LATEST: &str = "https://api.github.com/repos/bistro-training/bistro/releases/latest";

/// The version of this program.
const OURS: &str = env!("CARGO_PKG_VERSION");

/// Longest answer that is read, bytes: a release lists its files, and its notes may have 125,000 letters.
const MAX_ANSWER: u64 = 1 << 20;

/// D21, asked at `address` if at all.
pub(super) async fn newer(address: Option<&str>) -> Outcome {
    let Some(address) = address else {
        return Outcome::skip("nobody was asked for a newer release: `--check-updates` asks");
    };
    let again = "try again, or look at the project's releases yourself";
    match ask(address).await {
        Ok(None) => Outcome::pass(format!("this is {OURS}, and no release is published at {address}")),
        Ok(Some(version)) => verdict(&version),
        Err(why) => Outcome::warn(format!("whether there is a newer release is not known: {why}"), again),
    }
}

fn verdict(newest: &Version) -> Outcome {
    match Version::parse(OURS) {
        Ok(ours) if ours < *newest => Outcome::warn(
            format!("{newest} is released, this is {OURS}"),
            format!("read CHANGELOG.md, then docs/operations/upgrading.md: {}/releases", env!("CARGO_PKG_REPOSITORY")),
        ),
        _ => Outcome::pass(format!("this is {OURS}, and the newest release is {newest}")),
    }
}

/// The newest release; `None` if there is none yet.
async fn ask(address: &str) -> Result<Option<Version>, String> {
    let url = Url::parse(address).map_err(|error| format!("`{address}` is no address: {error}"))?;
    let options = WebOptions { attempts: 2, deadline: Duration::from_secs(10), ..WebOptions::default() };
    let web = Web::new(options).map_err(|error| error.to_string())?;
    match web.get(&url, None, MAX_ANSWER).await {
        Ok(answer) => parse(&answer.bytes).map(Some).ok_or_else(|| format!("{address} names no version")),
        Err(PagesError::Page { fault: Fault::NotFound, .. }) => Ok(None),
        Err(PagesError::Page { at, why, .. }) => Err(format!("{at}: {why}")),
        Err(error) => Err(error.to_string()),
    }
}

/// The version of GitHub's answer. Nothing else of it is believed or shown.
fn parse(answer: &[u8]) -> Option<Version> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let tag = answer.get("tag_name")?.as_str()?;
    Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn the_address_is_that_of_the_repository() {
        let path = env!("CARGO_PKG_REPOSITORY").strip_prefix("https://github.com/").unwrap();
        assert_eq!(LATEST, format!("https://api.github.com/repos/{path}/releases/latest"));
    }

    #[test]
    fn a_release_is_newer_by_its_numbers_and_a_candidate_of_ours_is_not() {
        let says = |version: &str| verdict(&Version::parse(version).unwrap()).verdict;
        assert_eq!(says("10.0.0"), Verdict::Warn);
        assert_eq!(says(OURS), Verdict::Pass);
        assert_eq!(says(&format!("{OURS}-rc.1")), Verdict::Pass);
    }

    #[test]
    fn what_is_no_version_is_none() {
        assert_eq!(parse(br#"{"tag_name": "v1.2.3", "body": "\u001b[2J"}"#), Some(Version::new(1, 2, 3)));
        for answer in ["", "[]", r#"{"tag_name": 1}"#, r#"{"tag_name": "v1.2"}"#, r#"{"tag_name": "\u001b[2J"}"#] {
            assert_eq!(parse(answer.as_bytes()), None, "{answer}");
        }
    }
}
