//! Pages made ready ahead, over pages that come when told.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bistro_core::pages::{DatasetIndex, PageId};
use bistro_core::ports::{Pages, PortError, Retry};
use bistro_core::tokens::TokenBatch;
use bistro_pages::Prefetcher;
use bistro_pages::prefetch::MAX_AHEAD;
use tokio::sync::Semaphore;

/// Pages that count how many were asked for and how many at once, and hand each out when told.
struct FakePages {
    index: DatasetIndex,
    asked: AtomicUsize,
    now: AtomicUsize,
    most_at_once: AtomicUsize,
    gate: Semaphore,
}

impl FakePages {
    fn new() -> Arc<Self> {
        let index = DatasetIndex { dataset: "d".into(), rows_per_page: 1, ..DatasetIndex::default() };
        let zero = || AtomicUsize::new(0);
        Arc::new(Self { index, asked: zero(), now: zero(), most_at_once: zero(), gate: Semaphore::new(0) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn until_asked(&self, times: usize) {
        while self.asked() < times {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait::async_trait]
impl Pages for FakePages {
    fn index(&self) -> &DatasetIndex {
        &self.index
    }

    async fn page(&self, page: &PageId) -> Result<TokenBatch, PortError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.most_at_once.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        self.now.fetch_sub(1, Ordering::SeqCst);
        assert!(page.row != 3, "page 3 breaks");
        if page.row == 1 {
            return Err(PortError { name: "Gone".into(), message: "gone".into(), retry: Retry::Never });
        }
        Ok(TokenBatch { seq: 2, ids: vec![page.row as u32; 2] })
    }
}

fn page(row: u64) -> PageId {
    PageId { config: "c".into(), split: "s".into(), row }
}

#[tokio::test]
async fn what_is_wanted_comes_ready_a_few_at_a_time() {
    let fake = FakePages::new();
    let pages = Prefetcher::new(fake.clone(), 2);
    let order: Vec<_> = (0..6).map(page).collect();
    pages.want(&order);
    pages.want(&order);
    fake.until_asked(2).await;
    // A call given up loses nothing, and what is under way is not asked for again.
    assert!(tokio::time::timeout(Duration::from_millis(5), pages.page(&page(0))).await.is_err());
    assert_eq!(fake.asked(), 2);
    fake.gate.add_permits(6);
    fake.until_asked(6).await;
    for (row, id) in order.iter().enumerate() {
        match (row, pages.page(id).await) {
            (1, Err(error)) => assert_eq!(error.name, "Gone"),
            (3, Err(error)) => assert!(error.name == "PrefetchFailed" && error.message.contains("c/s/3"), "{error}"),
            (row, Ok(batch)) => assert_eq!(batch.ids, [row as u32; 2]),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((fake.asked(), fake.most_at_once.load(Ordering::SeqCst), pages.under_way()), (6, 2, 0));
}

#[tokio::test]
async fn only_waiting_is_counted() {
    let fake = FakePages::new();
    let pages = Arc::new(Prefetcher::new(fake.clone(), 1));
    pages.want(&[page(7)]);
    fake.gate.add_permits(1);
    fake.until_asked(1).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    pages.page(&page(7)).await.unwrap();
    let ready = pages.waited();
    assert!(ready < Duration::from_millis(20), "{ready:?} for a page that was ready");
    let waiting = tokio::spawn({
        let pages = pages.clone();
        async move { pages.page(&page(8)).await }
    });
    fake.until_asked(2).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    fake.gate.add_permits(1);
    assert_eq!(waiting.await.unwrap().unwrap().ids, [8, 8], "a page that nobody announced");
    assert!(pages.waited() >= ready + Duration::from_millis(30), "{:?}", pages.waited());
}

#[tokio::test]
async fn what_is_no_longer_wanted_stops_and_a_failure_is_tried_again() {
    let fake = FakePages::new();
    let pages = Prefetcher::new(fake.clone(), 2);
    pages.want(&[page(4), page(5)]);
    fake.until_asked(2).await;
    pages.want(&[page(1)]);
    assert_eq!(pages.under_way(), 1);
    fake.until_asked(3).await;
    fake.gate.add_permits(2);
    for _ in 0..2 {
        assert_eq!(pages.page(&page(1)).await.unwrap_err().name, "Gone");
    }
    assert_eq!(fake.asked(), 4);
    pages.want(&(0..1000).map(page).collect::<Vec<_>>());
    assert_eq!(pages.under_way(), MAX_AHEAD);
    drop(pages);
    while Arc::strong_count(&fake) > 1 {
        tokio::task::yield_now().await;
    }
}
