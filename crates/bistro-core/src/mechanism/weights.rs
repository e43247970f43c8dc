//! From scores to the chain's weights: softmax over those observed, and nobody else.
//!
//! Taken literally, the README's softmax over all uids gives 99.7 % of the weight to the unseen when 20 of 256 uids have
//! been judged (an unseen score of 0 against scores near -7); so it runs over observed hotkeys only (P4).

use super::{Scores, ScoringRules};
use crate::ids::Uid;
use crate::ports::Metagraph;

/// Shares of the reward by uid, in uid order; they sum to 1, or the list is empty when nobody has been judged. A hotkey
/// that holds no uid any more gets nothing, and neither does whoever holds its uid now.
pub fn shares(scores: &Scores, rules: &ScoringRules, metagraph: &Metagraph) -> Vec<(Uid, f64)> {
    let mut present: Vec<(Uid, f64)> = scores
        .observed(rules)
        .filter_map(|(hotkey, score)| Some((metagraph.neuron(&hotkey)?.uid, score * rules.temperature)))
        .collect();
    present.sort_by_key(|(uid, _)| *uid);
    softmax(&mut present);
    present
}

/// In place; the largest exponent is subtracted first, so that nothing overflows.
fn softmax(values: &mut [(Uid, f64)]) {
    let max = values.iter().map(|(_, v)| *v).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = values.iter().map(|(_, v)| (v - max).exp()).sum();
    for (_, v) in values {
        *v = (*v - max).exp() / sum;
    }
}

/// Shares on the chain's 16-bit scale: the largest is 65 535, as the chain itself scales what it stores; those that round
/// to nothing are left out.
pub fn to_u16(shares: &[(Uid, f64)]) -> Vec<(Uid, u16)> {
    let max = shares.iter().map(|(_, share)| *share).fold(0.0, f64::max);
    if max <= 0.0 {
        return Vec::new();
    }
    let scale = |share: f64| (share / max * f64::from(u16::MAX)).round() as u16;
    shares.iter().map(|(uid, share)| (*uid, scale(*share))).filter(|(_, weight)| *weight > 0).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{Block, Hotkey, NetUid};
    use crate::mechanism::scores::OnFault;
    use crate::ports::Neuron;

    const RULES: ScoringRules =
        ScoringRules { temperature: 5.0, local_share: 0.5, base_alpha: 0.01, on_fault: OnFault::Forget };

    fn key(n: u16) -> Hotkey {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_le_bytes());
        Hotkey(bytes)
    }

    fn metagraph(hotkeys: &[u16]) -> Metagraph {
        let neuron = |(uid, hotkey): (usize, &u16)| Neuron {
            uid: Uid(uid as u16),
            hotkey: key(*hotkey),
            stake: 0,
            validator_permit: false,
            last_update: Block(0),
        };
        Metagraph {
            netuid: NetUid(1),
            block: Block(0),
            neurons: hotkeys.iter().enumerate().map(neuron).collect(),
            weights_rate_limit: 0,
            min_allowed_weights: 0,
            max_weight: u16::MAX,
            stake_threshold: 0,
            block_time: std::time::Duration::from_secs(12),
            tempo: 360,
            commit_reveal: false,
        }
    }

    fn scores(losses: &[(u16, f64)]) -> Scores {
        let mut scores = Scores::default();
        for (hotkey, loss) in losses {
            scores.observe(&RULES, key(*hotkey), Block(1), *loss, *loss);
        }
        scores
    }

    #[test]
    fn the_unseen_get_nothing_whatever_their_number() {
        let everyone: Vec<u16> = (0..256).collect();
        let shares = shares(&scores(&[(3, 7.0), (9, 6.5)]), &RULES, &metagraph(&everyone));
        assert_eq!(shares.iter().map(|(uid, _)| uid.0).collect::<Vec<_>>(), [3, 9]);
        // exp(5 · 0.5) to one.
        let expected = 1.0 / (1.0 + (2.5_f64).exp());
        assert!((shares[0].1 - expected).abs() < 1e-12, "{shares:?}");
    }

    #[test]
    fn a_tenth_of_a_nat_is_worth_half_as_much_again_at_temperature_five() {
        // exp(-1.5) : exp(-0.5) : 1, by hand.
        let shares = shares(&scores(&[(1, 6.2), (2, 6.0), (3, 5.9)]), &RULES, &metagraph(&[0, 1, 2, 3, 4]));
        for ((_, share), expected) in shares.iter().zip([0.122, 0.331, 0.547]) {
            assert!((share - expected).abs() < 0.001, "{shares:?}");
        }
    }

    #[test]
    fn a_recycled_uid_inherits_nothing() {
        let judged = scores(&[(1, 6.0), (2, 6.0)]);
        let before = shares(&judged, &RULES, &metagraph(&[0, 1, 2]));
        let after = shares(&judged, &RULES, &metagraph(&[0, 77, 2]));
        assert_eq!(before.len(), 2);
        assert_eq!(after.iter().map(|(uid, _)| uid.0).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_fault_erases_the_score() {
        let mut judged = scores(&[(1, 6.0)]);
        judged.fault(&RULES, &key(1));
        assert!(shares(&judged, &RULES, &metagraph(&[0, 1])).is_empty());
    }

    #[test]
    fn nothing_observed_gives_no_weights() {
        assert!(to_u16(&shares(&Scores::default(), &RULES, &metagraph(&[0, 1]))).is_empty());
    }

    proptest! {
        #[test]
        fn shares_are_finite_sum_to_one_and_favour_the_lower_loss(
            losses in prop::collection::vec(0.0..1e6_f64, 1..40),
            temperature in prop_oneof![Just(0.0), Just(5.0), Just(1e9), 0.01..100.0_f64],
        ) {
            let rules = ScoringRules { temperature, ..RULES };
            let named: Vec<(u16, f64)> = losses.iter().enumerate().map(|(i, l)| (i as u16, *l)).collect();
            let everyone: Vec<u16> = (0..40).collect();
            let shares = shares(&scores(&named), &rules, &metagraph(&everyone));
            let sum: f64 = shares.iter().map(|(_, s)| s).sum();
            prop_assert!((sum - 1.0).abs() < 1e-9);
            for (uid, share) in &shares {
                prop_assert!(share.is_finite() && *share >= 0.0);
                for (other, other_share) in &shares {
                    if losses[uid.0 as usize] < losses[other.0 as usize] {
                        prop_assert!(share >= other_share);
                    }
                }
            }
            let scaled = to_u16(&shares);
            prop_assert_eq!(scaled.iter().map(|(_, w)| *w).max(), Some(u16::MAX));
            prop_assert!(scaled.iter().all(|(_, w)| *w > 0));
        }
    }
}
