//! The flags of training.

use bistro_model::TrainOptions;
use bistro_model::options::{Decay, OptimizerKind, OptimizerState, Precision};
use clap::{Args, ValueEnum};

/// How a miner trains.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Training")]
pub struct TrainingArgs {
    /// Tokens of one optimizer step: gradients are gathered until there are so many. By default each `--batch-size` is a step.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    pub batch_tokens: usize,
    /// Sequences computed at once at most; as many as memory and speed suggest by default.
    #[arg(long, alias = "actual_batch_size", default_value_t = 0, hide_default_value = true, value_name = "N")]
    pub micro_batch_size: usize,
    /// What moves the weights.
    #[arg(long, default_value = "adamw", value_name = "NAME")]
    pub optimizer: OptimizerArg,
    /// What becomes of the optimizer's state when a new master arrives.
    #[arg(long, default_value = "auto", value_name = "WHAT")]
    pub optimizer_state: OptimizerStateArg,
    /// Learning rate after warm-up.
    #[arg(long, default_value_t = 2e-3, value_name = "RATE")]
    pub learning_rate: f64,
    /// Steps over which the learning rate rises from zero.
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub warmup_steps: u32,
    /// Steps over which the learning rate then falls as half a cosine to a tenth; it stays by default.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    pub cosine_steps: u64,
    /// AdamW's decay of the mean of gradients.
    #[arg(long, alias = "optimizer_beta1", default_value_t = 0.9, value_name = "SHARE")]
    pub beta1: f64,
    /// AdamW's decay of the mean of squared gradients.
    #[arg(long, alias = "optimizer_beta2", default_value_t = 0.95, value_name = "SHARE")]
    pub beta2: f64,
    /// Decoupled weight decay of matrices.
    #[arg(long, alias = "optimizer_weight_decay", default_value_t = 0.1, value_name = "SHARE")]
    pub weight_decay: f64,
    /// The gradient's norm is cut to this; 0 never cuts.
    #[arg(long, alias = "clip_grad", default_value_t = 1.0, value_name = "NORM")]
    pub clip: f64,
    /// In which numbers matrices are multiplied.
    #[arg(long, default_value = "auto", value_name = "KIND")]
    pub precision: PrecisionArg,
    /// Keep only each block's input for the gradient: a third more work, far less memory.
    #[arg(long)]
    pub gradient_checkpointing: bool,
}

/// Optimizers by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OptimizerArg {
    /// AdamW: two numbers of state a weight.
    #[value(name = "adamw")]
    AdamW,
    /// Adafactor as the original miner ran it: almost no state.
    Adafactor,
}

/// What becomes of the optimizer's state, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OptimizerStateArg {
    /// Kept with unmerged work that goes on, forgotten where the model starts from the master again.
    Auto,
    /// Kept always.
    Keep,
    /// Forgotten at every new master.
    Reset,
}

/// Numbers by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// bf16 on CUDA, f32 on a CPU.
    Auto,
    /// f32; TF32 on CUDA.
    F32,
    /// bf16.
    Bf16,
}

impl TrainingArgs {
    /// As the model's crate takes them.
    pub fn options(&self, threads: Option<usize>) -> TrainOptions {
        TrainOptions {
            optimizer: match self.optimizer {
                OptimizerArg::AdamW => OptimizerKind::AdamW,
                OptimizerArg::Adafactor => OptimizerKind::Adafactor,
            },
            optimizer_state: match self.optimizer_state {
                OptimizerStateArg::Auto => OptimizerState::AsRules,
                OptimizerStateArg::Keep => OptimizerState::Keep,
                OptimizerStateArg::Reset => OptimizerState::Reset,
            },
            lr: self.learning_rate,
            warmup_steps: self.warmup_steps,
            decay: match self.cosine_steps {
                0 => Decay::Constant,
                steps => Decay::Cosine { steps, floor: 0.1 },
            },
            beta1: self.beta1,
            beta2: self.beta2,
            weight_decay: self.weight_decay,
            clip: self.clip,
            batch_tokens: self.batch_tokens,
            threads,
            micro_batch: self.micro_batch_size,
            precision: match self.precision {
                PrecisionArg::Auto => Precision::Auto,
                PrecisionArg::F32 => Precision::F32,
                PrecisionArg::Bf16 => Precision::Bf16,
            },
            checkpointing: self.gradient_checkpointing,
            offload_base: false,
            trains: true,
        }
    }
}
