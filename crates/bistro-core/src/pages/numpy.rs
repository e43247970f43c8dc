//! The part of numpy's random numbers that the original's page schedule rests on: `default_rng(seed)`,
//! `bit_generator.advance(n)` and bounded 32-bit draws.
//!
//! Sources: numpy's `SeedSequence` (after M. O'Neill's `seed_seq` alternative), PCG64 (XSL-RR 128/64), and D. Lemire's
//! bounded draws with numpy's habit of using the low half of a 64-bit output first. Checked against numpy 2.4 by the
//! known answers in `tests/pages.json`.

use rand::Rng as _;
use rand_pcg::Lcg128Xsl64;

/// `numpy.random.default_rng(seed)` for 32-bit seeds.
pub struct DefaultRng {
    pcg: Lcg128Xsl64,
    /// The high half of the last output, if its low half alone has been used.
    spare: Option<u32>,
}

impl DefaultRng {
    /// Seeds as numpy does.
    pub fn new(seed: u32) -> Self {
        let [a, b, c, d] = seed_sequence(seed);
        let join = |high: u64, low: u64| (u128::from(high) << 64) | u128::from(low);
        Self { pcg: Lcg128Xsl64::new(join(a, b), join(c, d)), spare: None }
    }

    /// `bit_generator.advance(steps)`: jumps over `steps` 64-bit outputs and forgets a half-used one.
    pub fn advance(&mut self, steps: u128) {
        self.pcg.advance(steps);
        self.spare = None;
    }

    fn next_u32(&mut self) -> u32 {
        if let Some(high) = self.spare.take() {
            return high;
        }
        let output = self.pcg.next_u64();
        self.spare = Some((output >> 32) as u32);
        output as u32
    }

    /// `integers(0, range)`: uniform below `range`, by Lemire's multiplication with rejection. A range of 0 or 1 draws
    /// nothing and gives 0, as numpy.
    pub fn below(&mut self, range: u32) -> u32 {
        if range <= 1 {
            return 0;
        }
        let mut product = u64::from(self.next_u32()) * u64::from(range);
        if (product as u32) < range {
            let threshold = range.wrapping_neg() % range;
            while (product as u32) < threshold {
                product = u64::from(self.next_u32()) * u64::from(range);
            }
        }
        (product >> 32) as u32
    }
}

const POOL: usize = 4;
const INIT_A: u32 = 0x43b0_d7e5;
const MULT_A: u32 = 0x931e_8875;
const INIT_B: u32 = 0x8b51_f9dd;
const MULT_B: u32 = 0x58f3_8ded;
const MIX_MULT_L: u32 = 0xca01_f9dd;
const MIX_MULT_R: u32 = 0x4973_f715;

/// `SeedSequence(seed).generate_state(4, uint64)`.
fn seed_sequence(seed: u32) -> [u64; 4] {
    let mut hash_const = INIT_A;
    let mut hashmix = |value: u32| {
        let mut v = value ^ hash_const;
        hash_const = hash_const.wrapping_mul(MULT_A);
        v = v.wrapping_mul(hash_const);
        v ^ (v >> 16)
    };
    let mut pool = [0; POOL];
    for (i, slot) in pool.iter_mut().enumerate() {
        *slot = hashmix(if i == 0 { seed } else { 0 });
    }
    for source in 0..POOL {
        for target in 0..POOL {
            if source != target {
                let mixed =
                    pool[target].wrapping_mul(MIX_MULT_L).wrapping_sub(hashmix(pool[source]).wrapping_mul(MIX_MULT_R));
                pool[target] = mixed ^ (mixed >> 16);
            }
        }
    }
    let mut hash_const = INIT_B;
    let mut words = [0_u32; 8];
    for (i, word) in words.iter_mut().enumerate() {
        let mut v = pool[i % POOL] ^ hash_const;
        hash_const = hash_const.wrapping_mul(MULT_B);
        v = v.wrapping_mul(hash_const);
        *word = v ^ (v >> 16);
    }
    std::array::from_fn(|i| u64::from(words[2 * i]) | (u64::from(words[2 * i + 1]) << 32))
}
