//! The model behind `bistro_core`'s `Learner` port: weights in and out bit for bit, evaluation, training steps.

use bistro_core::params::{ModelSpec, Params, Tensor as HostTensor};
use bistro_core::ports::{Learner, PortError, StepReport};
use bistro_core::tokens::{PAD, TokenBatch};
use tch::{Device, Kind, Tensor};

use crate::config::LlamaConfig;
use crate::error::ModelError;
use crate::gradients::{self, Gradients, Micro};
use crate::llama::Llama;
use crate::loss::FusedLoss;
use crate::optimizer::{self, Optimizer};
use crate::options::{OptimizerState, Precision, TrainOptions};
use crate::trial::Bench;
use crate::{init, kernels, schedule};

/// Tokens computed at once where nothing else was said.
const MICRO_TOKENS: usize = 2048;

/// Tokens whose logits are held at once: enough for the matrix products to run at full speed, and on a CPU 100 MB of GPT-2's
/// vocabulary.
pub(crate) fn chunk_tokens(config: &LlamaConfig, device: Device) -> usize {
    let tokens = if device == Device::Cpu { 512 } else { 4096 };
    (tokens * 50_257 / config.vocab_size).clamp(1, 4 * tokens)
}

/// A Llama that trains.
pub struct LlamaLearner {
    llama: Llama,
    loss: FusedLoss,
    options: TrainOptions,
    optimizer: Optimizer,
    bench: Bench,
    gathered: Gathered,
    /// Sequences computed at once, once memory has told; 0 before.
    micro_batch: usize,
    steps: u64,
}

/// Gradients of the sum of losses, of all calls since the last step.
#[derive(Default)]
struct Gathered {
    gradients: Gradients,
    tokens: usize,
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
        if device != Device::Cpu {
            kernels::allow_tf32()?;
        }
        let loss = FusedLoss::new(config.vocab_size, chunk_tokens(&config, device));
        let mut llama = Llama::zeros(config, device)?;
        llama.set_products(match options.precision {
            Precision::Auto if device == Device::Cpu => Kind::Float,
            Precision::F32 => Kind::Float,
            Precision::Auto | Precision::Bf16 => Kind::BFloat16,
        });
        let mut learner = Self {
            llama,
            loss,
            optimizer: Optimizer::new(&options),
            micro_batch: options.micro_batch,
            options,
            bench: Bench::default(),
            gathered: Gathered::default(),
            steps: 0,
        };
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

    /// Sequences computed at once, after what memory has taught so far; 0 before the first batch if nobody said.
    pub fn micro_batch(&self) -> usize {
        self.micro_batch
    }

    fn set_weights(&mut self, params: &Params) -> Result<(), ModelError> {
        check_spec(&self.llama.config().spec(), params)?;
        self.forget();
        Ok(self.bench.load(self.llama.weights_mut(), params)?)
    }

    /// What other weights make void.
    fn forget(&mut self) {
        self.gathered = Gathered::default();
        if self.options.optimizer_state == OptimizerState::Reset {
            self.optimizer.reset();
        }
    }

    /// Token ids `[B, T + 1]` on the device, -1 for padding.
    fn ids(&self, batch: &TokenBatch) -> Result<Tensor, ModelError> {
        let ids: Vec<i64> = batch.ids.iter().map(|id| if *id == PAD { -1 } else { i64::from(*id) }).collect();
        let ids = Tensor::f_from_slice(&ids)?.f_reshape([batch.rows() as i64, batch.seq as i64])?;
        Ok(ids.f_to(self.llama.device())?)
    }

    /// Refuses a batch that the model cannot take, before any of it is computed.
    fn check(&self, batch: &TokenBatch) -> Result<(), ModelError> {
        let config = self.llama.config();
        let refuse = |why: String| Err(ModelError::Batch(why));
        if batch.is_empty() {
            return refuse("nothing to predict: two tokens are the least".into());
        }
        if batch.rows() * batch.seq != batch.ids.len() {
            return refuse(format!("{} tokens are no whole sequences of {}", batch.ids.len(), batch.seq));
        }
        if batch.seq - 1 > config.max_position_embeddings {
            let most = config.max_position_embeddings;
            return refuse(format!("sequences of {} tokens: the model has {most} positions", batch.seq));
        }
        match batch.ids.iter().find(|id| **id != PAD && **id as usize >= config.vocab_size) {
            Some(id) => refuse(format!("token {id} is not of the {} of the vocabulary", config.vocab_size)),
            None => Ok(()),
        }
    }

