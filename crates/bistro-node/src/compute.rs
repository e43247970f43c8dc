//! Long computations off the async threads, and how much of the time they take.

use std::sync::Arc;
use std::time::Duration;

use bistro_core::ports::Clock;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, JoinHandle};

fn several_threads() -> bool {
    let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
    matches!(flavor, Ok(RuntimeFlavor::MultiThread))
}

/// Runs `work` where it holds up no other task: on a runtime of several threads its neighbours move away first; on one of
/// a single thread (tests) it simply runs, which keeps them deterministic.
pub fn compute<T>(work: impl FnOnce() -> T) -> T {
    if several_threads() { tokio::task::block_in_place(work) } else { work() }
}

/// Runs `work` beside the loop: on a thread of its own, or as a task where the runtime has only one.
pub fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    if several_threads() { tokio::task::spawn_blocking(work) } else { tokio::spawn(async move { work() }) }
}

/// The outcome of a task. A panic in it goes on here.
pub async fn joined<T>(task: impl Future<Output = Result<T, JoinError>>) -> T {
    match task.await {
        Ok(outcome) => outcome,
        // Tasks of the loops are cancelled only by dropping them.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// For which share of the time the model computes: what overlapping everything else is for.
#[derive(Clone)]
pub struct Meter {
    clock: Arc<dyn Clock>,
    begun: Duration,
    busy: Duration,
    idle: Duration,
}

impl Meter {
    /// Measures from now on.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let begun = clock.elapsed();
        Self { clock, begun, busy: Duration::ZERO, idle: Duration::ZERO }
    }

    /// Runs and counts work of the model.
    pub fn model<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = self.clock.elapsed();
        let outcome = compute(work);
        self.busy += self.clock.elapsed().saturating_sub(begun);
        outcome
    }

    /// Counts time since `begun` (by the same clock) in which there was nothing to do.
    pub fn idle_since(&mut self, begun: Duration) {
        self.idle += self.clock.elapsed().saturating_sub(begun);
    }

    /// Time in which there was something to do.
    fn working(&self) -> Duration {
        self.clock.elapsed().saturating_sub(self.begun + self.idle)
    }

    /// The share of the time with something to do in which the model computed.
    pub fn share(&self) -> f64 {
        self.share_of(self.busy)
    }

    /// The share of that time which `time` is.
    pub fn share_of(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.working().as_secs_f64().max(1e-9)
    }
}
