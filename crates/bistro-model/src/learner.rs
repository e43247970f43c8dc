//! The model behind `bistro_core`'s `Learner` port: weights in and out bit for bit, evaluation, training steps.

use std::collections::BTreeMap;

use bistro_core::params::{ModelSpec, Params, Tensor as HostTensor};
use bistro_core::ports::{Learner, PortError, StepReport};
use bistro_core::tokens::TokenBatch;
use tch::{Device, Kind, Tensor};

use crate::adamw::{self, AdamW, Moments};
use crate::config::LlamaConfig;
use crate::error::ModelError;
use crate::init;
use crate::llama::{self, Llama};
use crate::loss::FusedLoss;

/// Logits held at once: 128 tokens of GPT-2's vocabulary are 26 MB.
const LOGITS: usize = 128 * 50257;

/// How a learner trains. The defaults are those that suit `nano` on one CPU core.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// Learning rate after warm-up.
    pub lr: f64,
    /// Steps over which the learning rate rises linearly from zero, counted over the learner's life.
    pub warmup_steps: u32,
    /// Decoupled weight decay of matrices.
    pub weight_decay: f64,
    /// The gradient's norm is cut to this; 0 never cuts.
    pub clip: f64,
    /// Threads that compute, for the whole process; libtorch's own choice (all cores) if `None`.
    pub threads: Option<usize>,
    /// Sequences computed at once; larger batches go through in pieces of this many.
    pub micro_batch: usize,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self { lr: 2e-3, warmup_steps: 20, weight_decay: 0.1, clip: 1.0, threads: None, micro_batch: 8 }
    }
}

/// A Llama that trains with AdamW.
pub struct LlamaLearner {
    llama: Llama,
    loss: FusedLoss,
    options: TrainOptions,
    adamw: AdamW,
    moments: Moments,
    steps: u64,
}

impl LlamaLearner {
    /// A new model drawn from `seed`: the same bits on every machine.
    pub fn init(config: LlamaConfig, seed: u64, device: Device, options: TrainOptions) -> Result<Self, ModelError> {
        let weights = init::weights(&config, seed);
        Self::from_params(config, &weights, device, options)
    }

