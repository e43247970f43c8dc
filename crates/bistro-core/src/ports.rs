//! The traits through which the loops reach chain, buckets, pages, model and clock. Real and fake parts stand behind the
//! same six traits, so the whole network runs in one process with a toy model, seeded, in milliseconds.
//!
//! Every call of a real part has a deadline of its own (P8). Dropping a future of these traits at any await point is safe:
//! reads leave nothing behind, and each write says below what a repeated one does.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::ids::{Block, Hash, Hotkey, NetUid, Uid};
use crate::pages::{DatasetIndex, PageId};
use crate::params::{ModelSpec, Params};
use crate::tokens::TokenBatch;

/// Whether an operation that failed is worth repeating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Soon, with back-off: the network's fault or a passing one of the other side.
    Soon,
    /// After this many blocks.
    After(u64),
    /// Not before an operator changes something.
    Never,
}

/// A failure of a port: what failed, in words for an operator, and whether to try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PortError {
    /// The chain's or server's own name of the refusal where it has one (`SettingWeightsTooFast`, `NoSuchBucket`).
    pub name: String,
    /// What failed, where, and how to mend it.
    pub message: String,
    /// Whether to try again.
    pub retry: Retry,
}

/// One neuron of the subnet at one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neuron {
    /// Slot.
    pub uid: Uid,
    /// Who holds it.
    pub hotkey: Hotkey,
    /// Total stake, rao (10⁻⁹ TAO).
    pub stake: u64,
    /// Whether it may set weights on others.
    pub validator_permit: bool,
    /// Block of its last weights.
    pub last_update: Block,
}

/// The subnet at one block: neurons in uid order and what the chain demands of weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metagraph {
    /// Subnet.
    pub netuid: NetUid,
    /// The block at which all of this was read.
    pub block: Block,
    /// All neurons, in uid order.
    pub neurons: Vec<Neuron>,
    /// Blocks between two submissions of weights.
    pub weights_rate_limit: u64,
    /// Least number of weights in a submission.
    pub min_allowed_weights: u16,
    /// The largest part of the sum that one weight may be, of 65535.
    pub max_weight: u16,
    /// Least stake of a hotkey that sets weights, rao.
    pub stake_threshold: u64,
    /// Time between two blocks.
    pub block_time: Duration,
    /// Blocks of an epoch.
    pub tempo: u16,
    /// Whether plain `set_weights` is refused in favour of commit-reveal.
    pub commit_reveal: bool,
}

impl Metagraph {
    /// The neuron that `hotkey` holds.
    pub fn neuron(&self, hotkey: &Hotkey) -> Option<&Neuron> {
        self.neurons.iter().find(|n| n.hotkey == *hotkey)
    }

    /// Neurons with a permit, most stake first (the lower uid first among equals): the first that publishes a master is
    /// the one everybody follows.
    pub fn by_authority(&self) -> Vec<&Neuron> {
        let mut permitted: Vec<_> = self.neurons.iter().filter(|n| n.validator_permit).collect();
        permitted.sort_by_key(|n| (std::cmp::Reverse(n.stake), n.uid));
        permitted
    }
}

/// The subtensor chain, as one hotkey meets it.
#[async_trait]
pub trait Chain: Send + Sync {
    /// The newest block.
    async fn head(&self) -> Result<Block, PortError>;

    /// Waits for a block later than `after` and returns it; an error if none comes within the implementation's patience
    /// (several block times).
    async fn next_block(&self, after: Block) -> Result<Block, PortError>;

    /// The whole subnet at one block.
    async fn metagraph(&self) -> Result<Metagraph, PortError>;

    /// The text that `hotkey` committed on this subnet (its bucket). Hostile: at most 512 bytes, otherwise unchecked.
    async fn commitment(&self, hotkey: &Hotkey) -> Result<Option<String>, PortError>;

    /// The same of many hotkeys, as cheaply as the implementation can: `None` for one that committed nothing that is text. One that
    /// could not be read is not among them.
    async fn commitments(&self, hotkeys: &[Hotkey]) -> Result<BTreeMap<Hotkey, Option<String>>, PortError> {
        let mut found = BTreeMap::new();
        for hotkey in hotkeys {
            if let Ok(text) = self.commitment(hotkey).await {
                found.insert(*hotkey, text);
            }
        }
        Ok(found)
    }

    /// Commits `text` (at most 128 bytes) for the own hotkey. Idempotent: nothing is sent if the chain holds it already.
    async fn commit(&self, text: &str) -> Result<(), PortError>;

    /// Sets the own weights on the chain, each of `0..=65535`. Returns when the call is in a block and succeeded.
    /// Repeating it is refused by the chain's rate limit, never counted twice.
    async fn set_weights(&self, weights: &[(Uid, u16)]) -> Result<(), PortError>;
}

