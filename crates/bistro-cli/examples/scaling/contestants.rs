//! What takes part: the toy, or a real model on real text.

use std::sync::Arc;

use anyhow::Result;
use bistro_core::ports::{Learner, Pages, PortError};
use bistro_core::protocol::Encoding;
use bistro_core::rules::{Mechanism, Rules};
use bistro_model::options::Decay;
use bistro_model::{LlamaConfig, TrainOptions};
use bistro_node::Build;
use bistro_sim::chain::NETUID;
use bistro_sim::scaling::held_out::HeldOut;
use bistro_sim::scaling::{Race, toy};
use bistro_sim::toy::Rate;

use crate::{Args, Model, text};

/// Pages of text on which losses are compared.
const HELD_OUT: u64 = 16;

/// How fast a contestant learns.
#[derive(Clone, Copy)]
pub(crate) struct Speed {
    /// Learning rate, as a multiple of the model's own.
    pub(crate) rate: f64,
    /// Whether it falls to a tenth by the end.
    pub(crate) decays: bool,
}

/// Where everybody starts, and on what.
pub(crate) struct Contest {
    pages: u32,
    text: Option<Text>,
}

struct Text {
    pages: Arc<HeldOut>,
    page_tokens: u32,
    threads: Option<usize>,
}

impl Contest {
    pub(crate) fn new(args: &Args) -> Result<Self> {
        let text = (args.model == Model::Nano).then(|| Text::open(args)).transpose()?;
        Ok(Self { pages: args.pages, text })
    }

    pub(crate) fn race(&self, mechanism: Mechanism, seed: u64) -> Result<Race> {
        let Some(text) = &self.text else { return toy::race(mechanism, self.pages, seed) };
        let model = LlamaConfig::preset("nano")?;
        let rules = text::rules(NETUID, &model, text.pages.as_ref(), mechanism)?;
        let yardstick = block_on(text.pages.yardstick())??;
        let samples = (self.pages / 10).max(25);
        let (page_tokens, batch_rows, encoding) = (text.page_tokens, 2, Encoding::Int8);
        Ok(Race {
            rules,
            page_tokens,
            pages: self.pages,
            samples,
            batch_rows,
            encoding,
            yardstick,
            validator_speed: 1,
            seed,
        })
    }

    pub(crate) fn build(&self, speed: Speed) -> Box<dyn Build> {
        match &self.text {
            None => {
                // 16 steps of one sequence a page.
                let cosine_steps = if speed.decays { 16 * self.pages } else { 0 };
                Box::new(toy::ToyContestant { rate: Rate { first: 3e-3 * speed.rate as f32, cosine_steps } })
            }
            Some(text) => {
                let defaults = TrainOptions::default();
                let steps = u64::from(self.pages) * u64::from(text.page_tokens) / (2 * (text::SEQ as u64 - 1));
                let decay = if speed.decays { Decay::Cosine { steps, floor: 0.1 } } else { Decay::Constant };
                let options = TrainOptions { lr: defaults.lr * speed.rate, decay, threads: text.threads, ..defaults };
                Box::new(TextContestant { pages: text.pages.clone(), options })
            }
        }
    }
}

impl Text {
    fn open(args: &Args) -> Result<Self> {
        let pages = text::open(&args.text)?;
        let pages = Arc::new(HeldOut::new(pages, HELD_OUT)?);
        let page_tokens = (block_on(pages.yardstick())??.targets() as u64 / HELD_OUT) as u32;
        Ok(Self { pages, page_tokens, threads: args.threads })
    }
}

/// Pages of text are cut on threads of a runtime.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(work))
}

/// A Llama on text.
struct TextContestant {
    pages: Arc<HeldOut>,
    options: TrainOptions,
}

impl Build for TextContestant {
    fn pages(&self, _: &Rules) -> Result<Arc<dyn Pages>, PortError> {
        Ok(self.pages.clone())
    }

    fn learner(&self, rules: &Rules) -> Result<Box<dyn Learner>, PortError> {
        text::learner(rules, self.options.clone())
    }
}