    /// Runs `work` on the batch's micro-batches and adds up what it returns. Where memory runs out, all is done again in
    /// smaller ones, after `undo`.
    fn in_pieces(
        &mut self,
        batch: &TokenBatch,
        mut work: impl FnMut(&mut Self, &Micro) -> Result<f64, ModelError>,
        undo: impl Fn(&mut Self),
    ) -> Result<f64, ModelError> {
        self.check(batch)?;
        if self.micro_batch == 0 {
            self.micro_batch = (MICRO_TOKENS / batch.seq).max(1);
        }
        loop {
            let sum = batch.chunks(self.micro_batch).try_fold(0.0, |sum, piece| {
                let micro = Micro::new(&self.ids(&piece)?, piece.ids.contains(&PAD))?;
                Ok(sum + work(self, &micro)?)
            });
            match sum {
                Err(error @ ModelError::Torch(_)) if error.is_out_of_memory() && self.micro_batch > 1 => {
                    self.micro_batch = self.micro_batch.min(batch.rows()).div_ceil(2);
                    tracing::warn!(micro_batch = self.micro_batch, %error, "out of memory: going on with a smaller micro-batch");
                    undo(self);
                    kernels::empty_cache();
                }
                outcome => return outcome,
            }
        }
    }

    /// Mean cross-entropy over `batch`.
    pub fn evaluate(&mut self, batch: &TokenBatch) -> Result<f64, ModelError> {
        let work = |learner: &mut Self, micro: &Micro| {
            let Self { llama, loss, .. } = learner;
            let hidden = tch::no_grad(|| llama.body(&llama.embed(&micro.inputs)?))?;
            let hidden = tch::no_grad(|| micro.predicted(&hidden))?;
            Ok(loss.sum(&hidden, llama.head(), &micro.targets, llama.products())?)
        };
        Ok(self.in_pieces(batch, work, |_| {})? / batch.targets() as f64)
    }

    /// Mean cross-entropy over `batch` and its gradients, by name.
    pub fn gradients(&mut self, batch: &TokenBatch) -> Result<(f64, Gradients), ModelError> {
        self.gathered = Gathered::default();
        let loss = self.gather(batch)?;
        let mut gathered = std::mem::take(&mut self.gathered);
        for gradient in gathered.gradients.values_mut() {
            let _ = gradient.f_mul_scalar_(1.0 / gathered.tokens as f64)?;
        }
        Ok((loss, gathered.gradients))
    }

    /// Adds the gradients of the batch's summed loss to those gathered, and returns its mean.
    fn gather(&mut self, batch: &TokenBatch) -> Result<f64, ModelError> {
        let work = |learner: &mut Self, micro: &Micro| {
            let Self { llama, loss, options, gathered, .. } = learner;
            Ok(gradients::add(llama, loss, micro, 1.0, options.checkpointing, &mut gathered.gradients)?)
        };
        // What earlier calls gathered is lost with it: it cannot be told apart.
        let sum = self.in_pieces(batch, work, |learner| learner.gathered = Gathered::default())?;
        self.gathered.tokens += batch.targets();
        Ok(sum / batch.targets() as f64)
    }

    fn step(&mut self, batch: &TokenBatch) -> Result<StepReport, ModelError> {
        let outcome = self.gather(batch).and_then(|loss| self.apply(loss));
        if outcome.is_err() {
            self.gathered = Gathered::default();
        }
        outcome.map(|loss| StepReport { loss, tokens: batch.targets() })
    }

    /// Moves the weights if enough is gathered; hands the loss through.
    fn apply(&mut self, loss: f64) -> Result<f64, ModelError> {
        if !loss.is_finite() {
            return Err(ModelError::NonFinite { what: "loss", value: loss });
        }
        if self.gathered.tokens < self.options.batch_tokens {
            return Ok(loss);
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        let mean = 1.0 / gathered.tokens as f64;
        let norm = optimizer::norm(&gathered.gradients)? * mean;
        if !norm.is_finite() {
            return Err(ModelError::NonFinite { what: "gradient norm", value: norm });
        }
        let clip = if self.options.clip > 0.0 { (self.options.clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
        self.steps += 1;
        let lr = self.options.lr * schedule::share(self.steps, self.options.warmup_steps, self.options.decay);
        self.optimizer.step(self.llama.weights_mut(), &mut gathered.gradients, lr, mean * clip)?;
        Ok(loss)
    }
}

impl Learner for LlamaLearner {
    fn spec(&self) -> ModelSpec {
        self.llama.config().spec()
    }

    fn load(&mut self, params: &Params) -> Result<(), PortError> {
        Ok(self.set_weights(params)?)
    }

    fn load_sum(&mut self, base: &Params, delta: &Params, scale: f32) -> Result<(), PortError> {
        let spec = self.llama.config().spec();
        check_spec(&spec, base)?;
        check_spec(&spec, delta)?;
        self.forget();
        let on_device = !self.options.offload_base;
        let sum = self.bench.load_sum(self.llama.weights_mut(), base, delta, scale, on_device);
        Ok(sum.map_err(ModelError::from)?)
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
        if self.options.optimizer_state != OptimizerState::Keep {
            self.optimizer.reset();
        }
    }
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
