//! Who is in a subnet: registration, deregistration, stake, axons.

use super::*;
use frame_support::{
    dispatch::DispatchResult,
    ensure,
    traits::{
        fungible::{Inspect, Mutate},
        tokens::{Fortitude, Precision, Preservation},
    },
};
use sp_runtime::SaturatedConversion;

/// What a subnet's alpha is called.
pub const SYMBOL: &str = "β";
/// The least stake that can be added, rao.
pub const MIN_STAKE: u64 = 500_000;

impl<T: Config> Pallet<T> {
    /// Height of the block being built.
    pub(super) fn current_block() -> u64 {
        frame_system::Pallet::<T>::block_number().saturated_into()
    }

    /// Makes subnet `netuid` with `owner` as its owner. Not a call: subnets of the local chain come from its genesis.
    pub fn add_network(netuid: u16, owner: &T::AccountId) {
        if !NetworksAdded::<T>::get(netuid) {
            NetworksAdded::<T>::insert(netuid, true);
            TotalNetworks::<T>::mutate(|n| *n += 1);
            NetworkRegisteredAt::<T>::insert(netuid, Self::current_block());
            TokenSymbol::<T>::insert(netuid, SYMBOL.as_bytes());
            SubnetOwner::<T>::insert(netuid, owner);
            Self::deposit_event(Event::NetworkAdded(netuid, 0));
        }
    }

    /// Refuses a registration when three times the interval's target is reached.
    pub fn check_registration_interval(netuid: u16) -> Result<(), Error<T>> {
        let most = TargetRegistrationsPerInterval::<T>::get(netuid).saturating_mul(3);
        ensure!(RegistrationsThisInterval::<T>::get(netuid) < most, Error::<T>::TooManyRegistrationsThisInterval);
        Ok(())
    }

    /// The call `burned_register`.
    pub(super) fn do_burned_register(coldkey: &T::AccountId, netuid: u16, hotkey: &T::AccountId) -> DispatchResult {
        ensure!(netuid != ROOT_NETUID, Error::<T>::RegistrationNotPermittedOnRootSubnet);
        ensure!(NetworksAdded::<T>::get(netuid), Error::<T>::SubnetNotExists);
        ensure!(NetworkRegistrationAllowed::<T>::get(netuid), Error::<T>::SubNetRegistrationDisabled);
        Self::check_registration_interval(netuid)?;
        ensure!(!Uids::<T>::contains_key(netuid, hotkey), Error::<T>::HotKeyAlreadyRegisteredInSubNet);
        let burn = Burn::<T>::get(netuid);
        ensure!(Self::can_pay(coldkey, burn), Error::<T>::NotEnoughBalanceToStake);
        Self::register(coldkey, hotkey, netuid)?;
        T::Currency::burn_from(coldkey, burn, Preservation::Preserve, Precision::Exact, Fortitude::Polite)?;
        RegistrationsThisInterval::<T>::mutate(netuid, |n| *n = n.saturating_add(1));
        Ok(())
    }

    /// Gives `hotkey` of `coldkey` a uid in subnet `netuid`, its own if it has one already.
    pub fn register(coldkey: &T::AccountId, hotkey: &T::AccountId, netuid: u16) -> Result<u16, Error<T>> {
        ensure!(NetworksAdded::<T>::get(netuid), Error::<T>::SubnetNotExists);
        Self::claim(coldkey, hotkey)?;
        if let Some(uid) = Uids::<T>::get(netuid, hotkey) {
            return Ok(uid);
        }
        let neurons = SubnetworkN::<T>::get(netuid);
        let uid = if neurons < MaxAllowedUids::<T>::get(netuid) {
            SubnetworkN::<T>::insert(netuid, neurons + 1);
            neurons
        } else {
            let uid = Self::neuron_to_prune(netuid).ok_or(Error::<T>::NoNeuronIdAvailable)?;
            Self::evict(netuid, uid);
            uid
        };
        Self::seat(netuid, uid, hotkey);
        Self::deposit_event(Event::NeuronRegistered(netuid, uid, hotkey.clone()));
        Ok(uid)
    }

    /// Seats the neurons of the first block, each as coldkey, hotkey and stake. What [`Self::register`] does one by one would write
    /// four vectors of all neurons for each.
    pub fn populate(netuid: u16, neurons: impl IntoIterator<Item = (T::AccountId, T::AccountId, u64)>) {
        let (mut count, block) = (0_u16, Self::current_block());
        for (coldkey, hotkey, stake) in neurons {
            let new = !Uids::<T>::contains_key(netuid, &hotkey);
            if Self::claim(&coldkey, &hotkey).is_err() || new && count == MaxAllowedUids::<T>::get(netuid) {
                continue;
            }
            if new {
                Self::name_seat(netuid, count, &hotkey, block);
                count += 1;
            }
            Self::credit_stake(&hotkey, netuid, stake);
        }
        let all = usize::from(count);
        SubnetworkN::<T>::insert(netuid, count);
        LastUpdate::<T>::insert(netuid, vec![block; all]);
        ValidatorPermit::<T>::insert(netuid, vec![false; all]);
        Active::<T>::insert(netuid, vec![true; all]);
        Incentive::<T>::insert(netuid, vec![0; all]);
    }

    /// Makes `coldkey` the owner of `hotkey`, unless another one is.
    fn claim(coldkey: &T::AccountId, hotkey: &T::AccountId) -> Result<(), Error<T>> {
        if Owner::<T>::contains_key(hotkey) {
            ensure!(Owner::<T>::get(hotkey) == *coldkey, Error::<T>::NonAssociatedColdKey);
        } else {
            Owner::<T>::insert(hotkey, coldkey);
            OwnedHotkeys::<T>::append(coldkey, hotkey);
        }
        Ok(())
    }

