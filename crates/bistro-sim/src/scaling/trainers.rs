//! Whom a network races: training without anybody who judges.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use bistro_core::pages::schedule;
use bistro_core::params::Params;
use bistro_core::ports::{Learner, PortError};
use bistro_core::tokens::TokenBatch;
use bistro_node::Build;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::{Curve, Race};

/// One who trains without a network, and on how many tokens so far.
struct Trainer {
    learner: Box<dyn Learner>,
    tokens: u64,
}

impl Trainer {
    /// The model after training from `master` on, until it has been trained on so many tokens in all.
    fn train(
        &mut self,
        master: &Params,
        until: u64,
        batch_rows: usize,
        mut page: impl FnMut() -> Result<TokenBatch, PortError>,
    ) -> Result<Params> {
        self.learner.load(master)?;
        while self.tokens < until {
            for batch in page()?.chunks(batch_rows) {
                self.tokens += self.learner.train_step(&batch)?.tokens as u64;
            }
        }
        Ok(self.learner.params()?)
    }
}

impl Race {
    /// One trainer alone on random pages, without anybody who judges.
    pub fn alone(&self, build: &dyn Build) -> Result<Curve> {
        self.trusted(build, 1, self.pages / self.samples)
    }

    /// So many `trainers` who trust each other, each on a machine of its own: every `pages` or so all go on from the mean of
    /// their models. Nobody judges and nobody waits, so a network of as many miners is hardly faster.
    pub fn trusted(&self, build: &dyn Build, trainers: usize, pages: u32) -> Result<Curve> {
        let each = (self.pages / self.samples / pages.max(1)).max(1);
        let rounds = self.samples * each;
        let source = build.pages(&self.rules)?;
        let learners = || (0..trainers).map(|_| Ok(Trainer { learner: build.learner(&self.rules)?, tokens: 0 }));
        let mut trainers = learners().collect::<Result<Vec<_>>>()?;
        let mut measuring = build.learner(&self.rules)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut page = || loop {
            match runtime.block_on(source.page(&schedule::global_page(source.index(), &mut rng))) {
                Err(error) if error.name == "PageTooShort" => {}
                page => break page,
            }
        };
        let mut points = vec![self.point(0, measuring.loss(&self.yardstick)?)];
        let mut master = measuring.params()?;
        for round in 1..=rounds {
            let until = u64::from(self.page_tokens) * u64::from(self.pages) * u64::from(round) / u64::from(rounds);
            let mut mean = None;
            for (before, trainer) in trainers.iter_mut().enumerate() {
                let own = trainer.train(&master, until, self.batch_rows, &mut page)?;
                mean = Some(match mean {
                    None => own,
                    Some(mean) => Params::plus_scaled(&mean, &own.minus(&mean), 1.0 / (before + 1) as f32),
                });
            }
            master = mean.context("nobody trains")?;
            if round.is_multiple_of(each) {
                measuring.load(&master)?;
                points.push(self.point(round / each, measuring.loss(&self.yardstick)?));
            }
        }
        Ok(Curve { points, accepted: 0, skips: BTreeMap::new() })
    }
}
