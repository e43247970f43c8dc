//! Reads one object within [`ReadLimits`]: a cap on its length, a deadline, and a least throughput. The SDK has none of the
//! three for bodies: a drip of two bytes a second would hold it for ever.

use std::future::Future;
use std::time::Duration;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use bistro_core::ports::ReadLimits;
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use crate::error::{Place, StorageError, refusal};

/// How long an object may take before its throughput is judged.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// Room made for a body at once whose length is not stated.
const FIRST_CHUNK: u64 = 64 << 10;

/// One read under way.
pub(crate) struct Reading<'a> {
    at: &'a Place,
    limits: ReadLimits,
    grace: Duration,
    started: Instant,
    deadline: Instant,
    bytes: u64,
}

impl<'a> Reading<'a> {
    /// A read that starts now and ends at `deadline`.
    pub(crate) fn new(at: &'a Place, limits: ReadLimits, grace: Duration, deadline: Instant) -> Self {
        Self { at, limits, grace, started: Instant::now(), deadline, bytes: 0 }
    }

    /// Sends `request` and reads the body; `None` if there is no such object.
    pub(crate) async fn run<R>(mut self, request: R) -> Result<Option<Bytes>, StorageError>
    where
        R: Future<Output = Result<GetObjectOutput, SdkError<GetObjectError>>>,
    {
        let mut object = match self.in_time(request).await? {
            Ok(object) => object,
            Err(error) => return refusal(self.at, &error).absent_is_none(),
        };
        let max_bytes = self.limits.max_bytes;
        let at = self.at;
        let too_large = |stated| StorageError::TooLarge { at: at.clone(), max_bytes, stated };
        let stated = object.content_length.and_then(|n| u64::try_from(n).ok());
        if stated.is_some_and(|n| n > max_bytes) {
            return Err(too_large(stated));
        }
        // The stated length costs address space only, until bytes really come.
        let mut body = Vec::new();
        self.make_room(&mut body, stated.unwrap_or(FIRST_CHUNK).min(max_bytes) as usize)?;
        while let Some(chunk) = self.in_time(object.body.next()).await? {
            let chunk = chunk.map_err(|error| self.broken(&error.to_string()))?;
            self.bytes += chunk.len() as u64;
            if self.bytes > max_bytes {
                return Err(too_large(None));
            }
            self.make_room(&mut body, chunk.len())?;
            body.extend_from_slice(&chunk);
        }
        match stated {
            Some(n) if n != self.bytes => Err(self.broken(&format!("{n} were stated"))),
            _ => Ok(Some(body.into())),
        }
    }

    /// Waits for `next`, at most until the deadline or until the average so far falls below the least throughput.
    async fn in_time<T>(&self, next: impl Future<Output = T>) -> Result<T, StorageError> {
        let until = self.slow_at().map_or(self.deadline, |slow| slow.min(self.deadline));
        if let Ok(value) = timeout_at(until, next).await {
            return Ok(value);
        }
        Err(if until == self.deadline {
            StorageError::Deadline { at: self.at.clone(), after: self.limits.deadline }
        } else {
            StorageError::TooSlow {
                at: self.at.clone(),
                bytes: self.bytes,
                elapsed: self.started.elapsed(),
                min_bytes_per_second: self.limits.min_bytes_per_second,
            }
        })
    }

    /// When the bytes that came so far will have been too few; `None` if any pace is good or that moment is out of reach.
    fn slow_at(&self) -> Option<Instant> {
        let seconds = self.bytes as f64 / self.limits.min_bytes_per_second as f64;
        let paid_for = Duration::try_from_secs_f64(seconds).ok()?;
        let pace_counts = self.limits.min_bytes_per_second > 0;
        pace_counts.then(|| self.started.checked_add(paid_for.max(self.grace))).flatten()
    }

    /// Room for `more` bytes. A machine that has none refuses the object; the default would end the process.
    fn make_room(&self, body: &mut Vec<u8>, more: usize) -> Result<(), StorageError> {
        let bytes = (body.len() + more) as u64;
        let full = |_| StorageError::NoMemory { at: self.at.clone(), bytes };
        if body.is_empty() { body.try_reserve_exact(more).map_err(full) } else { body.try_reserve(more).map_err(full) }
    }

    fn broken(&self, why: &str) -> StorageError {
        StorageError::Truncated { at: self.at.clone(), bytes: self.bytes, why: crate::error::tidy(why) }
    }
}

#[cfg(test)]
mod tests {
    use bistro_core::ports::BucketAddress;

    use super::*;

    fn slow_after(bytes: u64, min_bytes_per_second: u64) -> Option<Duration> {
        let at = Place::reading(&BucketAddress::parse("shop").unwrap(), "k");
        let limits = ReadLimits { max_bytes: 1, deadline: GRACE, min_bytes_per_second };
        let mut reading = Reading::new(&at, limits, GRACE, Instant::now());
        reading.bytes = bytes;
        reading.slow_at().map(|when| when - reading.started)
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
