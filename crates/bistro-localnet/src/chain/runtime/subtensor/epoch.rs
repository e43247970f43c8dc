//! What happens in every block and at the end of every tempo.

use super::*;
use crate::chain::runtime::commitments;
use std::cmp::Reverse;

impl<T: Config> Pallet<T> {
    /// Runs the epochs that are due in this block.
    pub(super) fn block_step() {
        let block = Self::current_block();
        let subnets: Vec<u16> = NetworksAdded::<T>::iter().filter(|(_, added)| *added).map(|(n, _)| n).collect();
        for netuid in subnets {
            Self::reveal_commits(netuid, block);
            if block.is_multiple_of(u64::from(AdjustmentInterval::<T>::get(netuid)).max(1)) {
                RegistrationsThisInterval::<T>::remove(netuid);
            }
            if Self::is_epoch_block(netuid, block) {
                Self::run_epoch(netuid, block);
            } else {
                BlocksSinceLastStep::<T>::mutate(netuid, |n| *n = n.saturating_add(1));
            }
        }
    }

    /// Whether subnet `netuid` ends its epoch at `block`: subnets take turns. The block after it has the next index.
    pub(super) fn is_epoch_block(netuid: u16, block: u64) -> bool {
        ends_epoch(Tempo::<T>::get(netuid), netuid, block)
    }

    /// Index of the epoch of subnet `netuid` that `block` is in.
    pub(super) fn epoch_index_at(netuid: u16, block: u64) -> u64 {
        (block + u64::from(netuid) + 1) / (u64::from(Tempo::<T>::get(netuid)) + 1)
    }

    fn run_epoch(netuid: u16, block: u64) {
        Self::recompute_permits(netuid);
        let cutoff = u64::from(ActivityCutoff::<T>::get(netuid));
        let active = LastUpdate::<T>::get(netuid).iter().map(|last| last + cutoff >= block).collect::<Vec<_>>();
        Active::<T>::insert(netuid, active);
        Incentive::<T>::insert(netuid, Self::incentive(netuid));
        BlocksSinceLastStep::<T>::insert(netuid, 0);
        LastMechansimStepBlock::<T>::insert(netuid, block);
    }

    /// Permits the neurons with the most stake, up to `MaxAllowedValidators`; none without stake or below the threshold.
    pub fn recompute_permits(netuid: u16) {
        let neurons = SubnetworkN::<T>::get(netuid);
        let least = StakeThreshold::<T>::get().max(1);
        let mut candidates: Vec<(u64, u16)> = (0..neurons)
            .map(|uid| (TotalHotkeyAlpha::<T>::get(Keys::<T>::get(netuid, uid), netuid), uid))
            .filter(|(stake, _)| *stake >= least)
            .collect();
        candidates.sort_by_key(|&(stake, uid)| (Reverse(stake), uid));
        let mut permits = vec![false; usize::from(neurons)];
        for (_, uid) in candidates.into_iter().take(usize::from(MaxAllowedValidators::<T>::get(netuid))) {
            permits[usize::from(uid)] = true;
        }
        ValidatorPermit::<T>::insert(netuid, permits);
    }

    /// Each neuron's share of the permitted neurons' weights by stake, the largest sum being all of u16. Subtensor's consensus is more
    /// than this; nothing here depends on it.
    fn incentive(netuid: u16) -> Vec<u16> {
        let neurons = usize::from(SubnetworkN::<T>::get(netuid));
        let mut rank = vec![0_f64; neurons];
        for (uid, permitted) in (0_u16..).zip(ValidatorPermit::<T>::get(netuid)) {
            let weights = Weights::<T>::get(netuid, uid);
            let sum: f64 = weights.iter().map(|(_, w)| f64::from(*w)).sum();
            if !permitted || sum == 0.0 {
                continue;
            }
            let stake = TotalHotkeyAlpha::<T>::get(Keys::<T>::get(netuid, uid), netuid) as f64;
            for (to, weight) in weights {
                if let Some(rank) = rank.get_mut(usize::from(to)) {
                    *rank += stake * f64::from(weight) / sum;
                }
            }
        }
        let total: f64 = rank.iter().sum();
        let share = |r: &f64| if total > 0.0 { (r / total * f64::from(u16::MAX)).round() as u16 } else { 0 };
        rank.iter().map(share).collect()
    }
}

impl<T: Config> commitments::Membership<T::AccountId> for Pallet<T> {
    fn is_member(netuid: u16, who: &T::AccountId) -> bool {
        Uids::<T>::contains_key(netuid, who)
    }

    fn epoch_index(netuid: u16, block: u64) -> u64 {
        Self::epoch_index_at(netuid, block)
    }
}

/// Subtensor's rule: the blocks of an epoch are counted from `block + netuid + 1`, and its last one runs it.
fn ends_epoch(tempo: u16, netuid: u16, block: u64) -> bool {
    let length = u64::from(tempo) + 1;
    tempo != 0 && (block + u64::from(netuid) + 1) % length == u64::from(tempo)
}

#[cfg(test)]
mod tests {
    use super::ends_epoch;

    #[test]
    fn the_first_epoch_is_where_subtensors_table_has_it() {
        for (tempo, netuid, first) in [(1, 0, 0), (1, 1, 1), (2, 0, 1), (2, 1, 0), (100, 0, 99), (100, 1, 98)] {
            let found = (0..200).find(|&block| ends_epoch(tempo, netuid, block));
            assert_eq!(found, Some(first), "tempo {tempo}, netuid {netuid}");
        }
        assert!(!(0..200).any(|block| ends_epoch(0, 0, block)), "a tempo of 0 is no epoch at all");
    }
}
