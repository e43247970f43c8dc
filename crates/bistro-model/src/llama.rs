//! Llama, whole and in reading order: embedding, blocks of attention and feed-forward, a last norm. What follows (the output
//! head and the loss) is in [`crate::loss`]. The numbers are those of Hugging Face's `LlamaForCausalLM` on the same weights.
//!
//! In shapes, B is sequences, T tokens of each, H `hidden_size`, N query heads, K key and value heads, D `head_dim`,
//! F `intermediate_size`, V `vocab_size`.
#![expect(clippy::many_single_char_names)] // they are the sides just named

use std::collections::BTreeMap;

use tch::{Device, Kind, TchError, Tensor};

use crate::config::LlamaConfig;
use crate::kernels;
use crate::rope::{self, Angles};

/// Name of the embedding, which is also the head where the two are tied.
pub const EMBEDDING: &str = "model.embed_tokens.weight";
/// Name of the last norm's weight.
pub const NORM: &str = "model.norm.weight";
/// Name of a head of its own.
pub const HEAD: &str = "lm_head.weight";

/// A model's weights on their device.
///
/// Blocks and last norm take part in autograd. The two tables of V rows, embedding and head, do not: their gradients are
/// written by hand into one buffer each, which spares several passes over what is most of a small model.
pub struct Llama {
    config: LlamaConfig,
    weights: BTreeMap<String, Tensor>,
    frequencies: Tensor,
    products: Kind,
}

impl Llama {
    /// All weights zero, f32.
    pub fn zeros(config: LlamaConfig, device: Device) -> Result<Self, TchError> {
        let mut weights = BTreeMap::new();
        for (name, shape) in config.spec().tensors {
            let shape: Vec<i64> = shape.iter().map(|side| *side as i64).collect();
            let weight = Tensor::f_zeros(shape.as_slice(), (Kind::Float, device))?;
            let weight = weight.f_set_requires_grad(!is_table(&name))?;
            weights.insert(name, weight);
        }
        let frequencies = rope::frequencies(&config, device)?;
        Ok(Self { config, weights, frequencies, products: Kind::Float })
    }

    /// In which kind of number matrices are multiplied: f32, or bf16 with all else in f32, as Hugging Face under autocast.
    pub fn set_products(&mut self, kind: Kind) {
        self.products = kind;
    }

    /// In which kind of number matrices are multiplied.
    pub fn products(&self) -> Kind {
        self.products
    }

    /// What the model is.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// All weights in name order.
    pub fn weights(&self) -> &BTreeMap<String, Tensor> {
        &self.weights
    }

    /// All weights in name order, to be changed in place.
    pub fn weights_mut(&mut self) -> &mut BTreeMap<String, Tensor> {
        &mut self.weights
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.weights[EMBEDDING].device()
    }

    /// The output head `[V, H]`.
    pub fn head(&self) -> &Tensor {
        self.weights.get(HEAD).unwrap_or(&self.weights[EMBEDDING])
    }

    /// `[B, T]` token ids → `[B, T, H]`.
    pub fn embed(&self, ids: &Tensor) -> Result<Tensor, TchError> {
        Tensor::f_embedding(&self.weights[EMBEDDING], ids, -1, false, false)
    }

    /// Embedded tokens `[B, T, H]` → what the head reads `[B·T, H]`.
    pub fn body(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let angles = self.angles(x)?;
        let mut x = x.shallow_clone();
        for block in 0..self.config.num_hidden_layers {
            x = self.block(&x, &angles, block)?;
        }
        self.finish(&x)
    }

    /// Rotary angles for sequences as long as those of `x` `[B, T, H]`.
    pub fn angles(&self, x: &Tensor) -> Result<Angles, TchError> {
        Angles::new(&self.frequencies, x.size3()?.1)
    }

    /// One block, `[B, T, H]` → `[B, T, H]`.
    pub fn block(&self, x: &Tensor, angles: &Angles, block: usize) -> Result<Tensor, TchError> {
        let name = |part: &str| format!("model.layers.{block}.{part}.weight");
        let attended = self.attention(&self.norm(x, &name("input_layernorm"))?, angles, block)?;
        let x = x.f_add(&attended)?;
        let fed = self.feed_forward(&self.norm(&x, &name("post_attention_layernorm"))?, block)?;
        x.f_add(&fed)
    }

    /// Names of one block's weights begin with this.
    pub fn block_prefix(block: usize) -> String {
        format!("model.layers.{block}.")
    }

    /// After the last block: `[B, T, H]` → `[B·T, H]`.
    pub fn finish(&self, x: &Tensor) -> Result<Tensor, TchError> {
        self.norm(x, NORM)?.f_reshape([-1, self.config.hidden_size as i64])
    }

    /// `x / sqrt(mean(x²) + eps) · weight` over the last side.
    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor, TchError> {
        kernels::rms_norm(x, &self.weights[name], self.config.rms_norm_eps)
    }

    /// Each token looks at itself and those before it.
    fn attention(&self, x: &Tensor, angles: &Angles, block: usize) -> Result<Tensor, TchError> {
        let (b, t, _) = x.size3()?;
        let d = self.config.head_dim() as i64;
        let project = |part: &str| self.linear(x, &format!("model.layers.{block}.self_attn.{part}"));
        let split = |x: &Tensor| x.f_reshape([b, t, -1, d]); // [B, T, N·D] → [B, T, N, D]
        let turn = |x: &Tensor| kernels::rope(x, &angles.cos, &angles.sin);
        let q = turn(&split(&project("q_proj")?)?)?; // [B, T, N, D]
        let k = turn(&split(&project("k_proj")?)?)?; // [B, T, K, D]
        let v = split(&project("v_proj")?)?; // [B, T, K, D]
        let y = kernels::attention(&q, &k, &v)?; // [B, T, N, D]
        self.linear(&y.f_reshape([b, t, -1])?, &format!("model.layers.{block}.self_attn.o_proj"))
    }

    /// SwiGLU: `down(silu(gate(x)) · up(x))`.
    fn feed_forward(&self, x: &Tensor, block: usize) -> Result<Tensor, TchError> {
        let part = |x: &Tensor, part: &str| self.linear(x, &format!("model.layers.{block}.mlp.{part}"));
        let (gate, up) = (part(x, "gate_proj")?, part(x, "up_proj")?); // [B, T, F]
        part(&kernels::swiglu(&gate, &up)?, "down_proj")
    }

    /// `x · weightᵀ + bias`: a weight of `[out, in]` takes `[.., in]` to `[.., out]`.
    fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor, TchError> {
        let weight = &self.weights[&format!("{name}.weight")];
        let bias = self.weights.get(&format!("{name}.bias"));
        if self.products == Kind::Float {
            return x.f_linear(weight, bias);
        }
        let cast = |tensor: &Tensor| tensor.f_to_kind(self.products);
        cast(x)?.f_linear(&cast(weight)?, bias.map(cast).transpose()?)
    }
}

/// Whether a tensor is one of the two tables of V rows.
pub fn is_table(name: &str) -> bool {
    name == EMBEDDING || name == HEAD
}
