//! A new model from a seed. The numbers are drawn on the host, from BLAKE3's output stream and with basic arithmetic whose
//! result IEEE 754 (and one portable logarithm) fixes, so every machine starts from the same bits.

use bistro_core::params::{Params, Tensor};

use crate::config::LlamaConfig;

/// Weights as Hugging Face draws them: matrices normal with `initializer_range`, norms 1, biases 0.
pub fn weights(config: &LlamaConfig, seed: u64) -> Params {
    let draw = |(name, shape): (String, Vec<usize>)| {
        let len = shape.iter().product();
        let data = if shape.len() == 1 {
            vec![if name.rsplit('.').next() == Some("bias") { 0.0 } else { 1.0 }; len]
        } else {
            let mut normal = Normal::new(seed, &name);
            (0..len).map(|_| (normal.next() * config.initializer_range) as f32).collect()
        };
        (name, Tensor::new(shape, data))
    };
    Params { tensors: config.spec().tensors.into_iter().map(draw).collect() }
}

/// Standard normal numbers by Marsaglia's polar method.
struct Normal {
    stream: blake3::OutputReader,
    block: [u8; 4096],
    used: usize,
    spare: Option<f64>,
}

impl Normal {
    /// A stream of its own for each tensor, so that no tensor's numbers depend on which others there are.
    fn new(seed: u64, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("bistro initial weights v1");
        hasher.update(&seed.to_le_bytes());
        hasher.update(name.as_bytes());
        Self { stream: hasher.finalize_xof(), block: [0; 4096], used: 4096, spare: None }
    }

    /// Uniform in [-1, 1), 53 bits.
    fn uniform(&mut self) -> f64 {
        if self.used == self.block.len() {
            self.stream.fill(&mut self.block);
            self.used = 0;
        }
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.block[self.used..self.used + 8]);
        self.used += 8;
        (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    fn next(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (self.uniform(), self.uniform());
            let s = x * x + y * y;
            if s > 0.0 && s < 1.0 {
                // `libm`, because the system's logarithm may differ in the last bit from one machine to the next.
                let scale = (-2.0 * libm::log(s) / s).sqrt();
                self.spare = Some(y * scale);
                return x * scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> LlamaConfig {
        let mut config = LlamaConfig::preset("nano").unwrap();
        (config.vocab_size, config.hidden_size, config.intermediate_size, config.num_hidden_layers) = (512, 64, 96, 2);
        config
    }

    #[test]
    fn a_seed_is_a_model_on_every_machine() {
        // A known answer: whoever changes how weights are drawn changes what every run starts from.
        let hash = weights(&tiny(), 7).hash().to_string();
        assert_eq!(hash, "04ad016ed28d27a5c1caf686e0db265af89e8336820d5f19539bab86eeb2f1b1");
        assert_ne!(weights(&tiny(), 8).hash(), weights(&tiny(), 7).hash());
    }

    #[test]
    fn matrices_are_normal_and_norms_are_one() {
        let params = weights(&tiny(), 1);
        assert!(params.tensors["model.norm.weight"].data.iter().all(|v| v.to_bits() == 1_f32.to_bits()));
        let data = &params.tensors["model.embed_tokens.weight"].data;
        let n = data.len() as f64;
        let moment = |k: i32| data.iter().map(|v| (f64::from(*v) / 0.02).powi(k)).sum::<f64>() / n;
        assert!(moment(1).abs() < 0.03, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.03, "variance {}", moment(2));
        assert!((moment(4) - 3.0).abs() < 0.2, "kurtosis {}", moment(4)); // a uniform has 1.8
    }
}
