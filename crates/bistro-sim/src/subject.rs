//! What a simulation trains: a model, and text for it. The [`toy`](crate::toy) takes milliseconds a round; any other can be
//! simulated as well, and takes as long as it takes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use bistro_core::ids::NetUid;
use bistro_core::pages::{Config, DatasetIndex, PageId};
use bistro_core::params::{ModelSpec, Params};
use bistro_core::ports::{Learner, Pages, PortError};
use bistro_core::rules::{Mechanism, Rules};
use bistro_core::tokens::TokenBatch;
use bistro_node::Build;

use crate::faults::{Faults, Faulty};

/// Pages on which first and last masters are compared.
const YARDSTICK_PAGES: u64 = 40;

/// A model and text for it.
pub trait Subject: Send + Sync {
    /// The rules of a run of it.
    ///
    /// # Errors
    /// The model cannot be described.
    fn rules(&self, netuid: NetUid, mechanism: Mechanism) -> Result<Rules>;

    /// Its pages. Each seed of a simulation has a `text` of its own, where there is more than one.
    ///
    /// # Errors
    /// The text cannot be had.
    fn pages(&self, rules: &Rules, text: u64) -> Result<Arc<dyn Pages>, PortError>;

    /// The model with its first weights, the same for everybody, learning `rate` times as fast as usual.
    ///
    /// # Errors
    /// The model cannot be built.
    fn learner(&self, rules: &Rules, rate: f64) -> Result<Box<dyn Learner>, PortError>;
}

/// A subject as the programs of a simulation meet it.
#[derive(Clone)]
pub struct Furnished {
    /// Model and text.
    pub subject: Arc<dyn Subject>,
    /// How long a page takes to come, and all computing with it: the programs' own computing takes no virtual time.
    pub page_time: Duration,
    /// What happens to pages on the way.
    pub faults: Faults,
    /// Which text the pages have.
    pub text: u64,
}

impl Build for Furnished {
    fn pages(&self, rules: &Rules) -> Result<Arc<dyn Pages>, PortError> {
        let inner: Arc<dyn Pages> =
            Arc::new(Slow { inner: self.subject.pages(rules, self.text)?, page_time: self.page_time });
        Ok(Arc::new(Faulty { inner, faults: self.faults.clone() }))
    }

    fn learner(&self, rules: &Rules) -> Result<Box<dyn Learner>, PortError> {
        self.subject.learner(rules, 1.0)
    }
}

/// Pages that take a while to come.
struct Slow {
    inner: Arc<dyn Pages>,
    page_time: Duration,
}

#[async_trait]
impl Pages for Slow {
    fn index(&self) -> &DatasetIndex {
        self.inner.index()
    }

    async fn page(&self, page: &PageId) -> Result<TokenBatch, PortError> {
        tokio::time::sleep(self.page_time).await;
        self.inner.page(page).await
    }
}

/// Names and shapes of the model's tensors.
pub(crate) fn spec(subject: &dyn Subject, rules: &Rules) -> Result<ModelSpec, PortError> {
    Ok(subject.learner(rules, 1.0)?.spec())
}

/// The pages of `config` that begin at `rows`, in one batch.
pub(crate) async fn batch(
    pages: &dyn Pages,
    config: &Config,
    rows: impl Iterator<Item = u64>,
) -> Result<TokenBatch, PortError> {
    let mut all = TokenBatch::default();
    for row in rows {
        let page = PageId { config: config.name.clone(), split: config.split.clone(), row };
        all.append(&pages.page(&page).await?);
    }
    Ok(all)
}

/// The losses of the first master and of `last` (where there is none: of the first) on the same pages, whoever asks, nats a
/// token.
pub(crate) async fn first_and_last(
    subject: &dyn Subject,
    rules: &Rules,
    last: Option<&Params>,
) -> Result<[f64; 2], PortError> {
    let pages = subject.pages(rules, 0)?;
    let mut yardstick = TokenBatch::default();
    if let Some(config) = pages.index().configs.last() {
        let step = config.rows.saturating_sub(pages.index().rows_per_page) / YARDSTICK_PAGES;
        yardstick = batch(pages.as_ref(), config, (0..YARDSTICK_PAGES).map(|i| i * step)).await?;
    }
    let mut learner = subject.learner(rules, 1.0)?;
    let first = learner.loss(&yardstick)?;
    let Some(last) = last else { return Ok([first, first]) };
    learner.load(last)?;
    Ok([first, learner.loss(&yardstick)?])
}
