//! One's own bucket, with credentials.

/// Names that a listing returns at most.
pub const LIST_MAX: usize = 10_000;
