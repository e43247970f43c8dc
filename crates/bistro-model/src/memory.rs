//! What a model needs against what is free: the micro-batch is chosen before the start, or it is said what to change. Counts
//! are those of the large parts; libtorch's own needs are the reserve.

use std::fmt;

use fs_err as fs;
use tch::Device;

use crate::config::LlamaConfig;
use crate::error::ModelError;
use crate::kernels;
use crate::learner::chunk_tokens;
use crate::options::{OptimizerKind, TrainOptions};

/// Tokens that are computed at once where memory allows: more would not be faster.
const CPU_TOKENS: usize = 2048;
const CUDA_TOKENS: usize = 16_384;
/// This share of what is free stays free.
const RESERVE: f64 = 0.1;

/// What goes where, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Sequences computed at once.
    pub micro_batch: usize,
    /// Parts that do not depend on the micro-batch.
    pub fixed: Vec<(&'static str, u64)>,
    /// Activations of one sequence.
    pub sequence: u64,
    /// What is free on the device.
    pub free: u64,
}

impl Plan {
    /// All that will be in use.
    pub fn needed(&self) -> u64 {
        self.fixed() + self.sequence * self.micro_batch as u64
    }

    fn fixed(&self) -> u64 {
        self.fixed.iter().map(|(_, bytes)| bytes).sum()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (part, bytes) in &self.fixed {
            write!(f, "{part} {}, ", Gib(*bytes))?;
        }
        let activations = self.sequence * self.micro_batch as u64;
        write!(f, "activations of {} sequences {}: {}", self.micro_batch, Gib(activations), Gib(self.needed()))?;
        write!(f, " of {} free", Gib(self.free))
    }
}

struct Gib(u64);

impl fmt::Display for Gib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} GiB", self.0 as f64 / f64::from(1 << 30))
    }
}

/// The plan for sequences of `seq` tokens on `device`, as it is now. `options.micro_batch` is an upper bound if it is not 0.
pub fn plan(config: &LlamaConfig, options: &TrainOptions, device: Device, seq: usize) -> Result<Plan, ModelError> {
    let free = match device {
        Device::Cuda(index) => kernels::cuda_memory(index).map_err(ModelError::Memory)?.0,
        _ => host_free()?,
    };
    plan_within(config, options, device, seq, free)
}

/// As [`plan`], with so many bytes free.
pub fn plan_within(
    config: &LlamaConfig,
    options: &TrainOptions,
    device: Device,
    seq: usize,
    free: u64,
) -> Result<Plan, ModelError> {
    let tokens = if device == Device::Cpu { CPU_TOKENS } else { CUDA_TOKENS };
    let most = if options.micro_batch > 0 { options.micro_batch } else { (tokens / seq.max(1)).max(1) };
    let fixed = fixed(config, options, device);
    let sequence = activations(config, options) * seq as u64;
    let usable = (free as f64 * (1.0 - RESERVE)) as u64;
    let rest = usable.saturating_sub(fixed.iter().map(|(_, bytes)| bytes).sum());
    let fits = usize::try_from(rest / sequence.max(1)).unwrap_or(usize::MAX);
    let plan = Plan { micro_batch: most.min(fits), fixed, sequence, free };
    if plan.micro_batch > 0 {
        return Ok(plan);
    }
    let mut ways = vec!["a smaller model", "a device with more memory", "shorter sequences"];
    if options.trains && !options.checkpointing {
        ways.push("gradient checkpointing");
    }
    if options.trains && options.optimizer == OptimizerKind::AdamW {
        ways.push("Adafactor");
    }
    if device != Device::Cpu && !options.offload_base {
        ways.push("the base copy in host memory");
    }
    let plan = Plan { micro_batch: 1, ..plan };
    Err(ModelError::Memory(format!("one sequence of {seq} tokens does not fit: {plan}. Take {}", ways.join(", or "))))
}

