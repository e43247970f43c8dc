//! `config.json` of a Llama, as Hugging Face writes it. It may come from a stranger's rules, so every side is bounded, the
//! number of parameters is computed with checked arithmetic and capped, and whatever this crate cannot compute is refused by
//! name rather than ignored.

use std::collections::BTreeMap;

use bistro_core::params::ModelSpec;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::ModelError;
use crate::rope::{self, RopeScaling};

/// A longer `config.json` is refused unread.
pub const MAX_CONFIG_BYTES: usize = 64 << 10;

/// A model of more parameters is refused: 16 billion are 64 GB of f32 on the host.
pub const MAX_PARAMETERS: usize = 16_000_000_000;

/// The presets' names, smallest first.
pub const PRESETS: [&str; 5] = ["nano", "135m", "small", "1b", "7b"];

/// Settings of `LlamaForCausalLM`, under Hugging Face's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LlamaConfig {
    /// Always `["LlamaForCausalLM"]`.
    #[serde(default = "architectures")]
    pub architectures: Vec<String>,
    /// Always `llama`.
    pub model_type: String,
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads, each shared by a group of query heads; as many as query heads if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_key_value_heads: Option<usize>,
    /// Width of a head; `hidden_size / num_attention_heads` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Only `silu`.
    #[serde(default = "silu")]
    pub hidden_act: String,
    /// Longest sequence.
    #[serde(default = "default_positions")]
    pub max_position_embeddings: usize,
    /// Added to the mean square before the root.
    #[serde(default = "default_eps")]
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    #[serde(default = "default_theta")]
    pub rope_theta: f64,
    /// How the frequencies are stretched for long sequences; not at all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// Whether the projections of attention have biases.
    #[serde(default, skip_serializing_if = "is_off")]
    pub attention_bias: bool,
    /// Whether the projections of the feed-forward block have biases.
    #[serde(default, skip_serializing_if = "is_off")]
    pub mlp_bias: bool,
    /// Whether the output head is the embedding.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Standard deviation of a new model's matrices.
    #[serde(default = "default_range")]
    pub initializer_range: f64,
    /// Everything else in the file. Keys without influence on the numbers are kept; others are refused by [`Self::check`].
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_off(flag: &bool) -> bool {
    !flag
}
fn architectures() -> Vec<String> {
    vec!["LlamaForCausalLM".into()]
}
fn silu() -> String {
    "silu".into()
}
fn default_positions() -> usize {
    2048
}
fn default_eps() -> f64 {
    1e-6
}
fn default_theta() -> f64 {
    10_000.0
}
fn default_range() -> f64 {
    0.02
}

/// Keys of a `config.json` that change no number here.
const HARMLESS: [&str; 12] = [
    "_name_or_path",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "pad_token_id",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "_attn_implementation_autoset",
];

impl LlamaConfig {
    /// A preset of `config/models`, one of [`PRESETS`].
    pub fn preset(name: &str) -> Result<Self, ModelError> {
        let text = match name {
            "nano" => include_str!("../../../config/models/nano.json"),
            "135m" => include_str!("../../../config/models/135m.json"),
            "1b" => include_str!("../../../config/models/1b.json"),
            "small" => include_str!("../../../config/models/small.json"),
            "7b" => include_str!("../../../config/models/7b.json"),
            other => {
                let known = PRESETS.join("`, `");
                return Err(ModelError::Config(format!("there is no preset `{other}`: take one of `{known}`")));
            }
        };
        Self::from_json(text)
    }

    /// Reads and checks a `config.json`.
    pub fn from_json(text: &str) -> Result<Self, ModelError> {
        if text.len() > MAX_CONFIG_BYTES {
            return Err(ModelError::Config(format!("{} bytes long, at most {MAX_CONFIG_BYTES} are read", text.len())));
        }
        let mut config: Self = serde_json::from_str(text).map_err(|e| ModelError::Config(e.to_string()))?;
        config.take_rope_parameters();
        config.check()?;
        Ok(config)
    }

    /// transformers 5 writes `rope_parameters`; any kind that is not known stays, to be refused by name.
    fn take_rope_parameters(&mut self) {
        let Some((theta, scaling)) = self.rest.get("rope_parameters").and_then(rope::from_parameters) else { return };
        (self.rope_theta, self.rope_scaling) = (theta, scaling);
        self.rest.remove("rope_parameters");
    }

