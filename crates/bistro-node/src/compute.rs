//! Long computations off the async threads.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs `work` where it holds up no other task: on a runtime of several threads its neighbours move away first; on one of
/// a single thread (tests) it simply runs, which keeps them deterministic.
pub fn compute<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