fn fixed(config: &LlamaConfig, options: &TrainOptions, device: Device) -> Vec<(&'static str, u64)> {
    let copy = config.parameters().unwrap_or(usize::MAX / 16) as u64 * 4;
    let logits = (chunk_tokens(config, device) * config.vocab_size) as u64 * 4;
    let mut parts = vec![("weights", copy)];
    if options.trains {
        parts.push(("gradients", copy));
        if options.optimizer == OptimizerKind::AdamW {
            parts.push(("moments", 2 * copy));
        }
    }
    match (device == Device::Cpu, options.trains) {
        (true, _) => parts.push(("master and delta on the host", 2 * copy)),
        (false, false) if options.offload_base => parts.push(("delta", copy)),
        (false, false) => parts.push(("base and delta", 2 * copy)),
        (false, true) => {}
    }
    // In bf16 the logits are there twice.
    parts.push(("logits", if device == Device::Cpu { logits } else { logits * 3 / 2 }));
    parts
}

/// Bytes of activations for each token.
fn activations(config: &LlamaConfig, options: &TrainOptions) -> u64 {
    let (h, f) = (config.hidden_size, config.intermediate_size);
    let (queries, keys) = (config.num_attention_heads * config.head_dim(), config.kv_heads() * config.head_dim());
    // Kept for the gradient of a block: its input, both norms' outputs, the stream between; q, k, v twice (before and
    // after they are put in order), attention's output; gate, up, and their product. As many again pass by on the way back.
    let block = 4 * h + 2 * (queries + 2 * keys) + queries + 3 * f;
    let blocks = config.num_hidden_layers;
    let floats = match (options.trains, options.checkpointing) {
        (false, _) => block + 2 * h,
        (true, false) => block * (blocks + 1) + 4 * h,
        (true, true) => h * blocks + 2 * block + 4 * h,
    };
    floats as u64 * 4
}

/// What the kernel says can be had without swapping, and no more than a container's limit leaves.
fn host_free() -> Result<u64, ModelError> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    let Some(kib) = kib else {
        return Err(ModelError::Memory("/proc/meminfo does not tell MemAvailable".into()));
    };
    let number = |file: &str| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let limit = number("/sys/fs/cgroup/memory.max").zip(number("/sys/fs/cgroup/memory.current"));
    Ok(limit.map_or(kib * 1024, |(max, used)| (kib * 1024).min(max.saturating_sub(used))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(trains: bool) -> TrainOptions {
        TrainOptions { trains, ..TrainOptions::default() }
    }

    const GIB: u64 = 1 << 30;

    #[test]
    fn less_memory_is_a_smaller_micro_batch_and_then_an_error_that_says_what_to_do() {
        let config = LlamaConfig::preset("small").unwrap();
        let micro =
            |free| plan_within(&config, &options(true), Device::Cuda(0), 2048, free).map(|plan| plan.micro_batch);
        assert_eq!(micro(78 * GIB).unwrap(), 8);
        let fewer = micro(14 * GIB).unwrap();
        assert!((1..8).contains(&fewer), "{fewer}");
        let error = micro(7 * GIB).unwrap_err().to_string();
        assert!(error.contains("gradient checkpointing") && error.contains("moments 3.09 GiB"), "{error}");
        let thrifty = TrainOptions { checkpointing: true, optimizer: OptimizerKind::Adafactor, ..options(true) };
        assert!(plan_within(&config, &thrifty, Device::Cuda(0), 2048, 7 * GIB).unwrap().micro_batch > 0);
    }

    #[test]
    fn whoever_only_evaluates_needs_less() {
        let config = LlamaConfig::preset("135m").unwrap();
        let needed = |trains| plan_within(&config, &options(trains), Device::Cpu, 512, 64 * GIB).unwrap().needed();
        assert!(needed(false) * 2 < needed(true));
        let asked = TrainOptions { micro_batch: 3, ..options(true) };
        assert_eq!(plan_within(&config, &asked, Device::Cpu, 512, 64 * GIB).unwrap().micro_batch, 3);
        assert!(plan(&config, &asked, Device::Cpu, 512).unwrap().free > 0);
    }
}