    /// Writes who holds a uid.
    fn name_seat(netuid: u16, uid: u16, hotkey: &T::AccountId, block: u64) {
        Keys::<T>::insert(netuid, uid, hotkey);
        Uids::<T>::insert(netuid, hotkey, uid);
        IsNetworkMember::<T>::insert(hotkey, netuid, true);
        BlockAtRegistration::<T>::insert(netuid, uid, block);
    }

    /// Writes what a new neuron starts with.
    fn seat(netuid: u16, uid: u16, hotkey: &T::AccountId) {
        let block = Self::current_block();
        Self::name_seat(netuid, uid, hotkey, block);
        let at = usize::from(uid);
        LastUpdate::<T>::mutate(netuid, |v| set(v, at, block));
        ValidatorPermit::<T>::mutate(netuid, |v| set(v, at, false));
        Active::<T>::mutate(netuid, |v| set(v, at, true));
        Incentive::<T>::mutate(netuid, |v| set(v, at, 0));
    }

    /// The neuron to make room: least incentive, then oldest; those past their immunity before those within it.
    fn neuron_to_prune(netuid: u16) -> Option<u16> {
        let incentive = Incentive::<T>::get(netuid);
        let now = Self::current_block();
        let immunity = u64::from(ImmunityPeriod::<T>::get(netuid));
        let owner = SubnetOwnerHotkey::<T>::get(netuid);
        (0..SubnetworkN::<T>::get(netuid)).filter(|&uid| Keys::<T>::get(netuid, uid) != owner).min_by_key(|&uid| {
            let born = BlockAtRegistration::<T>::get(netuid, uid);
            let immune = now.saturating_sub(born) < immunity;
            (immune, incentive.get(usize::from(uid)).copied().unwrap_or_default(), born)
        })
    }

    /// Takes the uid from its hotkey. The stake stays the hotkey's.
    fn evict(netuid: u16, uid: u16) {
        let hotkey = Keys::<T>::get(netuid, uid);
        Uids::<T>::remove(netuid, &hotkey);
        IsNetworkMember::<T>::remove(&hotkey, netuid);
        Axons::<T>::remove(netuid, &hotkey);
        Weights::<T>::remove(netuid, uid);
    }

    /// What `add_stake` needs, in subtensor's order.
    pub fn check_add_stake(
        coldkey: &T::AccountId,
        hotkey: &T::AccountId,
        netuid: u16,
        amount: u64,
    ) -> Result<(), Error<T>> {
        ensure!(NetworksAdded::<T>::get(netuid), Error::<T>::SubnetNotExists);
        ensure!(amount >= MIN_STAKE, Error::<T>::AmountTooLow);
        ensure!(Self::can_pay(coldkey, amount), Error::<T>::NotEnoughBalanceToStake);
        ensure!(Owner::<T>::contains_key(hotkey), Error::<T>::HotKeyAccountNotExists);
        Ok(())
    }

    /// The call `add_stake`. There is no swap here: one rao buys one alpha.
    pub(super) fn do_add_stake(
        coldkey: &T::AccountId,
        hotkey: &T::AccountId,
        netuid: u16,
        amount: u64,
    ) -> DispatchResult {
        Self::check_add_stake(coldkey, hotkey, netuid, amount)?;
        T::Currency::burn_from(coldkey, amount, Preservation::Preserve, Precision::Exact, Fortitude::Polite)?;
        Self::credit_stake(hotkey, netuid, amount);
        Self::deposit_event(Event::StakeAdded(coldkey.clone(), hotkey.clone(), amount, amount, netuid, 0));
        Ok(())
    }

    /// Adds to a hotkey's stake out of nothing.
    pub fn credit_stake(hotkey: &T::AccountId, netuid: u16, amount: u64) {
        TotalHotkeyAlpha::<T>::mutate(hotkey, netuid, |alpha| *alpha = alpha.saturating_add(amount));
    }

    fn can_pay(coldkey: &T::AccountId, amount: u64) -> bool {
        T::Currency::reducible_balance(coldkey, Preservation::Preserve, Fortitude::Polite) >= amount
    }

    /// What `serve_axon` needs.
    pub fn check_axon(hotkey: &T::AccountId, netuid: u16, ip: u128, ip_type: u8, port: u16) -> Result<(), Error<T>> {
        ensure!(Uids::<T>::contains_key(netuid, hotkey), Error::<T>::HotKeyNotRegisteredInNetwork);
        ensure!(ip_type == 4 || ip_type == 6, Error::<T>::InvalidIpType);
        let fits = ip != 0 && (ip_type == 6 || ip <= u128::from(u32::MAX));
        ensure!(fits, Error::<T>::InvalidIpAddress);
        ensure!(port != 0, Error::<T>::InvalidPort);
        let passed = Axons::<T>::get(netuid, hotkey)
            .is_none_or(|a| Self::current_block().saturating_sub(a.block) >= ServingRateLimit::<T>::get(netuid));
        ensure!(passed, Error::<T>::ServingRateLimitExceeded);
        Ok(())
    }

    /// The call `serve_axon`.
    pub(super) fn do_serve_axon(hotkey: T::AccountId, netuid: u16, axon: AxonInfo) -> DispatchResult {
        Self::check_axon(&hotkey, netuid, axon.ip, axon.ip_type, axon.port)?;
        Axons::<T>::insert(netuid, &hotkey, axon);
        Self::deposit_event(Event::AxonServed(netuid, hotkey));
        Ok(())
    }
}

/// Sets element `at`, growing the vector by defaults as needed.
fn set<V: Clone + Default>(values: &mut Vec<V>, at: usize, value: V) {
    if values.len() <= at {
        values.resize(at + 1, V::default());
    }
    values[at] = value;
}
