//! Pallet 26: what the chain knows of the randomness beacon, by which committed weights are opened.
//!
//! On subtensor off-chain workers fetch every round of drand's quicknet. Here the chain signs rounds itself, with the key of
//! [`crate::chain::beacon`]: the newest of each block, and those that a commitment waits for.

pub use pallet::*;

use crate::chain::beacon;
use bistro_chain::timelock;
use codec::{Decode, DecodeWithMemTracking, Encode};
use frame_support::{BoundedVec, traits::ConstU32};
use scale_info::TypeInfo;
use sha2::{Digest as _, Sha256};

/// A digest or a name.
pub type BoundedHash = BoundedVec<u8, ConstU32<32>>;
/// A compressed point of G2.
pub type OpaquePublicKey = BoundedVec<u8, ConstU32<96>>;

/// Which beacon it is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Metadata {
    /// Its name.
    pub beacon_id: BoundedHash,
}

/// A beacon, as drand describes one.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct BeaconConfiguration {
    /// What commitments are encrypted to.
    pub public_key: OpaquePublicKey,
    /// Seconds between two rounds.
    pub period: u32,
    /// When round 1 was published, seconds since 1970.
    pub genesis_time: u32,
    /// The chain's hash.
    pub hash: BoundedHash,
    /// The signing group's hash.
    pub group_hash: BoundedHash,
    /// How it signs.
    pub scheme_id: BoundedHash,
    /// Its name.
    pub metadata: Metadata,
}

impl BeaconConfiguration {
    /// `beacon` under `name`; the two hashes are of its key.
    pub fn of(beacon: &timelock::Beacon, name: &str) -> Self {
        let bounded = |bytes: &[u8]| BoundedHash::truncate_from(bytes.to_vec());
        let hash = bounded(&Sha256::digest(beacon.public_key));
        Self {
            public_key: OpaquePublicKey::truncate_from(beacon.public_key.to_vec()),
            period: u32::try_from(beacon.period).unwrap_or(u32::MAX),
            genesis_time: u32::try_from(beacon.genesis).unwrap_or(u32::MAX),
            hash: hash.clone(),
            group_hash: hash,
            scheme_id: bounded(b"bls-unchained-g1-rfc9380"),
            metadata: Metadata { beacon_id: bounded(name.as_bytes()) },
        }
    }
}

/// One round.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Pulse {
    /// Its number.
    pub round: u64,
    /// SHA-256 of the signature.
    pub randomness: BoundedVec<u8, ConstU32<32>>,
    /// A compressed point of G1.
    pub signature: BoundedVec<u8, ConstU32<144>>,
}

/// Who waits for rounds.
pub trait Waiting {
    /// The rounds.
    fn rounds() -> Vec<u64>;
}

#[frame_support::pallet]
pub mod pallet {
    use super::*;
    use frame_support::{pallet_prelude::*, traits::OnTimestampSet};

    #[pallet::pallet]
    #[pallet::without_storage_info]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: frame_system::Config {
        /// Who waits for rounds.
        type Waiting: Waiting;
    }

    /// Quicknet, as on subtensor; a local chain's genesis puts its own in the place.
    #[pallet::type_value]
    pub fn DefaultBeaconConfig<T: Config>() -> BeaconConfiguration {
        BeaconConfiguration::of(&timelock::QUICKNET, "quicknet")
    }

    #[pallet::storage]
    pub type BeaconConfig<T: Config> = StorageValue<_, BeaconConfiguration, ValueQuery, DefaultBeaconConfig<T>>;
    #[pallet::storage]
    pub type Pulses<T: Config> = StorageMap<_, Blake2_128Concat, u64, Pulse, OptionQuery>;
    #[pallet::storage]
    pub type LastStoredRound<T: Config> = StorageValue<_, u64, ValueQuery>;
    #[pallet::storage]
    pub type OldestStoredRound<T: Config> = StorageValue<_, u64, ValueQuery>;

    impl<T: Config> Pallet<T> {
        /// Publishes `round` now, be it due or not.
        pub fn publish(round: u64) {
            if Pulses::<T>::contains_key(round) {
                return;
            }
            let signature = beacon::sign(round);
            let randomness = BoundedVec::truncate_from(Sha256::digest(signature).to_vec());
            let signature = BoundedVec::truncate_from(signature.to_vec());
            Pulses::<T>::insert(round, Pulse { round, randomness, signature });
            let oldest = OldestStoredRound::<T>::get();
            if oldest == 0 || round < oldest {
                OldestStoredRound::<T>::put(round);
            }
        }
    }

    impl<T: Config> OnTimestampSet<u64> for Pallet<T> {
        /// Publishes what the clock has reached.
        fn on_timestamp_set(now: u64) {
            let config = BeaconConfig::<T>::get();
            let round = beacon::round_at(config.genesis_time.into(), config.period.into(), now);
            if round == 0 {
                return;
            }
            Self::publish(round);
            for awaited in T::Waiting::rounds().into_iter().filter(|awaited| *awaited <= round) {
                Self::publish(awaited);
            }
            LastStoredRound::<T>::put(round);
        }
    }
}
