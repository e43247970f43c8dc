//! The next pages made ready while the model computes.

use std::collections::VecDeque;
use std::sync::Arc;

use bistro_core::pages::PageId;
use bistro_core::ports::{Pages, PortError, Retry};
use bistro_core::tokens::TokenBatch;
use tokio::task::JoinHandle;

/// A page, or why it could not be had.
pub type Outcome = Result<TokenBatch, PortError>;

/// Pages in a given order, the next few under way on other threads. Dropping it stops them.
pub struct Prefetch {
    pages: Arc<dyn Pages>,
    waiting: std::vec::IntoIter<PageId>,
    under_way: VecDeque<(PageId, JoinHandle<Outcome>)>,
    ahead: usize,
}

impl Prefetch {
    /// Starts on the first `ahead` (at least 1) of `order`. At most as many pages are in memory at a time.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(pages: Arc<dyn Pages>, order: Vec<PageId>, ahead: usize) -> Self {
        let mut this = Self { pages, waiting: order.into_iter(), under_way: VecDeque::new(), ahead: ahead.max(1) };
        this.top_up();
        this
    }

    /// The next page in order, and how it went; `None` after the last. A failed page does not end the rest. Cancel-safe: a
    /// dropped call loses no page.
    pub async fn next(&mut self) -> Option<(PageId, Outcome)> {
        let outcome = (&mut self.under_way.front_mut()?.1).await;
        let (page, _) = self.under_way.pop_front()?;
        self.top_up();
        let outcome = outcome.unwrap_or_else(|e| {
            let message = format!("fetching page {page:?} failed: {e}");
            Err(PortError { name: "PrefetchFailed".into(), message, retry: Retry::Soon })
        });
        Some((page, outcome))
    }

    fn top_up(&mut self) {
        while self.under_way.len() < self.ahead
            && let Some(page) = self.waiting.next()
        {
            let (pages, id) = (Arc::clone(&self.pages), page.clone());
            let handle = tokio::spawn(async move { pages.page(&id).await });
            self.under_way.push_back((page, handle));
        }
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        for (_, handle) in &self.under_way {
            handle.abort();
        }
    }
}
