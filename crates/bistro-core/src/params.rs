//! Named f32 tensors on the host: a model's weights, or the difference of two models.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;

use crate::ids::Hash;

/// Values that one thread takes at a time: their 256 KiB stay in its cache. Sums over parts of this length are added in
/// order, so that the number of threads changes no bit.
pub const PART: usize = 1 << 16;

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
        // Within a part without an early exit: that runs on vector registers.
        let finite = |part: &[f32]| part.iter().fold(true, |all, v| all & v.is_finite());
        self.tensors.values().all(|t| t.data.par_chunks(PART).all(finite))
    }

    /// The Euclidean norm over all values, summed in f64 in name order.
    pub fn norm(&self) -> f64 {
        let parts = |t: &Tensor| t.data.par_chunks(PART).map(squares).collect::<Vec<_>>();
        self.tensors.values().flat_map(parts).sum::<f64>().sqrt()
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

    /// [`Self::plus_scaled`] into `out`, whose storage is kept where it has this model's shapes and nobody else holds it.
    /// For large models that is most of the time: new memory costs more than the sum.
    ///
    /// # Panics
    /// If the names or shapes of `delta` differ.
    pub fn plus_scaled_into(&self, delta: &Self, scale: f32, out: &mut Self) {
        self.combine_into(delta, out, |w, d| w + d * scale);
    }

    /// These values into `out`, whose storage is kept as by [`Self::plus_scaled_into`]: takes a delta out again, to the bit.
    pub fn copy_into(&self, out: &mut Self) {
        self.combine_into(self, out, |w, _| w);
    }

    /// `self - other`, value by value.
    ///
    /// # Panics
    /// If the names or shapes differ.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.zip_with(other, |a, b| a - b)
    }

    /// The values of tensor `name`, to be overwritten: those it has if they fill `shape` and nobody else holds them,
    /// otherwise zeros.
    pub fn to_overwrite(&mut self, name: &str, shape: &[usize]) -> &mut [f32] {
        let own = |t: &mut Tensor| t.shape == shape && Arc::get_mut(&mut t.data).is_some();
        if !self.tensors.get_mut(name).is_some_and(own) {
            self.tensors.remove(name);
        }
        let new = || Tensor::new(shape.to_vec(), vec![0.0; shape.iter().product()]);
        let values: &mut Vec<f32> = Arc::make_mut(&mut self.tensors.entry(name.to_owned()).or_insert_with(new).data);
        values
    }

    fn zip_with(&self, other: &Self, f: impl Fn(f32, f32) -> f32 + Sync) -> Self {
        let mut out = Self::default();
        self.combine_into(other, &mut out, f);
        out
    }

    fn combine_into(&self, other: &Self, out: &mut Self, f: impl Fn(f32, f32) -> f32 + Sync) {
        assert!(
            self.tensors.len() == other.tensors.len(),
            "both sides must have the same tensors, checked by whoever read them"
        );
        out.tensors.retain(|name, _| self.tensors.contains_key(name));
        for ((name, a), (other_name, b)) in self.tensors.iter().zip(&other.tensors) {
            assert!(name == other_name && a.shape == b.shape, "tensor `{name}` differs in name or shape");
            let out = out.to_overwrite(name, &a.shape);
            out.par_chunks_mut(PART).zip(a.data.par_chunks(PART)).zip(b.data.par_chunks(PART)).for_each(
                |((out, a), b)| {
                    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                        *out = f(*a, *b);
                    }
                },
            );
        }
    }

    /// The canonical hash: BLAKE3 over, in name order, (length of the name, name, "F32", number of sides, sides, bytes).
    /// Lengths are u64 little-endian and precede what they measure, so no two models share an encoding.
    pub fn hash(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        for (name, tensor) in &self.tensors {
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
            hasher.update(b"F32");
            hasher.update(&(tensor.shape.len() as u64).to_le_bytes());
            for side in &tensor.shape {
                hasher.update(&(*side as u64).to_le_bytes());
            }
            update(&mut hasher, &tensor.data);
        }
        Hash(*hasher.finalize().as_bytes())
    }
}

/// Sum of squares in f64, in eight interleaved sums that are added last.
fn squares(part: &[f32]) -> f64 {
    let (eights, rest) = part.as_chunks::<8>();
    let mut sums = [0.0_f64; 8];
    for eight in eights {
        for (sum, v) in sums.iter_mut().zip(eight) {
            *sum += f64::from(*v) * f64::from(*v);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>()
}

/// Hashes values as little-endian bytes, on all cores where there are enough of them.
fn update(hasher: &mut blake3::Hasher, values: &[f32]) {
    if cfg!(target_endian = "little") {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        if bytes.len() > 1 << 18 {
            hasher.update_rayon(bytes)
        } else {
            hasher.update(bytes)
        };
    } else {
        for part in values.chunks(PART) {
            hasher.update(&part.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
        }
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

    /// Also with more values than one thread hashes, and than are hashed at once.
    #[test]
    fn the_hash_is_that_of_the_bytes() {
        for n in [0_usize, 1, 1000, 70_000, 300_001] {
            let values: Vec<f32> = (0..n).map(|i| (i as f32).sin()).collect();
            let mut bytes = [&1_u64.to_le_bytes()[..], b"w", b"F32", &1_u64.to_le_bytes()].concat();
            bytes.extend((n as u64).to_le_bytes());
            bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            assert_eq!(params(&[("w", &[n], &values)]).hash(), Hash::of(&bytes), "{n}");
        }
    }

    #[test]
    fn storage_is_kept_unless_somebody_else_holds_it() {
        let large: Vec<f32> = (0..200_000).map(|i| i as f32 * 1e-3).collect();
        let master = params(&[("a", &[1], &[2.0]), ("w", &[200, 1000], &large)]);
        let delta = params(&[("a", &[1], &[0.5]), ("w", &[200, 1000], &large)]);
        let mut out = params(&[("gone", &[1], &[7.0]), ("w", &[1000, 200], &large)]);
        master.plus_scaled_into(&delta, 0.25, &mut out);
        assert_eq!(out, master.plus_scaled(&delta, 0.25));
        let place = out.tensors["w"].data.as_ptr();
        master.copy_into(&mut out);
        assert_eq!((out.hash(), out.tensors["w"].data.as_ptr()), (master.hash(), place));
        let held = out.clone();
        master.plus_scaled_into(&delta, 1.0, &mut out);
        assert_eq!(held, master, "what somebody holds must not change");
        assert_eq!(out, master.plus_scaled(&delta, 1.0));
    }

    #[test]
    fn the_norm_counts_every_value_once() {
        let ones = vec![1.0; 3 * PART + 5];
        let all = params(&[("a", &[PART * 3 + 5], &ones), ("b", &[2], &[2.0, -4.0])]);
        assert!((all.norm() - ((3 * PART + 25) as f64).sqrt()).abs() < 1e-9);
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
