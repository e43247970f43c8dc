//! From scores to the chain's weights: the README's softmax over those observed, or shares of credit; nobody else.
//!
//! Taken literally, the README's softmax over all uids gives 99.7 % of the weight to the unseen when 20 of 256 uids have
//! been judged (an unseen score of 0 against scores near -7); so it runs over observed hotkeys only (P4).

use super::{PayRules, Scores, ScoringRules};
use crate::ids::{Hotkey, Uid};
use crate::ports::Metagraph;

/// Shares of the reward by uid, in uid order; they sum to 1, or the list is empty when nobody has been judged (by
/// improvement: when nobody has improved anything). A hotkey that holds no uid any more gets nothing, and neither does
/// whoever holds its uid now.
pub fn shares(scores: &Scores, rules: &ScoringRules, metagraph: &Metagraph) -> Vec<(Uid, f64)> {
    shares_by(scores, rules, |hotkey| Some(metagraph.neuron(hotkey)?.uid))
}

/// As [`shares`], with the slot of each hotkey from elsewhere.
pub fn shares_by(scores: &Scores, rules: &ScoringRules, slot: impl Fn(&Hotkey) -> Option<Uid>) -> Vec<(Uid, f64)> {
    let uid = |(hotkey, score): (Hotkey, f64)| Some((slot(&hotkey)?, score));
    let mut present: Vec<(Uid, f64)> = match rules.pay {
        PayRules::Loss { temperature } => {
            scores.losses(rules).filter_map(uid).map(|(uid, score)| (uid, score * temperature)).collect()
        }
        PayRules::Improvement { half_life, page_cap, .. } => {
            scores.pay(half_life, page_cap).into_iter().filter_map(uid).collect()
        }
    };
    present.sort_by_key(|(uid, _)| *uid);
    match rules.pay {
        PayRules::Loss { .. } => softmax(&mut present),
        PayRules::Improvement { .. } => proportional(&mut present),
    }
    present
}

/// In place; values are above 0.
fn proportional(values: &mut [(Uid, f64)]) {
    let sum: f64 = values.iter().map(|(_, v)| v).sum();
    for (_, v) in values {
        *v /= sum;
    }
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
    use crate::ids::{Block, NetUid};
    use crate::mechanism::Observation;
    use crate::mechanism::scores::OnFault;
    use crate::ports::Neuron;

    const RULES: ScoringRules = ScoringRules {
        local_share: 0.5,
        base_alpha: 0.01,
        on_fault: OnFault::Forget,
        pay: PayRules::Loss { temperature: 5.0 },
    };

    const BY_IMPROVEMENT: ScoringRules =
        ScoringRules { pay: PayRules::Improvement { half_life: 100.0, proof_pages: 1, page_cap: None }, ..RULES };

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
            scores.observe(&RULES, &seen(*hotkey, 1, *loss, 0.0));
        }
        scores
    }

    fn seen(hotkey: u16, block: u64, loss: f64, gain: f64) -> Observation {
        let (hotkey, block, master_seq) = (key(hotkey), Block(block), block);
        Observation { hotkey, block, local: loss, global: loss, gain, master_seq, merged_by: master_seq, shown: None }
    }

    /// By improvement: hotkey, block, gain of each verdict.
    fn improved(verdicts: &[(u16, u64, f64)]) -> Scores {
        let mut scores = Scores::default();
        for (hotkey, block, gain) in verdicts {
            scores.observe(&BY_IMPROVEMENT, &seen(*hotkey, *block, 6.0, *gain));
        }
        scores
    }

    fn paid(scores: &Scores) -> Vec<(u16, f64)> {
        let everyone: Vec<u16> = (0..40).collect();
        shares(scores, &BY_IMPROVEMENT, &metagraph(&everyone)).into_iter().map(|(uid, share)| (uid.0, share)).collect()
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
    fn improvement_is_paid_in_proportion_and_a_low_loss_is_not() {
        let paid = paid(&improved(&[(1, 5, 0.2), (2, 5, 0.0), (3, 5, -0.1), (4, 5, 0.2)]));
        assert_eq!(paid.iter().map(|(uid, _)| *uid).collect::<Vec<_>>(), [1, 4]);
        assert!(paid.iter().all(|(_, share)| (share - 0.5).abs() < 1e-12), "{paid:?}");
    }

    #[test]
    fn a_gain_is_worth_what_gains_are_worth_at_the_time() {
        // Both halve what others gained: the first in steep times, the second 1000 blocks later in flat ones.
        let early = improved(&[(1, 5, 0.8), (2, 5, 0.4)]);
        let late = improved(&[(9, 5, 0.8), (1, 1005, 0.008), (2, 1005, 0.004)]);
        let ratio = |scores: &Scores| {
            let paid = paid(scores);
            let of = |uid| paid.iter().find(|(u, _)| *u == uid).unwrap().1;
            of(1) / of(2)
        };
        assert!((ratio(&late) / ratio(&early) - 1.0).abs() < 0.1, "{} {}", ratio(&early), ratio(&late));
        // Ten half-lives after its work, whoever worked only in steep times has a thousandth of a late delta's credit.
        let first = paid(&late).iter().find(|(uid, _)| *uid == 9).unwrap().1;
        assert!(first < 2e-3, "{first}");
    }

    #[test]
    fn harm_is_charged_against_earlier_gains() {
        assert_eq!(paid(&improved(&[(1, 5, 0.2), (2, 5, 0.2), (1, 6, -0.3)])), [(2, 1.0)]);
    }

    #[test]
    fn harm_before_any_gain_and_numbers_that_are_none_pay_nobody() {
        for gain in [-0.5, 0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(paid(&improved(&[(1, 5, gain)])), [], "{gain}");
            assert_eq!(paid(&improved(&[(1, 5, gain), (2, 6, 0.1)])), [(2, 1.0)], "{gain}");
        }
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
            let rules = ScoringRules { pay: PayRules::Loss { temperature }, ..RULES };
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

        #[test]
        fn shares_of_credit_are_finite_sum_to_one_and_go_to_nobody_without_a_gain(
            verdicts in prop::collection::vec((0..9_u16, 0..5_000_u64, -1.0..1.0_f64), 1..60),
        ) {
            let mut verdicts = verdicts;
            verdicts.sort_by_key(|(_, block, _)| *block);
            let paid = paid(&improved(&verdicts));
            let sum: f64 = paid.iter().map(|(_, share)| share).sum();
            prop_assert!(paid.is_empty() || (sum - 1.0).abs() < 1e-9);
            for (uid, share) in paid {
                prop_assert!(share.is_finite() && share > 0.0);
                prop_assert!(verdicts.iter().any(|(hotkey, _, gain)| *hotkey == uid && *gain > 0.0));
            }
        }
    }
}
