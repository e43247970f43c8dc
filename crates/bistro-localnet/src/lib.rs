//! bistro-localnet
