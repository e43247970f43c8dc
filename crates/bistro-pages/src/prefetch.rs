//! The next pages made ready while the model computes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bistro_core::pages::{DatasetIndex, PageId};
use bistro_core::ports::{Pages, PortError, Retry};
use bistro_core::tokens::TokenBatch;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

type Outcome = Result<Arc<TokenBatch>, PortError>;

/// Most pages that are ready or under way at a time, whatever is wanted: they are kept in memory.
pub const MAX_AHEAD: usize = 32;

/// Pages that are fetched in the background once [`Pages::want`] has named them. Wraps any other pages.
///
/// A page under way is awaited, never fetched twice at a time; a page that nobody named is fetched when asked for. A failure
/// is handed out once, and the next call tries again.
pub struct Prefetcher {
    pages: Arc<dyn Pages>,
    slots: Arc<Semaphore>,
    jobs: Mutex<HashMap<PageId, Job>>,
    waited: AtomicU64,
}

/// A page under way or ready. Dropping it stops the work.
struct Job {
    outcome: Shared<BoxFuture<'static, Outcome>>,
    task: AbortHandle,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Prefetcher {
    /// Fetches at most `at_once` (at least 1) pages at a time in the background.
    pub fn new(pages: Arc<dyn Pages>, at_once: usize) -> Self {
        Self {
            pages,
            slots: Arc::new(Semaphore::new(at_once.max(1))),
            jobs: Mutex::default(),
            waited: AtomicU64::new(0),
        }
    }

    /// Pages that are ready or under way.
    pub fn under_way(&self) -> usize {
        self.jobs().len()
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<PageId, Job>> {
        // The map is whole after every statement, so a panic elsewhere has not broken it.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, id: PageId) -> Job {
        let (pages, slots, named) = (Arc::clone(&self.pages), Arc::clone(&self.slots), id.clone());
        let task = tokio::spawn(async move {
            let _slot = slots.acquire_owned().await;
            pages.page(&id).await.map(Arc::new)
        });
        let abort = task.abort_handle();
        let outcome = task.map(move |ended| {
            ended.unwrap_or_else(|error| {
                let message = format!("fetching page {}/{}/{} failed: {error}", named.config, named.split, named.row);
                Err(PortError { name: "PrefetchFailed".into(), message, retry: Retry::Soon })
            })
        });
        Job { outcome: outcome.boxed().shared(), task: abort }
    }

    async fn fetch(&self, page: &PageId) -> Result<TokenBatch, PortError> {
        let under_way = self.jobs().get(page).map(|job| job.outcome.clone());
        let Some(outcome) = under_way else { return self.pages.page(page).await };
        let outcome = outcome.await;
        self.jobs().remove(page);
        outcome.map(Arc::unwrap_or_clone)
    }
}

#[async_trait]
impl Pages for Prefetcher {
    fn index(&self) -> &DatasetIndex {
        self.pages.index()
    }

    async fn page(&self, page: &PageId) -> Result<TokenBatch, PortError> {
        let started = Instant::now();
        let outcome = self.fetch(page).await;
        self.waited.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        outcome
    }

    /// # Panics
    /// Outside a tokio runtime.
    fn want(&self, next: &[PageId]) {
        let next = &next[..next.len().min(MAX_AHEAD)];
        let mut jobs = self.jobs();
        jobs.retain(|id, _| next.contains(id));
        for id in next {
            if !jobs.contains_key(id) {
                jobs.insert(id.clone(), self.start(id.clone()));
            }
        }
    }

    fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }
}
