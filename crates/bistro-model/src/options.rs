//! How a learner trains and computes.

pub use crate::schedule::Decay;

/// Which optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptimizerKind {
    /// AdamW: two numbers of state a weight.
    AdamW,
    /// Adafactor as the original miner ran it: almost no state.
    Adafactor,
}

/// What becomes of the optimizer's state when a new master arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptimizerState {
    /// Kept with unmerged work that goes on, forgotten where the model starts from the master again.
    AsRules,
    /// Kept always.
    Keep,
    /// Forgotten whenever weights are loaded.
    Reset,
}

/// In which numbers matrices are multiplied. Weights, gradients, moments, norms and losses are f32 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// bf16 on CUDA, f32 on a CPU.
    Auto,
    /// f32; TF32 on CUDA.
    F32,
    /// bf16: on a CPU without instructions for it far slower than f32.
    Bf16,
}

/// How a learner trains and computes. The defaults are those that suit `nano` on one CPU core.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// Which optimizer.
    pub optimizer: OptimizerKind,
    /// Learning rate after warm-up.
    pub lr: f64,
    /// Steps over which the learning rate rises linearly from zero, counted over the learner's life.
    pub warmup_steps: u32,
    /// What the learning rate does then.
    pub decay: Decay,
    /// AdamW's decay of the mean of gradients.
    pub beta1: f64,
    /// AdamW's decay of the mean of squared gradients.
    pub beta2: f64,
    /// Decoupled weight decay of matrices.
    pub weight_decay: f64,
    /// The gradient's norm is cut to this; 0 never cuts.
    pub clip: f64,
    /// What becomes of the optimizer's state at a new master.
    pub optimizer_state: OptimizerState,
    /// Gradients are gathered over calls until they are of this many tokens, and then make one step; 0 steps with every call.
    pub batch_tokens: usize,
    /// Threads that compute, for the whole process; libtorch's own choice (all cores) if `None`.
    pub threads: Option<usize>,
    /// Sequences computed at once; larger batches go through in pieces of this many. 0: what memory and speed suggest.
    pub micro_batch: usize,
    /// In which numbers matrices are multiplied.
    pub precision: Precision,
    /// Keeps only each block's input for the gradient and computes the rest again: a third more work, far less memory.
    pub checkpointing: bool,
    /// Keeps the master that trials start from in host memory instead of the device's.
    pub offload_base: bool,
    /// Whether this learner will train; one that only evaluates needs far less memory.
    pub trains: bool,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            optimizer: OptimizerKind::AdamW,
            lr: 2e-3,
            warmup_steps: 20,
            decay: Decay::Constant,
            beta1: 0.9,
            beta2: 0.95,
            weight_decay: 0.1,
            clip: 1.0,
            optimizer_state: OptimizerState::AsRules,
            batch_tokens: 0,
            threads: None,
            micro_batch: 0,
            precision: Precision::Auto,
            checkpointing: false,
            offload_base: false,
            trains: true,
        }
    }
}
