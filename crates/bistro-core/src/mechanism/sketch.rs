//! Whether two deltas are nearly the same, without keeping either: a few hundred bytes of each, made with a secret of the
//! validator's, tell the cosine of the angle between them.
//!
//! The signs of random projections (Charikar, *Similarity estimation techniques from rounding algorithms*, STOC 2002): two
//! vectors at angle θ differ in a share θ/π of the signs. Here each of [`BITS`] projections takes its own part of the
//! values, so that a delta is read once.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::ids::Hash;
use crate::params::Params;

/// Signs in a sketch. A prime: values that lie a matrix's width apart meet in different projections.
pub const BITS: usize = 2039;

/// Bytes that hold a bit for each projection.
const BYTES: usize = BITS.div_ceil(8);

/// The signs of a delta's projections. A delta of few values leaves some projections without any: they have no sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sketch {
    /// Whether the projection is positive.
    positive: Vec<u8>,
    /// Whether it is anything but 0.
    any: Vec<u8>,
}

impl Sketch {
    /// Projects `delta` by the signs that `secret` gives. Whoever knows the secret can make copies that look unlike.
    pub fn new(delta: &Params, secret: &Hash) -> Self {
        let mut sums = vec![0.0_f32; BITS];
        let mut signs = vec![0; BYTES];
        let mut rng = ChaCha8Rng::from_seed(secret.0);
        // All tensors are read as one vector, in the order of their names.
        let mut at = 0;
        for tensor in delta.tensors.values() {
            let mut rest = tensor.data.as_slice();
            while !rest.is_empty() {
                if at == 0 {
                    rng.fill_bytes(&mut signs);
                }
                let (now, later) = rest.split_at(rest.len().min(BITS - at));
                for (i, (value, sum)) in now.iter().zip(&mut sums[at..]).enumerate() {
                    let lane = at + i;
                    let sign = u32::from(signs[lane / 8] >> (lane % 8) & 1) << 31;
                    *sum += f32::from_bits(value.to_bits() ^ sign);
                }
                at = (at + now.len()) % BITS;
                rest = later;
            }
        }
        let bits = |wanted: fn(f32) -> bool| {
            let mut bits = vec![0; BYTES];
            for (lane, _) in sums.iter().enumerate().filter(|(_, sum)| wanted(**sum)) {
                bits[lane / 8] |= 1 << (lane % 8);
            }
            bits
        };
        Self { positive: bits(|sum| sum > 0.0), any: bits(|sum| sum != 0.0) }
    }

    /// The cosine of the angle between the two deltas; both sketches are of one secret. Its standard error is 0.035 for
    /// unrelated deltas, 0.006 at a cosine of 0.95, and none for equal ones.
    pub fn cosine(&self, other: &Self) -> f64 {
        let (mut halves, mut of) = (0, 0);
        for i in 0..BYTES {
            let (either, both) = (self.any[i] | other.any[i], self.any[i] & other.any[i]);
            // A sign against none agrees as often as not.
            halves += 2 * ((self.positive[i] ^ other.positive[i]) & both).count_ones() + (either & !both).count_ones();
            of += either.count_ones();
        }
        (std::f64::consts::PI * f64::from(halves) / f64::from(2 * of.max(1))).cos()
    }
}

impl From<Sketch> for String {
    fn from(sketch: Sketch) -> Self {
        hex::encode([sketch.positive, sketch.any].concat())
    }
}

impl TryFrom<String> for Sketch {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bytes = hex::decode(&text).map_err(|e| format!("a sketch is hexadecimal: {e}"))?;
        if bytes.len() != 2 * BYTES {
            return Err(format!("a sketch has {} bytes, this one {}", 2 * BYTES, bytes.len()));
        }
        let (positive, any) = bytes.split_at(BYTES);
        Ok(Self { positive: positive.into(), any: any.into() })
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;

    use super::*;
    use crate::params::Tensor;

    const SECRET: Hash = Hash([7; 32]);

    /// Numbers of mean 0 and variance 1 (a uniform distribution's), split into two tensors.
    fn random(seed: u64) -> Params {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut tensor = |rows: usize| {
            let data = (0..rows * 256).map(|_| (rng.random::<f32>() - 0.5) * 12_f32.sqrt()).collect();
            Tensor::new(vec![rows, 256], data)
        };
        Params { tensors: [("a".to_owned(), tensor(64)), ("b".to_owned(), tensor(100))].into() }
    }

    fn cosine(a: &Params, b: &Params) -> f64 {
        Sketch::new(a, &SECRET).cosine(&Sketch::new(b, &SECRET))
    }

    #[test]
    fn the_cosine_is_told_within_its_error() {
        let (a, b) = (random(1), random(2));
        for noise in [0.0, 0.1, 0.33, 1.0, 3.0] {
            let exact = 1.0 / f64::from(1.0 + noise * noise).sqrt();
            let told = cosine(&a, &a.plus_scaled(&b, noise));
            assert!(
                (told - exact).abs() < 0.1 * (1.0 - exact * exact).sqrt() + 1e-9,
                "noise {noise}: {told} for {exact}"
            );
        }
        assert!(cosine(&a, &b).abs() < 0.12);
    }

    #[test]
    fn a_rescaled_copy_is_the_same_and_a_reversed_one_the_opposite() {
        let a = random(3);
        let zero = a.minus(&a);
        assert!((cosine(&a, &zero.plus_scaled(&a, 0.37)) - 1.0).abs() < 1e-12);
        assert!(cosine(&a, &zero.minus(&a)) < -0.99);
    }

    /// Deltas with few values leave projections that are 0.
    #[test]
    fn a_sign_against_none_counts_as_half_a_disagreement() {
        let sketch = |positive: u8, any: u8| {
            let bytes = |first: u8| [vec![first], vec![0; BYTES - 1]].concat();
            Sketch { positive: bytes(positive), any: bytes(any) }
        };
        let told = |a: &Sketch, b: &Sketch| (a.cosine(b) * 1e9).round() / 1e9;
        // One lane agrees, one has a sign in the first alone, one in the second alone: two halves of three lanes, 60 degrees.
        let (a, b) = (sketch(0b001, 0b011), sketch(0b001, 0b101));
        assert!((told(&a, &b) - 0.5).abs() < 1e-9 && (told(&b, &a) - 0.5).abs() < 1e-9, "{}", told(&a, &b));
        // One more lane that disagrees: half of all, a right angle.
        let (a, b) = (sketch(0b1001, 0b1011), sketch(0b0001, 0b1101));
        assert!(told(&a, &b).abs() < 1e-9, "{}", told(&a, &b));
    }

    /// Energy in a few columns of a matrix, as real updates have it, spoils nothing.
    #[test]
    fn values_that_matter_may_lie_a_row_apart() {
        let columns = |seed: u64| {
            let mut params = random(seed);
            for tensor in params.tensors.values_mut() {
                let data = std::sync::Arc::make_mut(&mut tensor.data);
                data.iter_mut().enumerate().filter(|(i, _)| i % 256 > 3).for_each(|(_, v)| *v = 0.0);
            }
            params
        };
        assert!(cosine(&columns(4), &columns(5)).abs() < 0.2);
    }

    #[test]
    fn a_sketch_survives_its_text() {
        let sketch = Sketch::new(&random(6), &SECRET);
        let json = serde_json::to_string(&sketch).unwrap();
        assert_eq!(serde_json::from_str::<Sketch>(&json).unwrap(), sketch);
        assert!(serde_json::from_str::<Sketch>("\"00\"").is_err());
    }
}
