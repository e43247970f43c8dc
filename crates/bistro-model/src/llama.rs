//! Llama, whole and in reading order: embedding, blocks of attention and feed-forward, a last norm. What follows (the output
//! head and the loss) is in [`crate::loss`]. The numbers are those of Hugging Face's `LlamaForCausalLM` on the same weights.
//!
//! In shapes, B is sequences, T tokens of each, H `hidden_size`, N query heads, K key and value heads, D `head_dim`,
//! F `intermediate_size`, V `vocab_size`.
#![expect(clippy::many_single_char_names)] // they are the sides just named

use std::collections::BTreeMap;

use tch::{Device, Kind, TchError, Tensor};

use crate::config::LlamaConfig;

/// Name of the embedding, which is also the head where the two are tied.
pub const EMBEDDING: &str = "model.embed_tokens.weight";
/// Name of a head of its own.
pub const HEAD: &str = "lm_head.weight";

/// A model's weights on their device.
///
/// Blocks and last norm take part in autograd. The two tables of V rows, embedding and head, do not: their gradients are
/// written by hand into one buffer each, which spares several passes over what is most of a small model.
pub struct Llama {
    config: LlamaConfig,
    weights: BTreeMap<String, Tensor>,
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
        Ok(Self { config, weights })
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
        let (_, t, h) = x.size3()?;
        let rope = self.rope(t)?;
        let mut x = x.shallow_clone();
        for block in 0..self.config.num_hidden_layers {
            let name = |part: &str| format!("model.layers.{block}.{part}");
            let attended = self.attention(&self.norm(&x, &name("input_layernorm"))?, &rope, block)?;
            x = x.f_add(&attended)?;
            let fed = self.feed_forward(&self.norm(&x, &name("post_attention_layernorm"))?, block)?;
            x = x.f_add(&fed)?;
        }
        self.norm(&x, "model.norm")?.f_reshape([-1, h])
    }

    /// `x / sqrt(mean(x²) + eps) · weight` over the last side.
    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor, TchError> {
        let weight = self.weight(name);
        x.f_rms_norm(weight.size(), Some(weight), self.config.rms_norm_eps)
    }

    /// Each token looks at itself and those before it.
    fn attention(&self, x: &Tensor, rope: &Rope, block: usize) -> Result<Tensor, TchError> {
        let (b, t, _) = x.size3()?;
        let d = self.config.head_dim() as i64;
        let project = |part: &str| self.linear(x, &format!("model.layers.{block}.self_attn.{part}"));
        let split = |x: Tensor| x.f_reshape([b, t, -1, d])?.f_transpose(1, 2); // [B, T, N·D] → [B, N, T, D]
        let q = rope.turn(&split(project("q_proj")?)?)?; // [B, N, T, D]
        let k = rope.turn(&split(project("k_proj")?)?)?; // [B, K, T, D]
        let v = split(project("v_proj")?)?; // [B, K, T, D]
        let grouped = self.config.kv_heads() != self.config.num_attention_heads;
        let causal = true;
        let y = Tensor::f_scaled_dot_product_attention(&q, &k, &v, None::<Tensor>, 0.0, causal, None, grouped)?;
        let y = y.f_transpose(1, 2)?.f_reshape([b, t, -1])?; // [B, N, T, D] → [B, T, N·D]
        self.linear(&y, &format!("model.layers.{block}.self_attn.o_proj"))
    }

    /// SwiGLU: `down(silu(gate(x)) · up(x))`.
    fn feed_forward(&self, x: &Tensor, block: usize) -> Result<Tensor, TchError> {
        let part = |x: &Tensor, part: &str| self.linear(x, &format!("model.layers.{block}.mlp.{part}"));
        let gate = part(x, "gate_proj")?.f_silu()?; // [B, T, F]
        let up = part(x, "up_proj")?; // [B, T, F]
        part(&gate.f_mul(&up)?, "down_proj")
    }

    /// `x · weightᵀ`: a weight of `[out, in]` takes `[.., in]` to `[.., out]`.
    fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor, TchError> {
        x.f_linear(self.weight(name), None::<Tensor>)
    }

    fn weight(&self, name: &str) -> &Tensor {
        &self.weights[&format!("{name}.weight")]
    }

    /// Angles of positions `0..t`, computed in f32 step by step as Hugging Face does, so that long sequences agree too.
    fn rope(&self, t: i64) -> Result<Rope, TchError> {
        let d = self.config.head_dim() as i64;
        let float = (Kind::Float, self.device());
        let exponents = Tensor::f_arange_start_step(0, d, 2, float)?.f_div_scalar(d)?;
        let frequencies = Tensor::f_pow_scalar(self.config.rope_theta, &exponents)?.f_reciprocal()?; // [D/2]
        let angles = Tensor::f_arange(t, float)?.f_outer(&frequencies)?; // [T, D/2]
        Ok(Rope { cos: angles.f_cos()?, sin: angles.f_sin()? })
    }
}

/// Whether a tensor is one of the two tables of V rows.
pub fn is_table(name: &str) -> bool {
    name == EMBEDDING || name == HEAD
}

/// Rotary positions: cosine and sine of each position's angles, `[T, D/2]`.
struct Rope {
    cos: Tensor,
    sin: Tensor,
}

impl Rope {
    /// Turns the pairs (i, i + D/2) of `[B, N, T, D]`; Hugging Face's `rotate_half` convention.
    fn turn(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let halves = x.f_chunk(2, -1)?; // twice [B, N, T, D/2]
        let (a, b) = (&halves[0], &halves[1]);
        let first = a.f_mul(&self.cos)?.f_sub(&b.f_mul(&self.sin)?)?;
        let second = b.f_mul(&self.cos)?.f_add(&a.f_mul(&self.sin)?)?;
        Tensor::f_cat(&[first, second], -1)
    }
}
