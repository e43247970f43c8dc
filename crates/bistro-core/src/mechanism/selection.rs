//! Whose turn it is: the README's `uid = random.choice( metagraph.uids )`.

use rand::{Rng, RngExt as _};

use crate::ids::Hotkey;
use crate::ports::{Metagraph, Neuron};

/// A neuron drawn uniformly among all but `me`; `None` if there is nobody else.
pub fn pick<'a>(metagraph: &'a Metagraph, me: &Hotkey, rng: &mut impl Rng) -> Option<&'a Neuron> {
    let others: Vec<&Neuron> = metagraph.neurons.iter().filter(|n| n.hotkey != *me).collect();
    if others.is_empty() { None } else { Some(others[rng.random_range(0..others.len())]) }
}

/// `count` items drawn uniformly without repetition (all of them if there are fewer), in the order drawn.
pub fn sample<T: Clone>(items: &[T], count: usize, rng: &mut impl Rng) -> Vec<T> {
    let mut left: Vec<T> = items.to_vec();
    let count = count.min(left.len());
    (0..count).map(|_| left.swap_remove(rng.random_range(0..left.len()))).collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::ids::{Block, NetUid, Uid};

    #[test]
    fn the_choice_is_uniform_and_never_oneself() {
        let neuron = |uid: u16| Neuron {
            uid: Uid(uid),
            hotkey: Hotkey([uid as u8; 32]),
            stake: 0,
            validator_permit: false,
            last_update: Block(0),
        };
        let metagraph = Metagraph {
            netuid: NetUid(1),
            block: Block(0),
            neurons: (0..11).map(neuron).collect(),
            weights_rate_limit: 0,
            min_allowed_weights: 0,
            max_weight: u16::MAX,
            stake_threshold: 0,
            block_time: std::time::Duration::from_secs(12),
            tempo: 360,
            commit_reveal: false,
        };
        let me = Hotkey([4; 32]);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut counts = [0_f64; 11];
        for _ in 0..10_000 {
            counts[pick(&metagraph, &me, &mut rng).unwrap().uid.0 as usize] += 1.0;
        }
        assert_eq!(counts[4].to_bits(), 0);
        // Chi-square with 9 degrees of freedom: 27.9 at 0.1 %.
        let others = counts.iter().enumerate().filter(|(uid, _)| *uid != 4);
        let chi: f64 = others.map(|(_, n)| (n - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi < 27.9, "chi-square {chi}");
    }

    #[test]
    fn a_sample_has_no_repetition() {
        let mut drawn = sample(&[1, 2, 3, 4, 5], 4, &mut ChaCha8Rng::seed_from_u64(3));
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 4);
        assert_eq!(sample(&[1, 2], 9, &mut ChaCha8Rng::seed_from_u64(3)).len(), 2);
    }
}
