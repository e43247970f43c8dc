//! What others see of a miner: the loop's own state on the board.

use super::Miner;
use crate::status::miner::{BaseStatus, Move};

impl Miner {
    /// Shows where the loop is.
    pub(super) fn show(&self) {
        self.parts.board.change(|status| {
            (status.block, status.uid) = (self.state.head, Some(self.uid));
            status.compute_share = self.meter.share();
            status.page_wait_share = self.meter.share_of(self.pages.waited());
        });
    }

    /// Shows the move from master `from` to the one that is now the base.
    pub(super) fn show_move(&self, from: u64, own: bool, kept: Option<f32>) {
        let time = self.parts.clock.unix_millis();
        self.parts.board.miner(|miner| {
            miner.base = Some(BaseStatus { seq: self.base.seq, hash: self.base.hash, time });
            miner.last_move = Some(Move { time, from, to: self.base.seq, own, kept });
        });
    }
}
