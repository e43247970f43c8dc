//! Which pages of the dataset belong to a miner at a block.
//!
//! - [`index`]: the dataset's configs and row counts, pinned by digest.
//! - [`numpy`]: the two numpy generators that the original drew its pages with.
//! - [`schedule`]: local pages of (block, uid), bit for bit the original's, and global pages.

pub mod index;
pub mod numpy;
pub mod schedule;

pub use index::{Config, DatasetIndex, IndexError};
pub use schedule::{PageId, Window};
