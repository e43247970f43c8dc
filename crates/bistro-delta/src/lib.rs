//! bistro-delta
