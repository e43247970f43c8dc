//! `set_weights`: the checks in subtensor's order, so that the same fault has the same name here.

use super::*;
use frame_support::{dispatch::DispatchResult, ensure};
use std::collections::BTreeSet;

impl<T: Config> Pallet<T> {
    /// Sets the weights of `hotkey` for mechanism `mecid` of subnet `netuid`.
    pub(super) fn do_set_weights(
        hotkey: &T::AccountId,
        netuid: u16,
        mecid: u8,
        uids: &[u16],
        values: &[u16],
        version_key: u64,
    ) -> DispatchResult {
        ensure!(netuid != ROOT_NETUID, Error::<T>::CanNotSetRootNetworkWeights);
        ensure!(uids.len() == values.len(), Error::<T>::WeightVecNotEqualSize);
        ensure!(NetworksAdded::<T>::get(netuid), Error::<T>::SubnetNotExists);
        ensure!(mecid == 0, Error::<T>::MechanismDoesNotExist);
        let neurons = SubnetworkN::<T>::get(netuid);
        ensure!(uids.len() <= usize::from(neurons), Error::<T>::UidsLengthExceedUidsInSubNet);
        let uid = Uids::<T>::get(netuid, hotkey).ok_or(Error::<T>::HotKeyNotRegisteredInSubNet)?;
        Self::ensure_weights_min_stake(hotkey, netuid)?;
        let chain_key = WeightsVersionKey::<T>::get(netuid);
        ensure!(chain_key == 0 || version_key >= chain_key, Error::<T>::IncorrectWeightVersionKey);
        // Committed weights waited when they were committed.
        let committed = CommitRevealWeightsEnabled::<T>::get(netuid);
        ensure!(committed || Self::weights_are_due(netuid, uid), Error::<T>::SettingWeightsTooFast);

        let own_weight_only = uids == [uid];
        let permitted = ValidatorPermit::<T>::get(netuid).get(usize::from(uid)) == Some(&true)
            || SubnetOwnerHotkey::<T>::get(netuid) == *hotkey;
        ensure!(own_weight_only || permitted, Error::<T>::NeuronNoValidatorPermit);
        ensure!(uids.iter().collect::<BTreeSet<_>>().len() == uids.len(), Error::<T>::DuplicateUids);
        ensure!(uids.iter().all(|&uid| uid < neurons), Error::<T>::UidVecContainInvalidOne);
        let least = MinAllowedWeights::<T>::get(netuid).min(neurons);
        ensure!(own_weight_only || values.len() >= usize::from(least), Error::<T>::WeightVecLengthIsLow);
        let values = max_upscale(values);
        let limit = MaxWeightsLimit::<T>::get(netuid);
        ensure!(own_weight_only || within_limit(&values, limit), Error::<T>::MaxWeightExceeded);

        Weights::<T>::insert(netuid, uid, uids.iter().copied().zip(values).collect::<Vec<_>>());
        if !committed {
            Self::touch(netuid, uid);
        }
        Self::deposit_event(Event::WeightsSet(netuid, uid));
        Ok(())
    }

    /// Starts the rate limit of `uid` anew.
    pub(super) fn touch(netuid: u16, uid: u16) {
        LastUpdate::<T>::mutate(netuid, |blocks| {
            if let Some(block) = blocks.get_mut(usize::from(uid)) {
                *block = Self::current_block();
            }
        });
    }

    /// Refuses a hotkey whose stake is below the threshold.
    pub fn ensure_weights_min_stake(hotkey: &T::AccountId, netuid: u16) -> Result<(), Error<T>> {
        let stake = TotalHotkeyAlpha::<T>::get(hotkey, netuid);
        ensure!(stake >= StakeThreshold::<T>::get(), Error::<T>::NotEnoughStakeToSetWeights);
        Ok(())
    }

    /// Whether the rate limit has passed since the last weights, or since the registration. A neuron of genesis has waited.
    pub(super) fn weights_are_due(netuid: u16, uid: u16) -> bool {
        let last = LastUpdate::<T>::get(netuid).get(usize::from(uid)).copied().unwrap_or_default();
        last == 0 || Self::current_block().saturating_sub(last) >= WeightsSetRateLimit::<T>::get(netuid)
    }
}

/// Scales the weights so that the largest is 65535, to the rounding of subtensor's 32.32 fixed-point numbers.
fn max_upscale(values: &[u16]) -> Vec<u16> {
    const ONE: u64 = 1 << 32;
    let full = u64::from(u16::MAX);
    let max = values.iter().copied().max().map_or(0, u64::from);
    if max == 0 {
        return vec![0; values.len()];
    }
    let round = |fixed: u64| ((fixed + ONE / 2) / ONE) as u16;
    // A product of larger numbers would not fit 32.32, so subtensor multiplies by the truncated quotient instead.
    if max > 32_768 {
        let scale = full * ONE / max;
        return values.iter().map(|&v| round(u64::from(v) * scale)).collect();
    }
    values
        .iter()
        .map(|&v| round((u128::from(u64::from(v) * full) * u128::from(ONE) / u128::from(max)) as u64))
        .collect()
}

/// Whether no weight is a larger share of the sum than `limit` / 65535.
fn within_limit(values: &[u16], limit: u16) -> bool {
    let sum: u64 = values.iter().copied().map(u64::from).sum();
    let max = values.iter().copied().max().map_or(0, u64::from);
    limit == u16::MAX || max * u64::from(u16::MAX) <= u64::from(limit) * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_weight_becomes_65535_and_ratios_stay() {
        assert_eq!(max_upscale(&[1, 2, 4]), [16384, 32768, 65535]);
        assert_eq!(max_upscale(&[65535, 1, 0]), [65535, 1, 0]);
        assert_eq!(max_upscale(&[40000, 20000]), [65535, 32767], "the truncated quotient rounds this half down");
        assert_eq!(max_upscale(&[0, 0]), [0, 0]);
        assert_eq!(max_upscale(&[]), [0_u16; 0]);
    }

    #[test]
    fn a_weight_may_be_as_large_a_share_as_the_limit_says() {
        let half = u16::MAX / 2 + 1;
        assert!(within_limit(&[65535, 65535], half));
        assert!(!within_limit(&[65535, 60000], half));
        assert!(within_limit(&[65535], u16::MAX));
        assert!(!within_limit(&[65535], u16::MAX - 1));
    }
}
