//! The pulse of a loop: what it is doing, and since when. A loop beats before everything that may take long; who watches it
//! (the watchdog, systemd's, a status page) sees a loop that stands still, and where it stands.
//!
//! Every call of the ports has a deadline, so a loop that is well beats again within the longest of them. One that takes
//! longer than usual by right (a master of gibibytes on its way) says so with its beat.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bistro_core::params::{ModelSpec, Params};
use bistro_core::ports::{Clock, Learner, PortError, StepReport};
use bistro_core::tokens::TokenBatch;

/// One beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// How many beats there were, this one included; 0 before the first.
    pub number: u64,
    /// What the loop has begun to do, in a few words that go on "it was …": "training".
    pub doing: &'static str,
    /// When, by [`Clock::elapsed`].
    pub at: Duration,
    /// For how long this may last by right, where that is longer than the watcher's own patience.
    pub may_take: Duration,
}

/// The pulse of one loop; clones share it.
#[derive(Clone)]
pub struct Pulse {
    clock: Arc<dyn Clock>,
    // A std mutex: held for a copy, never across an await.
    last: Arc<Mutex<Beat>>,
}

impl Pulse {
    /// A pulse that begins now.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let first = Beat { number: 0, doing: "starting", at: clock.elapsed(), may_take: Duration::ZERO };
        Self { clock, last: Arc::new(Mutex::new(first)) }
    }

    /// The loop goes on, and begins with `doing`.
    pub fn beat(&self, doing: &'static str) {
        self.beat_within(doing, Duration::ZERO);
    }

    /// As [`Self::beat`], for something that may last as long as `may_take` by right.
    pub fn beat_within(&self, doing: &'static str, may_take: Duration) {
        let at = self.clock.elapsed();
        let mut last = self.lock();
        *last = Beat { number: last.number + 1, doing, at, may_take };
    }

    /// The newest beat.
    pub fn last(&self) -> Beat {
        *self.lock()
    }

    /// For how long the loop has not beaten.
    pub fn silent(&self) -> Duration {
        self.clock.elapsed().saturating_sub(self.last().at)
    }

    /// What the loop stands at and for how long, if it has not beaten for `patience` nor for as long as it said it may take.
    pub fn stalled(&self, patience: Duration) -> Option<(&'static str, Duration)> {
        let beat = self.last();
        let silent = self.clock.elapsed().saturating_sub(beat.at);
        (silent > patience.max(beat.may_take)).then_some((beat.doing, silent))
    }

    /// A pulse that nobody watches: for work beside the loop, which must not pass for the loop's own.
    #[must_use]
    pub fn unwatched(&self) -> Self {
        Self::new(self.clock.clone())
    }

    /// The learner with a beat at every call: its calls are the longest of all, and only the loop makes them.
    pub fn of_learner(&self, inner: Box<dyn Learner>) -> Box<dyn Learner> {
        Box::new(Beating { inner, pulse: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Beat> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A learner that beats.
struct Beating {
    inner: Box<dyn Learner>,
    pulse: Pulse,
}

impl Learner for Beating {
    fn spec(&self) -> ModelSpec {
        self.inner.spec()
    }

    fn load(&mut self, params: &Params) -> Result<(), PortError> {
        self.pulse.beat("loading weights into the model");
        self.inner.load(params)
    }

    fn load_sum(&mut self, base: &Params, delta: &Params, scale: f32) -> Result<(), PortError> {
        self.pulse.beat("adding a delta to the model");
        self.inner.load_sum(base, delta, scale)
    }

    fn params(&self) -> Result<Params, PortError> {
        self.pulse.beat("copying the model's weights");
        self.inner.params()
    }

    fn loss(&mut self, batch: &TokenBatch) -> Result<f64, PortError> {
        self.pulse.beat("measuring a loss");
        self.inner.loss(batch)
    }

    fn train_step(&mut self, batch: &TokenBatch) -> Result<StepReport, PortError> {
        self.pulse.beat("training");
        self.inner.train_step(batch)
    }

    fn reset_optimizer(&mut self) {
        self.inner.reset_optimizer();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Default)]
    struct FakeClock(AtomicU64);

    #[async_trait::async_trait]
    impl Clock for FakeClock {
        fn unix_millis(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        async fn sleep(&self, _: Duration) {}
    }

    #[test]
    fn a_loop_is_stalled_when_it_outstays_both_the_patience_and_its_own_word() {
        let clock = Arc::new(FakeClock::default());
        let pulse = Pulse::new(clock.clone());
        let at = |millis: u64| clock.0.store(millis, Ordering::Relaxed);
        let patience = Duration::from_millis(100);
        at(100);
        assert_eq!(pulse.stalled(patience), None);
        at(101);
        assert_eq!(pulse.stalled(patience), Some(("starting", Duration::from_millis(101))));
        pulse.beat("reading");
        assert_eq!(pulse.stalled(patience), None, "a beat ends the stall");
        pulse.beat_within("downloading", Duration::from_millis(500));
        at(601);
        assert_eq!(pulse.stalled(patience), None);
        at(602);
        assert_eq!(pulse.stalled(patience), Some(("downloading", Duration::from_millis(501))));
        pulse.unwatched().beat("uploading beside the loop");
        assert!(pulse.stalled(patience).is_some());
        assert_eq!(pulse.last().number, 2);
    }
}
