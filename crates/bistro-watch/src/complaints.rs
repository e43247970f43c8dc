//! Warnings and errors of the log, counted, and the newest kept: what an operator looks for first.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Complaints that are kept.
const MAX_KEPT: usize = 32;

/// Characters of a message that are kept: it may hold a stranger's text.
const MAX_MESSAGE: usize = 400;

/// Minutes by which the last hour is counted.
const MINUTES: u64 = 60;

/// A warning or an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// When, milliseconds since the Unix epoch.
    pub time: u64,
    /// `WARN` or `ERROR`.
    pub level: String,
    /// The message and its fields.
    pub message: String,
}

/// How many there were, and the newest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Warnings since the program began.
    pub warnings: u64,
    /// Errors since the program began.
    pub errors: u64,
    /// Both in the last hour.
    pub last_hour: u64,
    /// The newest, oldest first.
    pub newest: Vec<Complaint>,
}

/// A layer of the log that keeps them. Clones share what is kept.
#[derive(Clone, Debug, Default)]
pub struct Complaints {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    warnings: u64,
    errors: u64,
    newest: VecDeque<Complaint>,
    /// Complaints of a minute since the Unix epoch, newest last.
    minutes: VecDeque<(u64, u64)>,
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Complaints {
    /// Keeps a complaint.
    fn push(&self, time: u64, level: Level, message: &str) {
        let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        let message = message.chars().take(MAX_MESSAGE).map(clean).collect();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if level == Level::ERROR {
            kept.errors += 1;
        } else {
            kept.warnings += 1;
        }
        if kept.newest.len() == MAX_KEPT {
            kept.newest.pop_front();
        }
        kept.newest.push_back(Complaint { time, level: level.to_string(), message });
        let minute = time / 60_000;
        match kept.minutes.back_mut() {
            Some((last, count)) if *last == minute => *count += 1,
            _ => kept.minutes.push_back((minute, 1)),
        }
        while kept.minutes.len() as u64 > MINUTES {
            kept.minutes.pop_front();
        }
    }

    /// How many there were, and the newest; `now` in milliseconds since the Unix epoch.
    pub fn summary(&self, now: u64) -> Summary {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let hour = (now / 60_000).saturating_sub(MINUTES - 1);
        Summary {
            warnings: kept.warnings,
            errors: kept.errors,
            last_hour: kept.minutes.iter().filter(|(minute, _)| *minute >= hour).map(|(_, count)| count).sum(),
            newest: kept.newest.iter().cloned().collect(),
        }
    }
}

impl<S: Subscriber> Layer<S> for Complaints {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        if level <= Level::WARN {
            let mut text = Text::default();
            event.record(&mut text);
            self.push(now(), level, &format!("{}{}", text.message, text.fields));
        }
    }
}

/// A message with its fields behind it, as the log prints them.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing into a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn warnings_and_errors_are_kept_with_their_fields_and_nothing_else_is() {
        let complaints = Complaints::default();
        let subscriber = tracing_subscriber::registry().with(complaints.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("all is well");
            tracing::warn!(error = %"gone", "the chain does not answer");
            tracing::error!("bad\u{1b}[2Jtext {}", "x".repeat(1000));
        });
        let summary = complaints.summary(now());
        assert_eq!((summary.warnings, summary.errors, summary.last_hour), (1, 1, 2));
        assert_eq!(summary.newest[0].message, "the chain does not answer error=gone");
        assert!(!summary.newest[1].message.contains('\u{1b}'));
        assert_eq!(summary.newest[1].message.chars().count(), MAX_MESSAGE);
    }

    #[test]
    fn a_storm_of_complaints_is_bounded_and_the_hour_passes() {
        let complaints = Complaints::default();
        let minute = |m: u64| 1_000_000_000 + m * 60_000;
        for m in 0..500 {
            complaints.push(minute(m), Level::WARN, "again");
        }
        let summary = complaints.summary(minute(499));
        assert_eq!((summary.warnings, summary.newest.len(), summary.last_hour), (500, MAX_KEPT, 60));
        assert_eq!(complaints.summary(minute(499 + 30)).last_hour, 30);
        assert_eq!(complaints.summary(minute(600)).last_hour, 0);
    }
}