    /// A model with these weights.
    pub fn from_params(
        config: LlamaConfig,
        params: &Params,
        device: Device,
        options: TrainOptions,
    ) -> Result<Self, ModelError> {
        config.check()?;
        if let Some(threads) = options.threads {
            tch::set_num_threads(i32::try_from(threads.clamp(1, 1024)).unwrap_or(1));
        }
        let chunk = (LOGITS / config.vocab_size).clamp(1, 4096);
        let loss = FusedLoss::new(config.vocab_size, chunk, device)?;
        let adamw = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: options.weight_decay };
        let llama = Llama::zeros(config, device)?;
        let mut learner = Self { llama, loss, options, adamw, moments: Moments::default(), steps: 0 };
        learner.set_weights(params)?;
        Ok(learner)
    }

    /// The model's configuration.
    pub fn config(&self) -> &LlamaConfig {
        self.llama.config()
    }

    /// The model on its device.
    pub fn llama(&self) -> &Llama {
        &self.llama
    }

    fn set_weights(&mut self, params: &Params) -> Result<(), ModelError> {
        check_spec(&self.llama.config().spec(), params)?;
        tch::no_grad(|| {
            for (name, weight) in self.llama.weights_mut() {
                let values = Tensor::f_from_slice(params.tensors[name].data.as_slice())?;
                weight.f_copy_(&values.f_reshape(weight.size())?)?;
            }
            Ok(())
        })
    }

    /// Token ids `[B, T + 1]` on the device.
    fn ids(&self, batch: &TokenBatch) -> Result<Tensor, ModelError> {
        let config = self.llama.config();
        let refuse = |why: String| Err(ModelError::Batch(why));
        if batch.is_empty() || batch.rows() * batch.seq != batch.ids.len() {
            return refuse(format!("{} tokens are no whole sequences of {}", batch.ids.len(), batch.seq));
        }
        if batch.seq - 1 > config.max_position_embeddings {
            let most = config.max_position_embeddings;
            return refuse(format!("sequences of {} tokens: the model has {most} positions", batch.seq));
        }
        if let Some(id) = batch.ids.iter().find(|id| **id as usize >= config.vocab_size) {
            return refuse(format!("token {id} is not of the {} of the vocabulary", config.vocab_size));
        }
        let ids: Vec<i64> = batch.ids.iter().map(|id| i64::from(*id)).collect();
        let ids = Tensor::f_from_slice(&ids)?.f_reshape([batch.rows() as i64, batch.seq as i64])?;
        Ok(ids.f_to(self.llama.device())?)
    }

    /// Mean cross-entropy over `batch`.
    fn evaluate(&self, batch: &TokenBatch) -> Result<f64, ModelError> {
        let mut sum = 0.0;
        for piece in self.pieces(batch)? {
            let (inputs, targets) = shifted(&self.ids(&piece)?)?;
            let hidden = tch::no_grad(|| self.llama.body(&self.llama.embed(&inputs)?))?;
            sum += self.loss.sum(&hidden, self.llama.head(), &targets)?;
        }
        Ok(sum / batch.targets() as f64)
    }

    /// Mean cross-entropy over `batch` and its gradients, by name.
    pub fn gradients(&self, batch: &TokenBatch) -> Result<(f64, BTreeMap<String, Tensor>), ModelError> {
        let scale = 1.0 / batch.targets().max(1) as f64;
        let mut sum = 0.0;
        let mut gradients = BTreeMap::new();
        for (name, weight) in self.llama.weights().iter().filter(|(name, _)| llama::is_table(name)) {
            gradients.insert(name.clone(), weight.f_zeros_like()?);
        }
        for piece in self.pieces(batch)? {
            sum += self.add_gradients(&piece, scale, &mut gradients)?;
        }
        Ok((sum * scale, gradients))
    }

    /// Adds the gradients of `scale` times the summed loss of one micro-batch, and returns that sum.
    fn add_gradients(
        &self,
        piece: &TokenBatch,
        scale: f64,
        gradients: &mut BTreeMap<String, Tensor>,
    ) -> Result<f64, ModelError> {
        let (inputs, targets) = shifted(&self.ids(piece)?)?;
        let embedded = self.llama.embed(&inputs)?.f_set_requires_grad(true)?; // [B, T, H], where autograd starts
        let hidden = self.llama.body(&embedded)?; // [B·T, H], where it ends
        let head = self.llama.head();
        let head_name = if self.llama.config().tie_word_embeddings { llama::EMBEDDING } else { llama::HEAD };
        let Some(head_grad) = gradients.get_mut(head_name) else { unreachable!("both tables have gradients") };
        let (sum, hidden_grad) = self.loss.sum_and_gradients(&hidden.f_detach()?, head, &targets, scale, head_grad)?;

        // A sum whose gradient to `hidden` is exactly `hidden_grad` carries it into the blocks.
        let surrogate = hidden.f_mul(&hidden_grad)?.f_sum(Kind::Float)?;
        let blocks = || self.llama.weights().iter().filter(|(name, _)| !llama::is_table(name));
        let leaves: Vec<&Tensor> = std::iter::once(&embedded).chain(blocks().map(|(_, weight)| weight)).collect();
        let mut grads = Tensor::f_run_backward(&[&surrogate], &leaves, false, false)?.into_iter();
        tch::no_grad(|| {
            let h = self.llama.config().hidden_size as i64;
            if let (Some(embedded_grad), Some(table)) = (grads.next(), gradients.get_mut(llama::EMBEDDING)) {
                let _ = table.f_index_add_(0, &inputs.f_reshape([-1])?, &embedded_grad.f_reshape([-1, h])?)?;
            }
            for ((name, _), grad) in blocks().zip(grads) {
                match gradients.get_mut(name) {
                    Some(sum) => drop(sum.f_add_(&grad)?),
                    None => drop(gradients.insert(name.clone(), grad)),
                }
            }
            Ok(sum)
        })
    }

    /// The batch in micro-batches.
    fn pieces(&self, batch: &TokenBatch) -> Result<impl Iterator<Item = TokenBatch>, ModelError> {
        if batch.is_empty() {
            return Err(ModelError::Batch("nothing to predict: two tokens are the least".into()));
        }
        Ok(batch.chunks(self.options.micro_batch.max(1)))
    }

    fn step(&mut self, batch: &TokenBatch) -> Result<StepReport, ModelError> {
        let (loss, mut gradients) = self.gradients(batch)?;
        let norm = adamw::norm(&gradients)?;
        for (what, value) in [("loss", loss), ("gradient norm", norm)] {
            if !value.is_finite() {
                return Err(ModelError::NonFinite { what, value });
            }
        }
        let clip = if self.options.clip > 0.0 { (self.options.clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
        self.steps += 1;
        let warm = self.steps as f64 / f64::from(self.options.warmup_steps.max(1));
        let lr = self.options.lr * warm.min(1.0);
        self.adamw.step(&mut self.moments, self.llama.weights_mut(), &mut gradients, lr, clip)?;
        Ok(StepReport { loss, tokens: batch.targets() })
    }
}

impl Learner for LlamaLearner {
    fn spec(&self) -> ModelSpec {
        self.llama.config().spec()
    }

    fn load(&mut self, params: &Params) -> Result<(), PortError> {
        Ok(self.set_weights(params)?)
    }

    fn params(&self) -> Result<Params, PortError> {
        let mut params = Params::default();
        for (name, weight) in self.llama.weights() {
            let shape: Vec<usize> = weight.size().iter().map(|side| *side as usize).collect();
            let mut data = vec![0.0_f32; weight.numel()];
            let numel = data.len();
            weight.f_copy_data(&mut data, numel).map_err(ModelError::from)?;
            params.tensors.insert(name.clone(), HostTensor::new(shape, data));
        }
        Ok(params)
    }

    fn loss(&mut self, batch: &TokenBatch) -> Result<f64, PortError> {
        Ok(self.evaluate(batch)?)
    }

    fn train_step(&mut self, batch: &TokenBatch) -> Result<StepReport, PortError> {
        Ok(self.step(batch)?)
    }

    fn reset_optimizer(&mut self) {
        self.moments = Moments::default();
    }
}

/// `[B, T + 1]` ids → inputs `[B, T]` and the tokens that follow them `[B·T]`.
fn shifted(ids: &Tensor) -> Result<(Tensor, Tensor), ModelError> {
    let t = ids.size2()?.1 - 1;
    Ok((ids.f_narrow(1, 0, t)?, ids.f_narrow(1, 1, t)?.f_reshape([-1])?))
}

/// Refuses weights of other names or shapes, naming the first that differs.
fn check_spec(wanted: &ModelSpec, params: &Params) -> Result<(), ModelError> {
    for (name, shape) in &wanted.tensors {
        match params.tensors.get(name) {
            None => return Err(ModelError::Weights(format!("`{name}` is missing"))),
            Some(tensor) if tensor.shape != *shape => {
                let got = &tensor.shape;
                return Err(ModelError::Weights(format!("`{name}` is {got:?}, the model wants {shape:?}")));
            }
            Some(_) => {}
        }
    }
    match params.tensors.keys().find(|name| !wanted.tensors.contains_key(*name)) {
        Some(name) => Err(ModelError::Weights(format!("`{name}` is no tensor of the model"))),
        None => Ok(()),
    }
}
