//! A small language and a small model with real gradients: a round takes milliseconds.
//!
//! The language has 16 letters; two letters decide how likely each is as the third. The model is a neural network of the kind
//! of Bengio et al., *A neural probabilistic language model* (2003): embeddings of two letters, one hidden layer of
//! rectified units, a softmax over the third, trained by Adam. Its weights are shared by all contexts, so what two miners learn overlaps.

use std::sync::Arc;

use crate::subject::Subject;
use async_trait::async_trait;
use bistro_core::ids::NetUid;
use bistro_core::pages::{Config, DatasetIndex, PageId};
use bistro_core::params::{ModelSpec, Params, Tensor};
use bistro_core::ports::{Learner, Pages, PortError, StepReport};
use bistro_core::rules::{Mechanism, Rules};
use bistro_core::tokens::{Packing, TokenBatch};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Letters of the language.
const LETTERS: usize = 16;
/// Numbers that stand for one letter.
const EMBED: usize = 8;
/// Hidden units.
const HIDDEN: usize = 32;
/// Tokens of a sequence.
pub const SEQ: usize = 33;
/// Sequences of a page.
const ROWS: usize = 16;
/// Where each matrix begins among all weights, with its name and shape.
const TENSORS: [(&str, [usize; 2]); 3] =
    [("embed", [LETTERS, EMBED]), ("hidden", [2 * EMBED + 1, HIDDEN]), ("output", [HIDDEN + 1, LETTERS])];

/// The rules of a simulated run.
pub fn rules(netuid: NetUid, mechanism: Mechanism) -> Rules {
    let config = |name: &str, rows| Config { name: name.into(), split: "train".into(), rows };
    Rules {
        version: 1,
        netuid,
        model: serde_json::json!({"toy": true}),
        tokenizer: "letters".into(),
        sequence_length: SEQ,
        packing: Packing::Join,
        dataset: DatasetIndex {
            dataset: "toy".into(),
            rows_per_page: 4,
            row_bytes: None,
            content: None,
            configs: vec![config("a", 5_000), config("b", 9_000)],
        },
        mechanism,
    }
}

/// How likely each letter is after each two: the same for everybody.
fn language() -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(2003);
    let mut table = Vec::with_capacity(LETTERS.pow(3));
    for _ in 0..LETTERS * LETTERS {
        let weights: Vec<f32> = (0..LETTERS).map(|_| (rng.random::<f32>() * 6.0).exp()).collect();
        let sum: f32 = weights.iter().sum();
        table.extend(weights.iter().map(|weight| weight / sum));
    }
    table
}

/// Pages of the language.
pub struct ToyPages {
    index: DatasetIndex,
    language: Vec<f32>,
    text: u64,
}

#[async_trait]
impl Pages for ToyPages {
    fn index(&self) -> &DatasetIndex {
        &self.index
    }

    async fn page(&self, page: &PageId) -> Result<TokenBatch, PortError> {
        let mut rng = ChaCha8Rng::seed_from_u64((self.text << 32) + page.row * 2 + u64::from(page.config == "a"));
        let mut ids: Vec<u32> = Vec::with_capacity(ROWS * SEQ);
        for _ in 0..ROWS {
            let start = ids.len();
            ids.extend([0, 0].map(|_| rng.random_range(0..LETTERS as u32)));
            while ids.len() < start + SEQ {
                let at = (ids[ids.len() - 2] as usize * LETTERS + ids[ids.len() - 1] as usize) * LETTERS;
                let mut left = rng.random::<f32>();
                let next = self.language[at..at + LETTERS].iter().position(|p| {
                    left -= p;
                    left < 0.0
                });
                ids.push(next.unwrap_or(LETTERS - 1) as u32);
            }
        }
        Ok(TokenBatch { seq: SEQ, ids })
    }
}

/// How fast the model learns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Adam's step in the beginning.
    pub first: f32,
    /// Steps over which it falls as half a cosine to a tenth; 0: it stays.
    pub cosine_steps: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self { first: 3e-3, cosine_steps: 0 }
    }
}

