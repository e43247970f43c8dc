//! Long computations off the async threads, and how much of the time they take.

use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;

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
pub async fn joined<T>(task: &mut JoinHandle<T>) -> T {
    match task.await {
        Ok(outcome) => outcome,
        // Tasks of the loops are cancelled only by dropping them.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// For which share of the time the model computes: what overlapping everything else is for.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    begun: Instant,
    busy: Duration,
    idle: Duration,
}

impl Default for Meter {
    fn default() -> Self {
        Self { begun: Instant::now(), busy: Duration::ZERO, idle: Duration::ZERO }
    }
}

impl Meter {
    /// Runs and counts work of the model.
    pub fn model<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let outcome = compute(work);
        self.busy += begun.elapsed();
        outcome
    }

    /// Counts time in which there was nothing to do.
    pub fn idle(&mut self, time: Duration) {
        self.idle += time;
    }

    /// Time in which there was something to do.
    pub fn working(&self) -> Duration {
        self.begun.elapsed().saturating_sub(self.idle)
    }

    /// The share of [`Meter::working`] in which the model computed.
    pub fn share(&self) -> f64 {
        self.busy.as_secs_f64() / self.working().as_secs_f64().max(1e-9)
    }
}
