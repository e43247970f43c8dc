//! Who may do what: strangers read objects by name, an account does as it likes in its own bucket.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

use super::store::Store;

/// What a stranger may do with an object whose name it knows.
const PUBLIC: [&str; 2] = ["GetObject", "HeadObject"];

struct Account {
    secret: SecretKey,
    bucket: String,
}

/// All accounts, by access key. A clone is another handle on the same ones.
#[derive(Clone, Default)]
pub(crate) struct Accounts(Arc<RwLock<HashMap<String, Account>>>);

impl Accounts {
    pub(crate) fn insert(&self, access_key: &str, secret_key: &str, bucket: &str) {
        let account = Account { secret: secret_key.into(), bucket: bucket.to_owned() };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(access_key.to_owned(), account);
    }

    fn owns(&self, access_key: &str, bucket: &str) -> bool {
        let accounts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        accounts.get(access_key).is_some_and(|account| account.bucket == bucket)
    }
}

#[async_trait::async_trait]
impl S3Auth for Accounts {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let accounts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let unknown = || s3_error!(InvalidAccessKeyId, "there is no such account");
        accounts.get(access_key).map(|account| account.secret.clone()).ok_or_else(unknown)
    }
}

/// Asked before every operation, once the signature (if there is one) has been found right.
pub(crate) struct Gate {
    pub(crate) accounts: Accounts,
    pub(crate) store: Arc<Store>,
}

#[async_trait::async_trait]
impl S3Access for Gate {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(bucket) = cx.s3_path().get_bucket_name() else {
            return Err(s3_error!(AccessDenied, "only objects and one's own bucket can be asked for"));
        };
        let owner = cx.credentials().is_some_and(|who| self.accounts.owns(&who.access_key, bucket));
        if owner || PUBLIC.contains(&cx.s3_op().name()) {
            return Ok(());
        }
        // Whoever signs and errs in the name should hear that, not that something is forbidden.
        if cx.credentials().is_some() && !self.store.has_bucket(bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        Err(s3_error!(AccessDenied, "the bucket belongs to another account"))
    }
}
