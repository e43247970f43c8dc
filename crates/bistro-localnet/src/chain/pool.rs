//! Transactions that wait for a block.

use super::{
    error::ChainError,
    ledger::{Building, Ledger},
    runtime::{AccountId, BlockNumber, Executive, Hash, Nonce, UncheckedExtrinsic},
};
use codec::{Decode, Encode};
use serde::Serialize;
use sp_runtime::{
    traits::{BlakeTwo256, Hash as _, Header as _},
    transaction_validity::{
        InvalidTransaction, TransactionSource, TransactionValidityError, UnknownTransaction, ValidTransaction,
    },
};
use std::collections::{HashSet, VecDeque};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The most transactions that wait.
const MOST_WAITING: usize = 8192;
/// Transactions remembered after they left the pool, so that they are not taken twice.
const MOST_BANNED: usize = 4096;

/// What a watcher of a transaction is told, in the words of Substrate's RPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum TxStatus {
    /// An earlier nonce is missing.
    Future,
    /// Would go into the next block.
    Ready,
    /// In this block.
    InBlock(Hash),
    /// In this block no more: another has its place.
    Retracted(Hash),
    /// In this block, which is final.
    Finalized(Hash),
    /// Replaced by this transaction.
    Usurped(Hash),
    /// No longer valid.
    Invalid,
    /// Thrown out of the pool.
    Dropped,
}

impl TxStatus {
    /// Whether nothing follows it.
    pub(crate) fn is_last(&self) -> bool {
        matches!(self, Self::Finalized(_) | Self::Usurped(_) | Self::Invalid | Self::Dropped)
    }
}

/// Why a transaction was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubmitError {
    #[error("Extrinsic has invalid format: {0}")]
    BadFormat(String),
    #[error("Invalid Transaction")]
    Invalid(InvalidTransaction),
    #[error("Unknown Transaction Validity")]
    Unknown(UnknownTransaction),
    #[error("Transaction is temporarily banned")]
    Banned,
    #[error("Transaction Already Imported")]
    AlreadyImported(Hash),
    #[error("Priority is too low: ({new} vs {old})")]
    TooLowPriority { new: u64, old: u64 },
    #[error("Immediately Dropped")]
    Full,
    #[error("{0}")]
    Runtime(String),
}

impl From<ChainError> for SubmitError {
    fn from(error: ChainError) -> Self {
        Self::Runtime(error.to_string())
    }
}

#[derive(Debug)]
struct Waiting {
    hash: Hash,
    transaction: UncheckedExtrinsic,
    valid: ValidTransaction,
    /// Last block that may include it.
    until: BlockNumber,
    ready: bool,
    watchers: Vec<UnboundedSender<TxStatus>>,
}

impl Waiting {
    fn tell(&self, status: &TxStatus) {
        for watcher in &self.watchers {
            // A watcher who has gone does not need to know.
            let _ = watcher.send(status.clone());
        }
    }
}

/// The pool, in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    waiting: Vec<Waiting>,
    banned: VecDeque<Hash>,
}

/// The transactions that went into a block, until it is final or taken back.
#[derive(Debug, Default)]
pub(crate) struct Included(Vec<Waiting>);

impl Included {
    /// Tells the watchers what became of them.
    pub(crate) fn tell(&self, status: &TxStatus) {
        for transaction in &self.0 {
            transaction.tell(status);
        }
    }
}

impl Pool {
    /// Validates an encoded transaction on the newest state and takes it. The receiver tells its fate.
    pub(crate) fn submit(
        &mut self,
        ledger: &Ledger,
        bytes: &[u8],
    ) -> Result<(Hash, UnboundedReceiver<TxStatus>), SubmitError> {
        let transaction =
            UncheckedExtrinsic::decode(&mut &bytes[..]).map_err(|e| SubmitError::BadFormat(e.to_string()))?;
        let hash = BlakeTwo256::hash(bytes);
        if self.banned.contains(&hash) {
            return Err(SubmitError::Banned);
        }
        if self.waiting.iter().any(|w| w.hash == hash) {
            return Err(SubmitError::AlreadyImported(hash));
        }
        let head = ledger.head();
        let valid = ledger.query(head, || {
            Executive::validate_transaction(TransactionSource::External, transaction.clone(), head.hash)
        })?;
        let valid = match valid {
            Ok(valid) => valid,
            Err(TransactionValidityError::Invalid(why)) => return Err(SubmitError::Invalid(why)),
            Err(TransactionValidityError::Unknown(why)) => return Err(SubmitError::Unknown(why)),
        };
        self.make_room(hash, &valid)?;
        let until = u64::from(*head.header.number()).saturating_add(valid.longevity);
        let until = BlockNumber::try_from(until).unwrap_or(BlockNumber::MAX);
        let (watcher, fate) = unbounded_channel();
        self.waiting.push(Waiting { hash, transaction, valid, until, ready: false, watchers: vec![watcher] });
        self.mark_ready();
        if let Some(new) = self.waiting.iter().find(|w| w.hash == hash && !w.ready) {
            new.tell(&TxStatus::Future);
        }
        Ok((hash, fate))
    }

