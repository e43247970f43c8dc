//! Named f32 tensors on the host: a model's weights, or the difference of two models.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::Hash;

/// What a model's tensors are called and how long their sides are, in name order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelSpec {
    /// Tensor name → shape. Names are those of Hugging Face's `LlamaForCausalLM`.
    pub tensors: BTreeMap<String, Vec<usize>>,
}

impl ModelSpec {
    /// How many numbers the model has.
    pub fn numel(&self) -> usize {
        self.tensors.values().map(|shape| shape.iter().product::<usize>()).sum()
    }
}

/// One tensor: its shape and its values in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Lengths of the sides.
    pub shape: Vec<usize>,
    /// `shape.iter().product()` values; shared, so that cloning a model's weights copies nothing.
    pub data: Arc<Vec<f32>>,
}

impl Tensor {
    /// A tensor of these values.
    ///
    /// # Panics
    /// If the number of values is not the product of the sides: a mistake of the caller, not of any input.
    pub fn new(shape: Vec<usize>, data: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "a tensor's values must fill its shape");
        Self { shape, data: Arc::new(data) }
    }
}

/// Weights or a difference of weights: tensors by name. Iteration is in name order, always.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params {
    /// Tensor name → values.
    pub tensors: BTreeMap<String, Tensor>,
}

impl Params {
    /// Names and shapes.
    pub fn spec(&self) -> ModelSpec {
        ModelSpec { tensors: self.tensors.iter().map(|(name, t)| (name.clone(), t.shape.clone())).collect() }
    }

    /// All-zero tensors of this spec.
    pub fn zeros(spec: &ModelSpec) -> Self {
        let zero = |shape: &Vec<usize>| Tensor::new(shape.clone(), vec![0.0; shape.iter().product()]);
        Self { tensors: spec.tensors.iter().map(|(name, shape)| (name.clone(), zero(shape))).collect() }
    }

    /// Whether every value is finite.
    pub fn is_finite(&self) -> bool {
        self.tensors.values().all(|t| t.data.iter().all(|v| v.is_finite()))
    }

    /// The Euclidean norm over all values, summed in f64 in name order.
    pub fn norm(&self) -> f64 {
        let square = |v: &f32| f64::from(*v) * f64::from(*v);
        self.tensors.values().map(|t| t.data.iter().map(square).sum::<f64>()).sum::<f64>().sqrt()
    }

    /// `self + scale · delta`, the only way a master ever changes: each value by one multiplication and one addition in
    /// f32, never fused, so that every machine gets the same bits.
    ///
    /// # Panics
    /// If the names or shapes differ: whoever reads a delta from outside checks them first.
    #[must_use]
    pub fn plus_scaled(&self, delta: &Self, scale: f32) -> Self {
        self.zip_with(delta, |w, d| w + d * scale)
    }

    /// `self - other`, value by value.
    ///
    /// # Panics
    /// If the names or shapes differ.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.zip_with(other, |a, b| a - b)
    }

    fn zip_with(&self, other: &Self, f: impl Fn(f32, f32) -> f32) -> Self {
        assert!(
            self.tensors.len() == other.tensors.len(),
            "both sides must have the same tensors, checked by whoever read them"
        );
        let combine = |((name, a), (other_name, b)): ((&String, &Tensor), (&String, &Tensor))| {
            assert!(name == other_name && a.shape == b.shape, "tensor `{name}` differs in name or shape");
            let data = a.data.iter().zip(b.data.iter()).map(|(x, y)| f(*x, *y)).collect();
            (name.clone(), Tensor::new(a.shape.clone(), data))
        };
        Self { tensors: self.tensors.iter().zip(&other.tensors).map(combine).collect() }
    }

    /// The canonical hash: BLAKE3 over, in name order, (length of the name, name, "F32", number of sides, sides, bytes).
    /// Lengths are u64 little-endian and precede what they measure, so no two models share an encoding.
    pub fn hash(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        let mut bytes = Vec::new();
        for (name, tensor) in &self.tensors {
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
            hasher.update(b"F32");
            hasher.update(&(tensor.shape.len() as u64).to_le_bytes());
            for side in &tensor.shape {
                hasher.update(&(*side as u64).to_le_bytes());
            }
            for chunk in tensor.data.chunks(1 << 16) {
                bytes.clear();
                bytes.extend(chunk.iter().flat_map(|v| v.to_le_bytes()));
                hasher.update(&bytes);
            }
        }
        Hash(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(entries: &[(&str, &[usize], &[f32])]) -> Params {
        let tensor = |(name, shape, data): &(&str, &[usize], &[f32])| {
            ((*name).to_owned(), Tensor::new(shape.to_vec(), data.to_vec()))
        };
        Params { tensors: entries.iter().map(tensor).collect() }
    }

    #[test]
    fn the_hash_tells_names_and_shapes_apart() {
        let a = params(&[("ab", &[1], &[1.0]), ("c", &[1], &[2.0])]);
        let b = params(&[("a", &[1], &[1.0]), ("bc", &[1], &[2.0])]);
        let flat = params(&[("w", &[4], &[1.0, 2.0, 3.0, 4.0])]);
        let square = params(&[("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0])]);
        assert_ne!(a.hash(), b.hash());
        assert_ne!(flat.hash(), square.hash());
    }

    #[test]
    fn negative_zero_is_not_zero_to_the_hash() {
        assert_ne!(params(&[("w", &[1], &[0.0])]).hash(), params(&[("w", &[1], &[-0.0])]).hash());
    }

    #[test]
    fn plus_scaled_rounds_twice() {
        // A fused multiply-add would keep the product's low bits and give another last bit here.
        let (w, d, scale) = (1.0_f32, 1.0 + f32::EPSILON, 1.0 - f32::EPSILON);
        let sum = params(&[("w", &[1], &[w])]).plus_scaled(&params(&[("w", &[1], &[d])]), scale);
        let product = d * scale;
        assert_eq!(sum.tensors["w"].data[0].to_bits(), (w + product).to_bits());
    }

    #[test]
    fn the_master_is_untouched_by_a_trial() {
        let master = params(&[("w", &[2], &[0.1, 0.2])]);
        let before = master.hash();
        let trial = master.plus_scaled(&params(&[("w", &[2], &[1e-3, f32::NAN])]), 1.0);
        assert!(!trial.is_finite());
        assert_eq!(master.hash(), before);
    }
}