    /// As Hugging Face reads it.
    ///
    /// # Panics
    /// Never: all keys are text and all values were JSON or are numbers and text.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Refuses what is out of bounds or not computed here.
    pub fn check(&self) -> Result<(), ModelError> {
        let is =
            |name, got: &str, wanted| expect(got == wanted, || format!("{name} `{got}`: only `{wanted}` is known"));
        is("model_type", &self.model_type, "llama")?;
        is("hidden_act", &self.hidden_act, "silu")?;
        is("architectures", &self.architectures.join(","), "LlamaForCausalLM")?;

        within("vocab_size", self.vocab_size, 1 << 20)?;
        within("hidden_size", self.hidden_size, 1 << 15)?;
        within("intermediate_size", self.intermediate_size, 1 << 17)?;
        within("num_hidden_layers", self.num_hidden_layers, 256)?;
        within("num_attention_heads", self.num_attention_heads, 256)?;
        within("num_key_value_heads", self.kv_heads(), self.num_attention_heads)?;
        within("max_position_embeddings", self.max_position_embeddings, 1 << 20)?;
        let (heads, kv_heads, hidden) = (self.num_attention_heads, self.kv_heads(), self.hidden_size);
        expect(self.head_dim.is_some() || hidden.is_multiple_of(heads), || {
            format!("hidden_size {hidden} is not a multiple of num_attention_heads {heads}: give head_dim")
        })?;
        within("head_dim", self.head_dim(), 1024)?;
        expect(self.head_dim().is_multiple_of(2), || "head_dim must be even: rotary positions turn pairs".into())?;
        expect(heads.is_multiple_of(kv_heads), || {
            format!("num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}")
        })?;
        between("rms_norm_eps", self.rms_norm_eps, 1e-12, 1e-2)?;
        between("rope_theta", self.rope_theta, 1.0, 1e9)?;
        between("initializer_range", self.initializer_range, 0.0, 1.0)?;
        self.rope_scaling.as_ref().map_or(Ok(()), RopeScaling::check).map_err(ModelError::Config)?;
        self.check_rest()?;
        match self.parameters() {
            Some(n) if n <= MAX_PARAMETERS => Ok(()),
            n => {
                let n = n.map_or_else(|| "too many".into(), |n| n.to_string());
                Err(ModelError::Config(format!("{n} parameters: at most {MAX_PARAMETERS} are allowed")))
            }
        }
    }

    /// Features that change the numbers must be off.
    fn check_rest(&self) -> Result<(), ModelError> {
        for (key, value) in &self.rest {
            let off = match key.as_str() {
                "attention_dropout" => value.as_f64() == Some(0.0),
                "pretraining_tp" => value.as_u64() == Some(1),
                other => HARMLESS.contains(&other),
            };
            expect(off, || format!("`{key}` = {value} is not supported"))?;
        }
        Ok(())
    }

    /// Width of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads)
    }

    /// Key and value heads.
    pub fn kv_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Number of parameters, `None` if it overflows.
    pub fn parameters(&self) -> Option<usize> {
        let product = |a: usize, b: usize| a.checked_mul(b);
        let table = product(self.vocab_size, self.hidden_size)?;
        let queries = product(self.num_attention_heads, self.head_dim())?;
        let keys = product(self.kv_heads(), self.head_dim())?;
        let attention = product(self.hidden_size, queries.checked_add(keys)?)?.checked_mul(2)?;
        let feed_forward = product(self.hidden_size, self.intermediate_size)?.checked_mul(3)?;
        let attention_biases = if self.attention_bias { queries + 2 * keys + self.hidden_size } else { 0 };
        let mlp_biases = if self.mlp_bias { 2 * self.intermediate_size + self.hidden_size } else { 0 };
        let vectors = 2 * self.hidden_size + attention_biases + mlp_biases; // of bounded sides
        let block = attention.checked_add(feed_forward)?.checked_add(vectors)?;
        let tables = if self.tie_word_embeddings { table } else { product(table, 2)? };
        block.checked_mul(self.num_hidden_layers)?.checked_add(tables)?.checked_add(self.hidden_size)
    }

    /// Names and shapes of all tensors; a tied head has none of its own.
    pub fn spec(&self) -> ModelSpec {
        let (hidden, wide, vocab) = (self.hidden_size, self.intermediate_size, self.vocab_size);
        let (queries, keys) = (self.num_attention_heads * self.head_dim(), self.kv_heads() * self.head_dim());
        let mut tensors = BTreeMap::new();
        let mut add = |name: String, shape: &[usize]| tensors.insert(name, shape.to_vec());
        add("model.embed_tokens.weight".into(), &[vocab, hidden]);
        for i in 0..self.num_hidden_layers {
            let mut linear = |part: &str, bias: bool, out: usize, input: usize| {
                add(format!("model.layers.{i}.{part}.weight"), &[out, input]);
                if bias {
                    add(format!("model.layers.{i}.{part}.bias"), &[out]);
                }
            };
            linear("self_attn.q_proj", self.attention_bias, queries, hidden);
            linear("self_attn.k_proj", self.attention_bias, keys, hidden);
            linear("self_attn.v_proj", self.attention_bias, keys, hidden);
            linear("self_attn.o_proj", self.attention_bias, hidden, queries);
            linear("mlp.gate_proj", self.mlp_bias, wide, hidden);
            linear("mlp.up_proj", self.mlp_bias, wide, hidden);
            linear("mlp.down_proj", self.mlp_bias, hidden, wide);
            add(format!("model.layers.{i}.input_layernorm.weight"), &[hidden]);
            add(format!("model.layers.{i}.post_attention_layernorm.weight"), &[hidden]);
        }
        add("model.norm.weight".into(), &[hidden]);
        if !self.tie_word_embeddings {
            add("lm_head.weight".into(), &[vocab, hidden]);
        }
        ModelSpec { tensors }
    }
}

fn expect(ok: bool, why: impl FnOnce() -> String) -> Result<(), ModelError> {
    if ok { Ok(()) } else { Err(ModelError::Config(why())) }
}

fn within(name: &str, value: usize, max: usize) -> Result<(), ModelError> {
    expect((1..=max).contains(&value), || format!("{name} {value} is not within 1..={max}"))
}

fn between(name: &str, value: f64, min: f64, max: f64) -> Result<(), ModelError> {
    expect((min..=max).contains(&value), || format!("{name} {value} is not within {min}..={max}"))
}

#[cfg(test)]
mod tests;
