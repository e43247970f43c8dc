//! Bars at a terminal for what is waited for longer than two seconds. Log lines go out above them, never through them.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write};
use std::sync::LazyLock;
use std::time::Duration;

use bistro_node::status::{Activity, Board};
use bistro_watch::text;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::MakeWriter;

use crate::connect::now;

/// Shorter waits are nobody's concern.
const SHOWN_AFTER: Duration = Duration::from_secs(2);

/// Time between two looks at the board.
const EVERY: Duration = Duration::from_millis(250);

/// Standard error is one for the whole process, and so are the bars on it.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Where log lines go: to standard error, above the bars.
#[derive(Clone, Copy, Debug)]
pub struct AboveBars;

impl Write for AboveBars {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        BARS.suspend(|| std::io::stderr().lock().write(line))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

/// Whether somebody looks at standard error.
pub fn at_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Shows the waits of `board` until `stop`.
pub async fn show(board: Board, stop: CancellationToken) {
    let mut bars: BTreeMap<String, ProgressBar> = BTreeMap::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => break,
        }
        let now = now();
        let waits = long(&board.status().activities, now);
        bars.retain(|what, bar| {
            let still = waits.iter().any(|wait| wait.what == *what);
            if !still {
                bar.finish_and_clear();
                BARS.remove(bar);
            }
            still
        });
        for wait in &waits {
            bars.entry(wait.what.clone()).or_insert_with(bar).set_message(message(wait, now));
        }
    }
    for bar in bars.values() {
        bar.finish_and_clear();
    }
}

/// The waits that are long enough to be shown.
fn long(activities: &[Activity], now: u64) -> Vec<Activity> {
    let shown = |wait: &&Activity| u128::from(now.saturating_sub(wait.since)) >= SHOWN_AFTER.as_millis();
    activities.iter().filter(shown).cloned().collect()
}

fn message(wait: &Activity, now: u64) -> String {
    let size = wait.bytes.map(|bytes| format!(" ({})", text::bytes(bytes))).unwrap_or_default();
    let seconds = now.saturating_sub(wait.since) as f64 / 1e3;
    format!("{}{size}, {}", wait.what, text::span(seconds))
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = BARS.add(ProgressBar::new_spinner().with_style(style));
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_waits_of_two_seconds_are_shown() {
        let wait = |what: &str, since, bytes| Activity { what: what.into(), since, bytes };
        let waits = [wait("a page", 9_500, None), wait("uploading the delta", 8_000, Some(5 << 20))];
        let shown = long(&waits, 10_000);
        assert_eq!(
            shown.iter().map(|w| message(w, 10_000)).collect::<Vec<_>>(),
            ["uploading the delta (5.0 MiB), 2 s"]
        );
    }
}
