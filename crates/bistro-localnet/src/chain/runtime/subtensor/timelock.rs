//! Commit-reveal: weights that come encrypted to a round of the beacon, and are set once their epoch and their round are there.

use super::*;
use crate::chain::runtime::drand;
use bistro_chain::timelock;
use frame_support::{BoundedVec, dispatch::DispatchResult, ensure, traits::ConstU32};
use sp_runtime::traits::{BlakeTwo256, Hash as _};
use std::collections::{BTreeSet, VecDeque};

/// The longest ciphertext, bytes.
pub const MAX_COMMIT_BYTES: u32 = timelock::MAX_CIPHERTEXT_BYTES as u32;
/// Commitments of one hotkey that may wait in an epoch.
const MOST_UNREVEALED: usize = 10;

/// An encrypted vector of weights.
pub type Ciphertext = BoundedVec<u8, ConstU32<MAX_COMMIT_BYTES>>;
/// Who committed, in which block, what, and the round that opens it.
pub type Commit<AccountId> = (AccountId, u64, Ciphertext, u64);

/// What is inside.
#[derive(Decode)]
struct Payload {
    hotkey: Vec<u8>,
    uids: Vec<u16>,
    values: Vec<u16>,
    version_key: u64,
}

/// What older clients put inside: no hotkey.
#[derive(Decode)]
struct LegacyPayload {
    uids: Vec<u16>,
    values: Vec<u16>,
    version_key: u64,
}

impl<T: Config> Pallet<T> {
    /// Keeps `commit` of `hotkey` until its reveal.
    pub(super) fn do_commit_timelocked(
        hotkey: T::AccountId,
        netuid: u16,
        mecid: u8,
        commit: Ciphertext,
        reveal_round: u64,
        version: u16,
    ) -> DispatchResult {
        ensure!(NetworksAdded::<T>::get(netuid), Error::<T>::SubnetNotExists);
        ensure!(mecid == 0, Error::<T>::MechanismDoesNotExist);
        ensure!(CommitRevealWeightsEnabled::<T>::get(netuid), Error::<T>::CommitRevealDisabled);
        ensure!(version == CommitRevealWeightsVersion::<T>::get(), Error::<T>::IncorrectCommitRevealVersion);
        let uid = Uids::<T>::get(netuid, &hotkey).ok_or(Error::<T>::HotKeyNotRegisteredInSubNet)?;
        ensure!(Self::weights_are_due(netuid, uid), Error::<T>::CommittingWeightsTooFast);

        let block = Self::current_block();
        // What is committed in the block of an epoch is the next one's.
        let epoch = Self::epoch_index_at(netuid, block) + u64::from(Self::is_epoch_block(netuid, block));
        let hash = BlakeTwo256::hash(&commit);
        TimelockedWeightCommits::<T>::try_mutate(netuid, epoch, |commits| {
            let own = commits.iter().filter(|(who, ..)| *who == hotkey).count();
            ensure!(own < MOST_UNREVEALED, Error::<T>::TooManyUnrevealedCommits);
            commits.push_back((hotkey.clone(), block, commit, reveal_round));
            Ok::<_, Error<T>>(())
        })?;
        Self::touch(netuid, uid);
        Self::deposit_event(Event::TimelockedWeightsCommitted(hotkey, netuid, hash, reveal_round));
        Ok(())
    }

    /// Opens what was committed `RevealPeriodEpochs` ago, as far as the beacon has spoken, and forgets what is older.
    pub(super) fn reveal_commits(netuid: u16, block: u64) {
        let (now, period) = (Self::epoch_index_at(netuid, block), RevealPeriodEpochs::<T>::get(netuid));
        let Some(due) = now.checked_sub(period) else { return };
        let expired: Vec<u64> = TimelockedWeightCommits::<T>::iter_key_prefix(netuid).filter(|e| *e < due).collect();
        for epoch in expired {
            TimelockedWeightCommits::<T>::remove(netuid, epoch);
        }
        let mut early = VecDeque::new();
        for commit in TimelockedWeightCommits::<T>::take(netuid, due) {
            let Some(pulse) = drand::Pulses::<T>::get(commit.3) else {
                early.push_back(commit);
                continue;
            };
            match Self::reveal(netuid, &commit.0, &commit.2, &pulse.signature) {
                Ok(()) => Self::deposit_event(Event::TimelockedWeightsRevealed(netuid, commit.0)),
                // Subtensor drops it and says so in its log only.
                Err(why) => tracing::warn!(netuid, hotkey = ?commit.0.encode(), why, "a commitment was not revealed"),
            }
        }
        if !early.is_empty() {
            TimelockedWeightCommits::<T>::insert(netuid, due, early);
        }
    }

    /// Sets the weights that are inside; those of a hotkey that is not the committer's own are a copy.
    fn reveal(netuid: u16, who: &T::AccountId, commit: &[u8], signature: &[u8]) -> Result<(), &'static str> {
        let text = timelock::decrypt(commit, signature).map_err(|_| "it cannot be decrypted")?;
        // The older form can read as the newer one with a hotkey of a few bytes; what is no account's name is no name.
        let named = Payload::decode(&mut &text[..]).ok();
        let named = named.and_then(|p| Some((T::AccountId::decode(&mut &p.hotkey[..]).ok()?, p)));
        let (uids, values, version_key) = match named {
            Some((hotkey, p)) if hotkey == *who => (p.uids, p.values, p.version_key),
            Some(_) => return Err("it names another hotkey"),
            None => {
                let p = LegacyPayload::decode(&mut &text[..]).map_err(|_| "there are no weights inside")?;
                (p.uids, p.values, p.version_key)
            }
        };
        Self::do_set_weights(who, netuid, 0, &uids, &values, version_key).map_err(Into::into)
    }
}

impl<T: Config> drand::Waiting for Pallet<T> {
    fn rounds() -> Vec<u64> {
        let rounds: BTreeSet<u64> = TimelockedWeightCommits::<T>::iter_values().flatten().map(|c| c.3).collect();
        rounds.into_iter().collect()
    }
}
