//! Packed token sequences.

use serde::{Deserialize, Serialize};

/// How documents become sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// Joined with end-of-text and cut to the sequence length; what is left over at a page's end is dropped. No padding.
    #[default]
    Join,
    /// Each document begins a sequence of its own, filled up with [`PAD`]: the original's.
    Pad,
}

/// Fills a sequence up to its length: no token, never predicted, only at a sequence's end. A causal model computes the same
/// at the tokens before it whatever stands here.
pub const PAD: u32 = u32::MAX;

/// Equal-length sequences of token ids: the unit on which a model trains and is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenBatch {
    /// Tokens in each sequence. A model predicts `seq - 1` of them.
    pub seq: usize,
    /// `[rows, seq]` token ids in row-major order, [`PAD`] where a sequence ended before its length.
    pub ids: Vec<u32>,
}

impl TokenBatch {
    /// How many sequences.
    pub fn rows(&self) -> usize {
        self.ids.len().checked_div(self.seq).unwrap_or(0)
    }

    /// How many tokens a model predicts in this batch.
    pub fn targets(&self) -> usize {
        if self.seq < 2 {
            return 0;
        }
        self.ids.chunks_exact(self.seq).map(|row| row[1..].iter().filter(|id| **id != PAD).count()).sum()
    }

    /// Whether there is nothing to predict.
    pub fn is_empty(&self) -> bool {
        self.targets() == 0
    }

    /// Adds the sequences of `other` (of the same length).
    ///
    /// # Panics
    /// If the sequences differ in length: all batches of a run have the length of its rules.
    pub fn append(&mut self, other: &Self) {
        if self.ids.is_empty() {
            self.seq = other.seq;
        }
        assert_eq!(self.seq, other.seq, "sequences of one run have one length");
        self.ids.extend_from_slice(&other.ids);
    }

    /// The batch in pieces of at most `rows` sequences.
    pub fn chunks(&self, rows: usize) -> impl Iterator<Item = Self> + '_ {
        let step = (rows * self.seq).max(1);
        self.ids.chunks(step).map(|ids| Self { seq: self.seq, ids: ids.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_not_predicted() {
        let batch = |seq, ids: &[u32]| TokenBatch { seq, ids: ids.to_vec() };
        assert_eq!(batch(3, &[1, 2, 3, 4, 5, 6]).targets(), 4);
        assert_eq!(batch(3, &[1, 2, PAD, 4, PAD, PAD, 7, 8, 9]).targets(), 3);
        let nothing = batch(3, &[4, PAD, PAD]);
        assert!(nothing.is_empty() && nothing.rows() == 1);
        assert!(batch(1, &[1, 2]).is_empty() && TokenBatch::default().is_empty());
    }
}
