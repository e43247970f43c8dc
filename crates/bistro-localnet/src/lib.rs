//! bistro-localnet

pub mod chain;
pub mod s3;