    /// A transaction in the place of another (same signer and nonce) must have a higher priority.
    fn make_room(&mut self, hash: Hash, valid: &ValidTransaction) -> Result<(), SubmitError> {
        let rival = self.waiting.iter().position(|w| w.valid.provides.iter().any(|tag| valid.provides.contains(tag)));
        if let Some(rival) = rival {
            let (new, old) = (valid.priority, self.waiting[rival].valid.priority);
            if new <= old {
                return Err(SubmitError::TooLowPriority { new, old });
            }
            self.waiting.remove(rival).tell(&TxStatus::Usurped(hash));
        }
        if self.waiting.len() >= MOST_WAITING {
            return Err(SubmitError::Full);
        }
        Ok(())
    }

    /// Marks what has all it requires, and tells its watchers.
    fn mark_ready(&mut self) {
        let mut provided: HashSet<Vec<u8>> =
            self.waiting.iter().filter(|w| w.ready).flat_map(|w| w.valid.provides.clone()).collect();
        while let Some(next) =
            self.waiting.iter_mut().find(|w| !w.ready && w.valid.requires.iter().all(|tag| provided.contains(tag)))
        {
            next.ready = true;
            provided.extend(next.valid.provides.iter().cloned());
            next.tell(&TxStatus::Ready);
        }
    }

    /// Whether a transaction would go into the next block.
    pub(crate) fn has_ready(&self) -> bool {
        self.waiting.iter().any(|w| w.ready)
    }

    /// Encoded transactions, in order of arrival.
    pub(crate) fn pending(&self) -> Vec<Vec<u8>> {
        self.waiting.iter().map(|w| w.transaction.encode()).collect()
    }

    /// The nonce after those that wait, from the account's own.
    pub(crate) fn next_nonce(&self, account: &AccountId, mut nonce: Nonce) -> Nonce {
        while self.waiting.iter().any(|w| w.valid.provides.contains(&(account, nonce).encode())) {
            nonce += 1;
        }
        nonce
    }

    /// Puts into `block` what fits, and forgets what has become invalid.
    pub(crate) fn fill(&mut self, block: &mut Building<'_>, number: BlockNumber) -> Included {
        let mut included = Vec::new();
        // A transaction may depend on one that arrived later, so go round until a round adds nothing.
        loop {
            let before = included.len();
            for waiting in std::mem::take(&mut self.waiting) {
                match block.apply(&waiting.transaction) {
                    Ok(Ok(_)) => {
                        self.ban(waiting.hash);
                        included.push(waiting);
                    }
                    Ok(Err(TransactionValidityError::Invalid(
                        InvalidTransaction::Future | InvalidTransaction::ExhaustsResources,
                    ))) if number < waiting.until => self.waiting.push(waiting),
                    refused => {
                        tracing::debug!(hash = ?waiting.hash, ?refused, "a transaction is no longer valid");
                        self.ban(waiting.hash);
                        waiting.tell(&TxStatus::Invalid);
                    }
                }
            }
            if included.len() == before {
                break;
            }
        }
        Included(included)
    }

    /// Takes back what was in a block that is no more, before all that waits.
    pub(crate) fn give_back(&mut self, included: Included) {
        self.banned.retain(|hash| !included.0.iter().any(|w| w.hash == *hash));
        self.waiting.splice(..0, included.0);
    }

    /// Forgets what was in a block that is no more; the same bytes may come again.
    pub(crate) fn forget(&mut self, included: &Included) {
        self.banned.retain(|hash| !included.0.iter().any(|w| w.hash == *hash));
        included.tell(&TxStatus::Dropped);
    }

    fn ban(&mut self, hash: Hash) {
        self.banned.push_back(hash);
        if self.banned.len() > MOST_BANNED {
            self.banned.pop_front();
        }
    }
}
