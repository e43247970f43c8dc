//! Buckets, real and fake, behind the two ports of `bistro-core`: one's own bucket with credentials, everybody else's
//! anonymously.
//!
//! What a stranger's bucket can do to a reader is bounded in [`S3PublicBuckets`]: a cap on the size, a deadline, a least
//! throughput, and no credentials to steal. What a reader of *our* bucket sees is never torn: objects are immutable, and the
//! small pointers to them are replaced whole.
//!
//! # Layout
//! - [`config`]: where buckets are; the AWS clients, built the same way for both ports.
//! - [`own`]: one's own bucket ([`S3OwnBucket`]), with `multipart` for large objects.
//! - [`public`]: others' buckets ([`S3PublicBuckets`]).
//! - `download`: reads an object, large ones in pieces at the same time; `pace` keeps it within
//!   [`bistro_core::ports::ReadLimits`], `hashing` takes its hash on the way.
//! - `pointers`: remembers small objects by tag, so that one that did not change costs no body.
//! - [`check`]: proves what a bucket lets its owner and the public do.
//! - [`error`]: the named outcomes, and what the AWS SDK's errors mean.
//! - [`fake`]: buckets in memory ([`FakeBuckets`]) for tests of the loops.
//! - [`conformance`]: what every pair of implementations must do.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod check;
pub mod config;
pub mod conformance;
mod download;
pub mod error;
pub mod fake;
mod hashing;
mod multipart;
pub mod own;
mod pace;
mod pointers;
pub mod public;

pub use config::{Credentials, S3Config};
pub use error::StorageError;
pub use fake::{FakeBuckets, FakeOwnBucket};
pub use own::S3OwnBucket;
pub use public::S3PublicBuckets;