impl Rate {
    fn at(self, step: i32) -> f32 {
        if self.cosine_steps == 0 {
            return self.first;
        }
        let part = (step as f32 / self.cosine_steps as f32).min(1.0);
        self.first * (0.1 + 0.45 * (1.0 + (std::f32::consts::PI * part).cos()))
    }
}

/// The model and its optimizer.
#[derive(Clone)]
pub struct ToyLearner {
    rate: Rate,
    weights: Vec<f32>,
    moments: [Vec<f32>; 2],
    steps: i32,
}

impl Default for ToyLearner {
    fn default() -> Self {
        Self::new(Rate::default())
    }
}

impl ToyLearner {
    /// The first weights, which are the same for everybody.
    pub fn new(rate: Rate) -> Self {
        let count = TENSORS.iter().map(|(_, shape)| shape[0] * shape[1]).sum();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let weights = (0..count).map(|_| (rng.random::<f32>() - 0.5) * 0.6).collect();
        Self { rate, weights, moments: [vec![0.0; count], vec![0.0; count]], steps: 0 }
    }

    /// Loss in nats a letter; adds the gradient to `gradient` if there is one.
    fn pass(&self, batch: &TokenBatch, mut gradient: Option<&mut [f32]>) -> f64 {
        let (embed, rest) = self.weights.split_at(LETTERS * EMBED);
        let (hidden, output) = rest.split_at((2 * EMBED + 1) * HIDDEN);
        let count = batch.rows() * (batch.seq - 2);
        let (mut loss, share) = (0.0, 1.0 / count as f32);
        for three in batch.ids.chunks(batch.seq).flat_map(|row| row.windows(3)) {
            let mut input = [1.0_f32; 2 * EMBED + 1];
            for (slot, letter) in input.chunks_mut(EMBED).zip(&three[..2]) {
                slot.copy_from_slice(&embed[*letter as usize * EMBED..][..EMBED]);
            }
            let mut active = [1.0_f32; HIDDEN + 1];
            active[..HIDDEN].copy_from_slice(&times::<HIDDEN>(&input, hidden));
            active = active.map(|v| v.max(0.0));
            let mut odds = times::<LETTERS>(&active, output);
            let top = odds.iter().copied().fold(f32::MIN, f32::max);
            odds = odds.map(|v| (v - top).exp());
            let sum: f32 = odds.iter().sum();
            let target = three[2] as usize;
            loss -= f64::from((odds[target] / sum).ln() * share);
            let Some(gradient) = gradient.as_deref_mut() else { continue };
            odds = odds.map(|v| v * (share / sum));
            odds[target] -= share;
            let (to_embed, rest) = gradient.split_at_mut(LETTERS * EMBED);
            let (to_hidden, to_output) = rest.split_at_mut((2 * EMBED + 1) * HIDDEN);
            let mut back = back::<LETTERS, { HIDDEN + 1 }>(&active, output, &odds, to_output);
            back.iter_mut().zip(&active).filter(|(_, a)| **a <= 0.0).for_each(|(b, _)| *b = 0.0);
            let from: [f32; HIDDEN] = std::array::from_fn(|i| back[i]);
            let back = self::back::<HIDDEN, { 2 * EMBED + 1 }>(&input, hidden, &from, to_hidden);
            for (slot, letter) in back.chunks_exact(EMBED).zip(&three[..2]) {
                let to = &mut to_embed[*letter as usize * EMBED..][..EMBED];
                to.iter_mut().zip(slot).for_each(|(to, b)| *to += b);
            }
        }
        loss
    }
}

/// `input · matrix`, the matrix of N columns in rows.
fn times<const N: usize>(input: &[f32], matrix: &[f32]) -> [f32; N] {
    let mut out = [0.0; N];
    for (value, row) in input.iter().zip(matrix.chunks_exact(N)) {
        out.iter_mut().zip(row).for_each(|(o, m)| *o += value * m);
    }
    out
}

/// The gradient at `times`' input, given that at its output; adds the matrix's.
fn back<const N: usize, const M: usize>(input: &[f32], matrix: &[f32], from: &[f32; N], to: &mut [f32]) -> [f32; M] {
    let mut out = [0.0; M];
    for (((o, value), row), to) in out.iter_mut().zip(input).zip(matrix.chunks_exact(N)).zip(to.chunks_exact_mut(N)) {
        for ((m, f), to) in row.iter().zip(from).zip(to) {
            *o += m * f;
            *to += value * f;
        }
    }
    out
}

