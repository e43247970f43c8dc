//! Rotary positions: frequencies as configured, and the angles of each place.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::{Device, Kind, TchError, Tensor};

use crate::config::LlamaConfig;

/// How frequencies are stretched for sequences longer than those first trained on, under Hugging Face's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeScaling {
    /// `linear` or `llama3`; older files say `type`.
    #[serde(alias = "type")]
    pub rope_type: String,
    /// By how much the slow frequencies slow down.
    pub factor: f64,
    /// `llama3`: periods longer than the original length over this are slowed fully.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_freq_factor: Option<f64>,
    /// `llama3`: periods shorter than the original length over this stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_freq_factor: Option<f64>,
    /// `llama3`: the length first trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_max_position_embeddings: Option<usize>,
}

/// The three numbers of `llama3`.
struct Llama3 {
    low: f32,
    high: f32,
    original: f32,
}

impl RopeScaling {
    /// What is out of bounds or not computed here, in words.
    pub fn check(&self) -> Result<(), String> {
        if !(1.0..=1e4).contains(&self.factor) {
            return Err(format!("rope_scaling: factor {} is not within 1..=10000", self.factor));
        }
        match (self.rope_type.as_str(), self.llama3()) {
            ("linear", _) | ("llama3", Some(_)) => Ok(()),
            ("llama3", None) => Err("rope_scaling: `llama3` needs 0 < low_freq_factor < high_freq_factor and \
                                     original_max_position_embeddings"
                .into()),
            (other, _) => Err(format!("rope_scaling `{other}`: only `linear` and `llama3` are known")),
        }
    }

    fn llama3(&self) -> Option<Llama3> {
        let (low, high) = (self.low_freq_factor?, self.high_freq_factor?);
        let original = self.original_max_position_embeddings?;
        let ok =
            self.rope_type == "llama3" && 0.0 < low && low < high && high < 1e6 && (1..1 << 24).contains(&original);
        ok.then_some(Llama3 { low: low as f32, high: high as f32, original: original as f32 })
    }

    /// One frequency, stretched; in f32 step by step, as Hugging Face computes it.
    fn apply(&self, frequency: f32) -> f32 {
        let slow = frequency / self.factor as f32;
        let Some(Llama3 { low, high, original }) = self.llama3() else { return slow };
        let period = std::f32::consts::TAU / frequency;
        if period > original / low {
            slow
        } else if period < original / high {
            frequency
        } else {
            let smooth = (original / period - low) / (high - low);
            (1.0 - smooth) * frequency / self.factor as f32 + smooth * frequency
        }
    }
}

/// transformers 5 writes everything about positions as `rope_parameters`: takes theta and scaling from it, or gives back
/// why it cannot.
pub(crate) fn from_parameters(parameters: &Value) -> Option<(f64, Option<RopeScaling>)> {
    let mut rest = parameters.as_object()?.clone();
    let theta = rest.remove("rope_theta")?.as_f64()?;
    if rest.get("rope_type").is_some_and(|kind| kind == "default") && rest.len() == 1 {
        return Some((theta, None));
    }
    Some((theta, Some(serde_json::from_value(Value::Object(rest)).ok()?)))
}

/// The angle by which each pair turns from one place to the next, `[D/2]`.
pub fn frequencies(config: &LlamaConfig, device: Device) -> Result<Tensor, TchError> {
    let d = config.head_dim() as i64;
    let exponents = Tensor::f_arange_start_step(0, d, 2, (Kind::Float, Device::Cpu))?.f_div_scalar(d)?;
    let plain = Tensor::f_pow_scalar(config.rope_theta, &exponents)?.f_reciprocal()?;
    let Some(scaling) = &config.rope_scaling else { return plain.f_to(device) };
    let plain = Vec::<f32>::try_from(plain)?;
    let stretched: Vec<f32> = plain.into_iter().map(|frequency| scaling.apply(frequency)).collect();
    Tensor::f_from_slice(&stretched)?.f_to(device)
}

/// Cosine and sine of the angles of places `0..t`, `[T, D/2]` each.
#[derive(Debug)]
pub struct Angles {
    /// Cosines.
    pub cos: Tensor,
    /// Sines.
    pub sin: Tensor,
}

impl Angles {
    /// From [`frequencies`].
    pub fn new(frequencies: &Tensor, t: i64) -> Result<Self, TchError> {
        let places = Tensor::f_arange(t, (Kind::Float, frequencies.device()))?;
        let angles = places.f_outer(frequencies)?;
        Ok(Self { cos: angles.f_cos()?, sin: angles.f_sin()? })
    }
}