/// Signs with the own hotkey, checks anybody's signature (sr25519, context `substrate`).
pub trait Identity: Send + Sync {
    /// The own hotkey.
    fn hotkey(&self) -> Hotkey;

    /// Signs `message`.
    fn sign(&self, message: &[u8]) -> [u8; 64];

    /// Whether `signature` over `message` is `hotkey`'s.
    fn verify(&self, hotkey: &Hotkey, message: &[u8], signature: &[u8; 64]) -> bool;
}

/// Whether a write may replace what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The name belongs to the content: if the object exists, it is the same one, and the write is done already.
    Immutable,
    /// A pointer: replaced atomically.
    Replace,
}

/// One's own bucket, with credentials.
#[async_trait]
pub trait OwnBucket: Send + Sync {
    /// What is committed on the chain so that others find this bucket (see [`BucketAddress`]).
    fn address(&self) -> BucketAddress;

    /// Stores `body`; when this returns, every reader sees it. Repeating it is harmless.
    async fn put(&self, key: &str, body: Bytes, mode: Put) -> Result<(), PortError>;

    /// Reads an object of at most `max_bytes`; `None` if there is none.
    async fn get(&self, key: &str, max_bytes: u64) -> Result<Option<Bytes>, PortError>;

    /// Names under `prefix`, in order, at most 10 000.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, PortError>;

    /// Removes an object; one that is not there is removed already.
    async fn delete(&self, key: &str) -> Result<(), PortError>;

    /// Removes what lies under `prefix` and is not in `keep` (whole names); how many objects that were. What is referenced
    /// belongs into `keep`: an empty one, or a name outside `prefix`, is a mistake of the caller, and nothing is removed.
    /// What was put after the call began stays. Dropped or failing, it has removed some of them; repeating it goes on.
    async fn prune(&self, prefix: &str, keep: &[String]) -> Result<usize, PortError> {
        if keep.is_empty() || !keep.iter().all(|key| key.starts_with(prefix)) {
            let message =
                format!("pruning `{prefix}`: what is to stay must be named, and lie there; nothing was removed");
            return Err(PortError { name: "BadPrune".into(), message, retry: Retry::Never });
        }
        let mut removed = 0;
        for key in self.list(prefix).await?.into_iter().filter(|key| !keep.contains(key)) {
            self.delete(&key).await?;
            removed += 1;
        }
        Ok(removed)
    }
}

/// Others' buckets, anonymously. Everything read here is hostile.
#[async_trait]
pub trait PublicBuckets: Send + Sync {
    /// Reads an object within `limits`; `None` if there is none.
    async fn get(&self, bucket: &BucketAddress, key: &str, limits: ReadLimits) -> Result<Option<Bytes>, PortError>;

    /// Reads an object whose BLAKE3 hash is known; bytes of another hash are the error `WrongHash`. A real implementation
    /// hashes in step with the download.
    async fn get_hashed(
        &self,
        bucket: &BucketAddress,
        key: &str,
        limits: ReadLimits,
        hash: &Hash,
    ) -> Result<Option<Bytes>, PortError> {
        let found = self.get(bucket, key, limits).await?;
        if found.as_ref().is_some_and(|bytes| Hash::of(bytes) != *hash) {
            let message = format!("reading `{key}` in bucket `{bucket}`: it is not the object of hash {hash}");
            return Err(PortError { name: "WrongHash".into(), message, retry: Retry::Never });
        }
        Ok(found)
    }
}

/// What a read of a stranger's object may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// A longer object is refused, before its body is read where the server states the length.
    pub max_bytes: u64,
    /// The whole read, from the request to the last byte.
    pub deadline: Duration,
    /// After the first 5 seconds, a body slower than this on average is given up (a drip of a few bytes would otherwise
    /// use the whole deadline).
    pub min_bytes_per_second: u64,
}

/// Where a bucket is: its name, and a region where it is not the default. Endpoints are the reader's own configuration,
/// never a stranger's text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketAddress {
    /// Bucket name as AWS allows it: 3–63 characters of `a-z 0-9 . -`.
    pub name: String,
    /// Region, if not the reader's default.
    pub region: Option<String>,
}

impl BucketAddress {
    /// Reads a commitment: `NAME` as in the original, or `NAME@REGION`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, region) = text.split_once('@').map_or((text, None), |(n, r)| (n, Some(r)));
        let ok = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let edge = |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let bytes = name.as_bytes();
        let labels_ok = !name.contains("..") && !name.contains(".-") && !name.contains("-.");
        let name_ok = (3..=63).contains(&bytes.len())
            && bytes.iter().all(|c| ok(*c) || *c == b'.')
            && edge(bytes.first())
            && edge(bytes.last())
            && labels_ok
            && name.parse::<std::net::Ipv4Addr>().is_err();
        if !name_ok {
            return Err("a bucket name has 3 to 63 characters a-z, 0-9, `-` and `.`".into());
        }
        if region.is_some_and(|r| r.is_empty() || r.len() > 32 || !r.bytes().all(ok)) {
            return Err("a region has up to 32 characters a-z, 0-9 and `-`".into());
        }
        Ok(Self { name: name.into(), region: region.map(Into::into) })
    }
}

