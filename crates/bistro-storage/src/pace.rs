//! What a read may cost, counted while it runs: a cap on its bytes, a deadline, and a least throughput. The SDK has none of
//! the three for bodies: a drip of two bytes a second would hold it for ever.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bistro_core::ports::ReadLimits;
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::{Place, StorageError, tidy};

/// How long an object may take before its throughput is judged.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// Times that one request is made.
const ATTEMPTS: u32 = 3;

/// Pause before the second attempt; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// One read under way, be it of one stream or of several.
pub(crate) struct Pace {
    pub(crate) at: Place,
    pub(crate) limits: ReadLimits,
    grace: Duration,
    deadline: Instant,
    progress: Mutex<Progress>,
}

/// What came since when.
#[derive(Clone, Copy)]
struct Progress {
    since: Instant,
    bytes: u64,
}

impl Pace {
    /// A read that starts now.
    pub(crate) fn start(at: &Place, limits: ReadLimits, grace: Duration) -> Self {
        let started = Instant::now();
        // A deadline that no clock can say is none.
        let deadline = started.checked_add(limits.deadline).unwrap_or(started + Duration::from_hours(24 * 365));
        Self { at: at.clone(), limits, grace, deadline, progress: Mutex::new(Progress { since: started, bytes: 0 }) }
    }

    /// Waits for `next`, at most until the deadline or until the average so far falls below the least throughput.
    pub(crate) async fn in_time<T>(&self, next: impl Future<Output = T>) -> Result<T, StorageError> {
        let progress = *self.progress();
        let until = self.slow_at(progress).map_or(self.deadline, |slow| slow.min(self.deadline));
        if let Ok(value) = timeout_at(until, next).await {
            return Ok(value);
        }
        Err(if until == self.deadline {
            StorageError::Deadline { at: self.at.clone(), after: self.limits.deadline }
        } else {
            StorageError::TooSlow {
                at: self.at.clone(),
                bytes: progress.bytes,
                elapsed: progress.since.elapsed(),
                min_bytes_per_second: self.limits.min_bytes_per_second,
            }
        })
    }

    /// Counts `more` bytes of a body that came.
    pub(crate) fn came(&self, more: usize) {
        self.progress().bytes += more as u64;
    }

    /// Begins anew: the throughput of an attempt that failed, and the pause after it, are not the next one's.
    pub(crate) fn restart(&self) {
        *self.progress() = Progress { since: Instant::now(), bytes: 0 };
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the bytes that came so far will have been too few; `None` if any pace is good or that moment is out of reach.
    fn slow_at(&self, progress: Progress) -> Option<Instant> {
        let seconds = progress.bytes as f64 / self.limits.min_bytes_per_second as f64;
        let paid_for = Duration::try_from_secs_f64(seconds).ok()?;
        let pace_counts = self.limits.min_bytes_per_second > 0;
        pace_counts.then(|| progress.since.checked_add(paid_for.max(self.grace))).flatten()
    }

    /// The refusal of an object longer than the cap; `stated` is the length that the server names.
    pub(crate) fn too_large(&self, stated: Option<u64>) -> StorageError {
        StorageError::TooLarge { at: self.at.clone(), max_bytes: self.limits.max_bytes, stated }
    }

    /// The refusal of an answer that is not S3's.
    pub(crate) fn malformed(&self, why: &str) -> StorageError {
        StorageError::Malformed { at: self.at.clone(), why: tidy(why) }
    }

    /// A body that ended after `bytes` bytes.
    pub(crate) fn truncated(&self, bytes: usize, why: &str) -> StorageError {
        StorageError::Truncated { at: self.at.clone(), bytes: bytes as u64, why: tidy(why) }
    }

    /// This machine has no room for `bytes` bytes.
    pub(crate) fn no_memory(&self, bytes: usize) -> StorageError {
        StorageError::NoMemory { at: self.at.clone(), bytes: bytes as u64 }
    }

    /// The attempts of one request of this read.
    pub(crate) fn attempts(&self) -> Attempts<'_> {
        Attempts { deadline: self.deadline, made: 0, at: &self.at }
    }
}

/// One policy of repetition, inside the one deadline of a read: what the network or a busy server did is tried again, up to
/// three times with growing pauses.
pub(crate) struct Attempts<'a> {
    deadline: Instant,
    made: u32,
    at: &'a Place,
}

impl Attempts<'_> {
    /// Waits before the next attempt, or hands `error` back if there should be none.
    pub(crate) async fn after(&mut self, error: StorageError) -> Result<(), StorageError> {
        let pause = FIRST_PAUSE * 2u32.pow(self.made);
        self.made += 1;
        if self.made == ATTEMPTS || !is_passing(&error) || Instant::now() + pause >= self.deadline {
            return Err(error);
        }
        tracing::debug!(%error, attempt = self.made, at = %self.at, "asking again");
        sleep(pause).await;
        Ok(())
    }
}

/// Whether to ask again at once. Slowness and a passed deadline have used their time.
fn is_passing(error: &StorageError) -> bool {
    match error {
        StorageError::Unreachable { .. } | StorageError::Truncated { .. } => true,
        StorageError::Server { status, .. } => *status >= 500 || *status == 429,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use bistro_core::ports::BucketAddress;

    use super::*;

    fn slow_after(bytes: u64, min_bytes_per_second: u64) -> Option<Duration> {
        let at = Place::reading(&BucketAddress::parse("shop").unwrap(), "k");
        let limits = ReadLimits { max_bytes: 1, deadline: GRACE, min_bytes_per_second };
        let pace = Pace::start(&at, limits, GRACE);
        let progress = Progress { bytes, ..*pace.progress() };
        pace.slow_at(progress).map(|when| when - progress.since)
    }

    #[test]
    fn bytes_buy_time_beyond_the_grace() {
        assert_eq!(slow_after(0, 1000), Some(GRACE), "silence has the grace");
        assert_eq!(slow_after(4000, 1000), Some(GRACE));
        assert_eq!(slow_after(9000, 1000), Some(Duration::from_secs(9)));
        assert_eq!(slow_after(9000, 0), None, "no least throughput, no end");
        assert_eq!(slow_after(u64::MAX, 1), None, "beyond what a clock can say");
    }
}