impl Learner for ToyLearner {
    fn spec(&self) -> ModelSpec {
        ModelSpec { tensors: TENSORS.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect() }
    }

    fn load(&mut self, params: &Params) -> Result<(), PortError> {
        self.weights = TENSORS.iter().flat_map(|(name, _)| params.tensors[*name].data.iter().copied()).collect();
        Ok(())
    }

    fn params(&self) -> Result<Params, PortError> {
        let mut rest = self.weights.as_slice();
        let tensors = TENSORS.iter().map(|(name, shape)| {
            let (now, later) = rest.split_at(shape[0] * shape[1]);
            rest = later;
            ((*name).to_owned(), Tensor::new(shape.to_vec(), now.to_vec()))
        });
        Ok(Params { tensors: tensors.collect() })
    }

    fn loss(&mut self, batch: &TokenBatch) -> Result<f64, PortError> {
        Ok(self.pass(batch, None))
    }

    fn train_step(&mut self, batch: &TokenBatch) -> Result<StepReport, PortError> {
        let mut gradient = vec![0.0; self.weights.len()];
        let loss = self.pass(batch, Some(&mut gradient));
        self.steps += 1;
        let [one, two] = &mut self.moments;
        let rate =
            self.rate.at(self.steps) * (1.0 - 0.99_f32.powi(self.steps)).sqrt() / (1.0 - 0.9_f32.powi(self.steps));
        for (((w, g), one), two) in self.weights.iter_mut().zip(&gradient).zip(one).zip(two) {
            *one += 0.1 * (g - *one);
            *two += 0.01 * (g * g - *two);
            *w -= rate * *one / (two.sqrt() + 1e-8);
        }
        Ok(StepReport { loss, tokens: batch.targets() })
    }

    fn reset_optimizer(&mut self) {
        self.moments.iter_mut().for_each(|moment| moment.fill(0.0));
        self.steps = 0;
    }
}

/// The toy, to be simulated.
pub struct Toy;

impl Subject for Toy {
    fn rules(&self, netuid: NetUid, mechanism: Mechanism) -> anyhow::Result<Rules> {
        Ok(rules(netuid, mechanism))
    }

    /// Each text is another one of the same language: what one miner's pages happen to be worth more than another's would
    /// otherwise be the same in all.
    fn pages(&self, rules: &Rules, text: u64) -> Result<Arc<dyn Pages>, PortError> {
        Ok(Arc::new(ToyPages { index: rules.dataset.clone(), language: language(), text }))
    }

    fn learner(&self, _: &Rules, rate: f64) -> Result<Box<dyn Learner>, PortError> {
        let usual = Rate::default();
        Ok(Box::new(ToyLearner::new(Rate { first: usual.first * rate as f32, ..usual })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> TokenBatch {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        TokenBatch { seq: 9, ids: (0..27).map(|_| rng.random_range(0..LETTERS as u32)).collect() }
    }

    #[test]
    fn gradients_are_finite_differences() {
        let learner = ToyLearner::default();
        let mut gradient = vec![0.0; learner.weights.len()];
        learner.pass(&batch(), Some(&mut gradient));
        for i in (0..gradient.len()).step_by(37) {
            let at = |by: f32| {
                let mut moved = learner.clone();
                moved.weights[i] += by;
                moved.pass(&batch(), None)
            };
            let measured = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((measured - f64::from(gradient[i])).abs() < 2e-4, "{i}: {measured} against {}", gradient[i]);
        }
    }

    #[test]
    fn weights_survive_the_way_to_the_host_and_back() {
        let mut learner = ToyLearner::default();
        let before = learner.params().unwrap();
        learner.train_step(&batch()).unwrap();
        assert_ne!(learner.params().unwrap(), before);
        learner.load(&before).unwrap();
        assert_eq!(learner.params().unwrap().hash(), before.hash());
    }
}
