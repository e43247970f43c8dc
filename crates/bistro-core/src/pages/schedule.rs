//! Local pages of (block, uid), bit for bit the original's, and global pages.
//!
//! A miner's pages are one endless fixed sequence: numpy's `default_rng(uid)`, one 64-bit draw a page (low half the config,
//! high half the row). At block `b` the validator's window is pages `b · speed ..` and the miner's lies `look_ahead` pages
//! further on, so that it trains on what it will be judged on next.
//!
//! numpy spends nothing on a choice of one, so a dataset of one config takes half a draw a page while the window still moves
//! by whole draws: it slides twice as many pages a block. That is the original's arithmetic, and kept.

use std::ops::Range;

use rand::{Rng, RngExt as _};
use serde::{Deserialize, Serialize};

use super::{DatasetIndex, numpy::DefaultRng};
use crate::ids::{Block, Uid};

/// Windows of pages behind the judged one of which a miner may still say that it trained on them.
const WINDOWS_BEHIND: u64 = 4;

/// One page: `rows_per_page` rows of a config, from `row` on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageId {
    /// Config name.
    pub config: String,
    /// Split.
    pub split: String,
    /// First row.
    pub row: u64,
}

/// How the window of local pages moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Pages in the window. The original's is 100.
    pub pages: u64,
    /// Pages by which it slides each block. The original's is 4.
    pub pages_per_block: u64,
    /// Pages by which the miner looks ahead of the validator. The original's is 100: exactly the next window.
    pub look_ahead: u64,
}

impl Window {
    /// The pages on which a validator judges `uid` at `block`.
    pub fn judged(&self, index: &DatasetIndex, block: Block, uid: Uid) -> Vec<PageId> {
        self.from(index, self.offset(block), uid)
    }

    /// The pages on which the miner `uid` trains at `block`.
    pub fn trained(&self, index: &DatasetIndex, block: Block, uid: Uid) -> Vec<PageId> {
        self.from(index, self.offset(block) + u128::from(self.look_ahead), uid)
    }

    /// The pages of which a verdict on `uid` at `block` has to be: those that the miner states to have `trained` on, by number,
    /// or without any the judged window.
    pub fn evidence(&self, index: &DatasetIndex, block: Block, uid: Uid, trained: &[u64]) -> Vec<PageId> {
        if trained.is_empty() { self.judged(index, block, uid) } else { pages(index, uid, trained) }
    }

    /// Numbers of the pages on which a miner trains (see [`page`]).
    pub fn trained_numbers(&self, index: &DatasetIndex, block: Block) -> Range<u64> {
        let from = number(index, self.offset(block) + u128::from(self.look_ahead));
        from..from.saturating_add(self.pages)
    }

    /// Numbers of the pages on which a miner may say at `block` that it has trained: those that it trains on now, and those
    /// of some windows before. Ones from longer ago are forgotten, so that nothing has to be remembered for ever.
    pub fn claimable(&self, index: &DatasetIndex, block: Block) -> Range<u64> {
        let from = number(index, self.offset(block)).saturating_sub(self.pages.saturating_mul(WINDOWS_BEHIND));
        from..self.trained_numbers(index, block).end
    }

    fn offset(&self, block: Block) -> u128 {
        u128::from(block.0) * u128::from(self.pages_per_block)
    }

    fn from(&self, index: &DatasetIndex, offset: u128, uid: Uid) -> Vec<PageId> {
        local_pages(index, uid, offset, usize::try_from(self.pages).unwrap_or(usize::MAX))
    }
}

/// Pages that a 64-bit draw gives: see above.
fn pages_per_draw(index: &DatasetIndex) -> u64 {
    if index.configs.len() == 1 { 2 } else { 1 }
}

/// The number of the first page after `offset` draws.
fn number(index: &DatasetIndex, offset: u128) -> u64 {
    u64::try_from(offset).unwrap_or(u64::MAX).saturating_mul(pages_per_draw(index))
}

/// Page number `number` of `uid`'s sequence, counted from 0. `index` has passed [`DatasetIndex::check`].
pub fn page(index: &DatasetIndex, uid: Uid, number: u64) -> PageId {
    let (offset, more) = (number / pages_per_draw(index), number % pages_per_draw(index));
    let mut pages = local_pages(index, uid, offset.into(), more as usize + 1);
    pages.swap_remove(more as usize)
}

/// Several such pages.
pub fn pages(index: &DatasetIndex, uid: Uid, numbers: &[u64]) -> Vec<PageId> {
    numbers.iter().map(|number| page(index, uid, *number)).collect()
}

/// Pages `offset .. offset + count` of `uid`'s sequence. `index` has passed [`DatasetIndex::check`].
pub fn local_pages(index: &DatasetIndex, uid: Uid, offset: u128, count: usize) -> Vec<PageId> {
    let mut rng = DefaultRng::new(u32::from(uid.0));
    rng.advance(offset);
    std::iter::repeat_with(|| draw(index, |range| u64::from(rng.below(u32::try_from(range).unwrap_or(u32::MAX)))))
        .take(count)
        .collect()
}

/// A page drawn uniformly (config first, then row) from the whole dataset.
pub fn global_page(index: &DatasetIndex, rng: &mut impl Rng) -> PageId {
    draw(index, |range| rng.random_range(0..range.max(1)))
}

/// `count` such pages.
pub fn global_pages(index: &DatasetIndex, count: usize, rng: &mut impl Rng) -> Vec<PageId> {
    (0..count).map(|_| global_page(index, rng)).collect()
}

/// One page by `below(range)`: the last row of a config and those of its last page are never a first row, as in the
/// original's `integers(0, num_rows - 1 - 100)`.
fn draw(index: &DatasetIndex, mut below: impl FnMut(u64) -> u64) -> PageId {
    let config = &index.configs[below(index.configs.len() as u64) as usize];
    let row = below(config.rows.saturating_sub(1 + index.rows_per_page));
    PageId { config: config.name.clone(), split: config.split.clone(), row }
}
