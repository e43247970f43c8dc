//! Pallet 3: the one constant of Aura that clients read.

pub use pallet::*;

#[frame_support::pallet]
pub mod pallet {
    use frame_support::pallet_prelude::*;

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: frame_system::Config {
        /// Milliseconds between blocks.
        #[pallet::constant]
        type SlotDuration: Get<u64>;
    }
}
