//! Packed token sequences.

/// Equal-length sequences of token ids: the unit on which a model trains and is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenBatch {
    /// Tokens in each sequence. A model predicts `seq - 1` of them.
    pub seq: usize,
    /// `[rows, seq]` token ids in row-major order.
    pub ids: Vec<u32>,
}

impl TokenBatch {
    /// How many sequences.
    pub fn rows(&self) -> usize {
        self.ids.len().checked_div(self.seq).unwrap_or(0)
    }

    /// How many tokens a model predicts in this batch.
    pub fn targets(&self) -> usize {
        self.rows() * self.seq.saturating_sub(1)
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
