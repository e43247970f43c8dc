//! Llama, whole and in reading order: embedding, blocks of attention and feed-forward, a last norm. What follows (the output
//! head and the loss) is in [`crate::loss`]. The numbers are those of Hugging Face's `LlamaForCausalLM` on the same weights.
//!
//! In shapes, B is sequences, T tokens of each, H `hidden_size`, N query heads, K key and value heads, D `head_dim`,
//! F `intermediate_size`, V `vocab_size`.

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
///
/// Weights that multiply the same input lie one after another in memory, so that one product serves them all; under their own
/// names they are rows of the whole.
pub struct Llama {
    config: LlamaConfig,
    weights: BTreeMap<String, Tensor>,
    leaves: BTreeMap<String, Leaf>,
    frequencies: Tensor,
    products: Kind,
}

/// What autograd knows of: one weight, or the rows of several.
#[derive(Debug)]
pub struct Leaf {
    /// All rows.
    pub tensor: Tensor,
    /// The weights' own names and numbers of rows, in order.
    pub parts: Vec<(String, i64)>,
}

/// Parts of a block whose weights are one leaf, and what stands for them in the leaf's name.
const FUSED: [(&[&str], &str); 2] = [
    (&["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], "self_attn.qkv_proj"),
    (&["mlp.gate_proj", "mlp.up_proj"], "mlp.gate_up_proj"),
];

/// The leaf of the weight `name`.
fn leaf_of(name: &str) -> String {
    for (parts, whole) in FUSED {
        if let Some(part) = parts.iter().find(|part| name.contains(*part)) {
            return name.replace(part, whole);
        }
    }
    name.to_owned()
}

/// Leaves of zeros for tensors of these shapes, in the order in which fused parts lie.
fn zero_leaves(shapes: BTreeMap<String, Vec<usize>>, device: Device) -> Result<BTreeMap<String, Leaf>, TchError> {
    let mut parts: BTreeMap<String, Vec<(String, Vec<i64>)>> = BTreeMap::new();
    for (name, shape) in shapes {
        let shape = shape.iter().map(|side| *side as i64).collect();
        parts.entry(leaf_of(&name)).or_default().push((name, shape));
    }
    let place = |name: &str| FUSED.iter().flat_map(|(parts, _)| *parts).position(|part| name.contains(part));
    let mut leaves = BTreeMap::new();
    for (leaf, mut parts) in parts {
        parts.sort_by_key(|(name, _)| place(name));
        let mut shape = parts[0].1.clone();
        shape[0] = parts.iter().map(|(_, shape)| shape[0]).sum();
        let tensor = Tensor::f_zeros(shape, (Kind::Float, device))?;
        let parts = parts.into_iter().map(|(name, shape)| (name, shape[0])).collect();
        leaves.insert(leaf, Leaf { tensor, parts });
    }
    Ok(leaves)
}

impl Leaf {
    /// Each weight's rows of `tensor`, which has this leaf's shape, by the weight's name.
    pub fn split(&self, tensor: &Tensor) -> Result<Vec<(String, Tensor)>, TchError> {
        let mut from = 0;
        let mut rows = Vec::with_capacity(self.parts.len());
        for (name, count) in &self.parts {
            rows.push((name.clone(), tensor.f_narrow(0, from, *count)?));
            from += count;
        }
        Ok(rows)
    }
}

impl Llama {
    /// All weights zero, f32.
    pub fn zeros(config: LlamaConfig, device: Device) -> Result<Self, TchError> {
        let mut leaves = zero_leaves(config.spec().tensors, device)?;
        let mut weights = BTreeMap::new();
        for (name, leaf) in &mut leaves {
            for (part, rows) in leaf.split(&leaf.tensor)? {
                weights.insert(part, rows.f_detach()?);
            }
            leaf.tensor = leaf.tensor.f_set_requires_grad(!is_table(name))?;
        }
        let frequencies = rope::frequencies(&config, device)?;
        Ok(Self { config, weights, leaves, frequencies, products: Kind::Float })
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

    /// What takes part in autograd: all but the two tables.
    pub fn leaves(&self) -> impl Iterator<Item = (&String, &Leaf)> {
        self.leaves.iter().filter(|(name, _)| !is_table(name))
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
        let (weight, eps) = (&self.leaves[&name("post_attention_layernorm")].tensor, self.config.rms_norm_eps);
        let (x, normed) = kernels::add_norm(x, &attended, weight, eps)?;
        x.f_add(&self.feed_forward(&normed, block)?)
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
        kernels::rms_norm(x, &self.leaves[name].tensor, self.config.rms_norm_eps)
    }

    /// Each token looks at itself and those before it.
    fn attention(&self, x: &Tensor, angles: &Angles, block: usize) -> Result<Tensor, TchError> {
        let (heads, keys) = (self.config.num_attention_heads as i64, self.config.kv_heads() as i64);
        let linear = |x: &Tensor, part: &str| self.linear(x, &format!("model.layers.{block}.self_attn.{part}"));
        let qkv = linear(x, "qkv_proj")?; // [B, T, (N + 2 K)·D]
        linear(&kernels::attention(&qkv, &angles.cos, &angles.sin, heads, keys)?, "o_proj") // [B, T, N·D] → [B, T, H]
    }

    /// SwiGLU: `down(silu(gate(x)) · up(x))`.
    fn feed_forward(&self, x: &Tensor, block: usize) -> Result<Tensor, TchError> {
        let linear = |x: &Tensor, part: &str| self.linear(x, &format!("model.layers.{block}.mlp.{part}"));
        linear(&kernels::swiglu(&linear(x, "gate_up_proj")?)?, "down_proj") // [B, T, 2 F] → [B, T, F] → [B, T, H]
    }

    /// `x · weightᵀ + bias`: a leaf of `[out, in]` takes `[.., in]` to `[.., out]`.
    fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor, TchError> {
        let weight = &self.leaves[&format!("{name}.weight")].tensor;
        let bias = self.leaves.get(&format!("{name}.bias")).map(|leaf| &leaf.tensor);
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
