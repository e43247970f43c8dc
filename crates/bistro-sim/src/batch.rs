//! Many simulations on all cores.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use anyhow::Result;

use crate::subject::Subject;
use crate::toy::Toy;
use crate::{Outcome, Scenario, run};

/// Runs all `jobs` (a scenario and a seed each) with the toy: see [`with`].
pub fn run_all(jobs: &[(Scenario, u64)], done: impl FnMut(usize, &Outcome) -> Result<()>) -> Result<Vec<Outcome>> {
    let toy: Arc<dyn Subject> = Arc::new(Toy);
    with(&toy, jobs, done)
}

/// Runs all `jobs` with `subject`, and tells each one's number as it ends. The outcomes are in the jobs' order.
/// An error of one, or of `done`, ends the rest.
pub fn with(
    subject: &Arc<dyn Subject>,
    jobs: &[(Scenario, u64)],
    mut done: impl FnMut(usize, &Outcome) -> Result<()>,
) -> Result<Vec<Outcome>> {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (sender, outcomes) = mpsc::channel();
    let mut all: Vec<Option<Outcome>> = jobs.iter().map(|_| None).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some((scenario, seed)) = jobs.get(i) else { return };
                    // A closed channel: the other end met an error.
                    if sender.send((i, run::with(subject, scenario, *seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        // By value: an early return closes the channel, and the threads end with what they are at.
        for (i, outcome) in outcomes {
            let outcome = outcome?;
            done(i, &outcome)?;
            all[i] = Some(outcome);
        }
        Ok(())
    })
    .map(|()| all.into_iter().flatten().collect())
}
