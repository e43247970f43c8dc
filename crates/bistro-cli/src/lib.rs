//! bistro-cli
