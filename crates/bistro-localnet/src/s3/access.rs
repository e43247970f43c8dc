//! Who may do what: strangers read one prefix by name unless a bucket says otherwise, an account does as it likes in its own
//! bucket.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

use super::store::Store;

/// What strangers may do in a bucket. The default is what the documentation asks of every bucket: read `bistro/v1/`, and
/// nothing else. The rest is for trying out what happens in a bucket that is set up wrongly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicAccess {
    /// Reads objects whose key begins so; nothing if absent.
    pub read: Option<String>,
    /// Writes objects, whole or in parts.
    pub write: bool,
    /// Lists names.
    pub list: bool,
    /// Deletes objects.
    pub delete: bool,
}

impl Default for PublicAccess {
    fn default() -> Self {
        Self { read: Some("bistro/v1/".into()), write: false, list: false, delete: false }
    }
}

impl PublicAccess {
    fn allows(&self, operation: &str, key: Option<&str>) -> bool {
        match operation {
            "GetObject" | "HeadObject" => {
                self.read.as_deref().zip(key).is_some_and(|(prefix, key)| key.starts_with(prefix))
            }
            "PutObject" | "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload" => self.write,
            "ListObjectsV2" => self.list,
            "DeleteObject" => self.delete,
            _ => false,
        }
    }
}

struct Account {
    secret: SecretKey,
    bucket: String,
}

/// All accounts, by access key, and what strangers may do, by bucket where it is not the default. A clone is another handle
/// on the same ones.
#[derive(Clone, Default)]
pub(crate) struct Accounts {
    accounts: Arc<RwLock<HashMap<String, Account>>>,
    public: Arc<RwLock<HashMap<String, PublicAccess>>>,
}

impl Accounts {
    pub(crate) fn insert(&self, access_key: &str, secret_key: &str, bucket: &str) {
        let account = Account { secret: secret_key.into(), bucket: bucket.to_owned() };
        self.accounts.write().unwrap_or_else(PoisonError::into_inner).insert(access_key.to_owned(), account);
    }

    pub(crate) fn set_public(&self, bucket: &str, access: PublicAccess) {
        self.public.write().unwrap_or_else(PoisonError::into_inner).insert(bucket.to_owned(), access);
    }

    fn owns(&self, access_key: &str, bucket: &str) -> bool {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        accounts.get(access_key).is_some_and(|account| account.bucket == bucket)
    }

    fn public_may(&self, bucket: &str, operation: &str, key: Option<&str>) -> bool {
        let public = self.public.read().unwrap_or_else(PoisonError::into_inner);
        match public.get(bucket) {
            Some(access) => access.allows(operation, key),
            None => PublicAccess::default().allows(operation, key),
        }
    }
}

#[async_trait::async_trait]
impl S3Auth for Accounts {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
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
        let path = cx.s3_path();
        let Some(bucket) = path.get_bucket_name() else {
            return Err(s3_error!(AccessDenied, "only objects and one's own bucket can be asked for"));
        };
        let key = path.as_object().map(|(_, key)| key);
        let owner = cx.credentials().is_some_and(|who| self.accounts.owns(&who.access_key, bucket));
        if owner || self.accounts.public_may(bucket, cx.s3_op().name(), key) {
            return Ok(());
        }
        // Whoever signs and errs in the name should hear that, not that something is forbidden.
        if cx.credentials().is_some() && !self.store.has_bucket(bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        Err(s3_error!(AccessDenied, "the bucket belongs to another account"))
    }
}
