//! bistro-chain