impl std::fmt::Display for BucketAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.region {
            None => f.write_str(&self.name),
            Some(region) => write!(f, "{}@{region}", self.name),
        }
    }
}

/// The dataset, page by page.
#[async_trait]
pub trait Pages: Send + Sync {
    /// Configs and row counts, pinned for the run.
    fn index(&self) -> &DatasetIndex;

    /// The page's documents, tokenised and packed into sequences of the run's length. The same page gives the same tokens
    /// on every machine.
    async fn page(&self, page: &PageId) -> Result<TokenBatch, PortError>;

    /// Says which pages will be asked for next, soonest first, so that they can be made ready meanwhile. What an earlier
    /// call named and this one does not is no longer wanted. Pages that prepare nothing ahead ignore it. Returns at once.
    fn want(&self, _next: &[PageId]) {}

    /// For how long all calls of [`Pages::page`] together have waited so far.
    fn waited(&self) -> Duration {
        Duration::ZERO
    }
}

/// What one optimizer step reported.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Mean loss of the batch before the step, nats a token.
    pub loss: f64,
    /// Tokens predicted.
    pub tokens: usize,
}

/// The model on its device. Calls compute for long and block: the loops run them off the async threads.
pub trait Learner: Send {
    /// Names and shapes of the weights.
    fn spec(&self) -> ModelSpec;

    /// Replaces all weights, bit for bit. Optimizer state stays, unless the learner was told otherwise. Gradients that were
    /// gathered for a step to come are dropped.
    fn load(&mut self, params: &Params) -> Result<(), PortError>;

    /// Replaces all weights by `base + scale · delta`, with the bits of [`Params::plus_scaled`]. A learner may hold both, to
    /// try another scale or to go back to `base` ([`Self::load`]) without moving them to its device again.
    fn load_sum(&mut self, base: &Params, delta: &Params, scale: f32) -> Result<(), PortError> {
        self.load(&base.plus_scaled(delta, scale))
    }

    /// Copies all weights to the host, bit for bit.
    fn params(&self) -> Result<Params, PortError>;

    /// Mean cross-entropy over `batch` in nats a predicted token, without gradients; NaN or infinite if the weights make
    /// it so. `batch` is not empty.
    fn loss(&mut self, batch: &TokenBatch) -> Result<f64, PortError>;

    /// One optimizer step on `batch`, or its share of one if the learner gathers larger batches. A loss or gradient that is
    /// not finite never reaches the weights: that is an error and leaves them as they were.
    fn train_step(&mut self, batch: &TokenBatch) -> Result<StepReport, PortError>;

    /// Forgets the optimizer's state, unless the learner was told to keep it.
    fn reset_optimizer(&mut self);
}

/// Time, as an argument.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch, for records that people read.
    fn unix_millis(&self) -> u64;

    /// Time since some moment of the past, for measuring how long things take; it never goes back. By default as fine as
    /// [`Self::unix_millis`].
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.unix_millis())
    }

    /// Waits.
    async fn sleep(&self, duration: Duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_bucket_names_are_refused() {
        for bad in [
            "",
            "ab",
            "Bucket",
            "a/b",
            "../x",
            "a..b",
            "169.254.169.254",
            "http://x",
            "-ab",
            "ab-",
            "a b c",
            "x@",
            "x@y/z",
            "abc@EU",
            &"a".repeat(64),
            "abc\n",
            "abc@us-east-1@x",
        ] {
            assert!(BucketAddress::parse(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn a_bucket_address_survives_its_text() {
        for good in ["decis", "my-bucket.eu", "abc@eu-central-1"] {
            assert_eq!(BucketAddress::parse(good).unwrap().to_string(), good);
        }
    }

    #[test]
    fn authority_is_stake_among_the_permitted() {
        let neuron = |uid, stake, validator_permit| Neuron {
            uid: Uid(uid),
            hotkey: Hotkey([uid as u8; 32]),
            stake,
            validator_permit,
            last_update: Block(0),
        };
        let metagraph = Metagraph {
            netuid: NetUid(1),
            block: Block(1),
            neurons: vec![neuron(0, 5, true), neuron(1, 9, false), neuron(2, 7, true), neuron(3, 7, true)],
            weights_rate_limit: 0,
            min_allowed_weights: 0,
            max_weight: u16::MAX,
            stake_threshold: 0,
            block_time: Duration::from_secs(12),
            tempo: 10,
            commit_reveal: false,
        };
        let order: Vec<_> = metagraph.by_authority().iter().map(|n| n.uid.0).collect();
        assert_eq!(order, [2, 3, 0]);
    }
}
