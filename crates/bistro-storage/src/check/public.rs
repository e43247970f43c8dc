//! What the public may do, which is to read one prefix, and what it must not.

use std::error::Error;
use std::future::Future;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use bistro_core::ports::{OwnBucket as _, PortError, PublicBuckets as _, Put, ReadLimits};
use tokio::time::timeout;

use super::{PATIENCE, PREFIX, Run, Verdict};
use crate::error::{Place, StorageError, refusal};

/// How an attempt ended that should have been refused.
enum Attempt {
    Refused,
    Done,
    Unclear(String),
}

impl Run<'_> {
    /// All checks of the public. Without the owner's object (`written`) there is nothing to read or delete.
    pub(super) async fn strangers(&mut self, written: bool) {
        if written {
            self.read().await;
            self.read_elsewhere().await;
        }
        self.write().await;
        self.begin_upload().await;
        self.list().await;
        if written {
            self.remove().await;
        }
    }

    fn limits() -> ReadLimits {
        ReadLimits { max_bytes: 1000, deadline: PATIENCE, min_bytes_per_second: 1 }
    }

    async fn read(&mut self) {
        match self.public.get(&self.own.address(), &self.key("small"), Self::limits()).await {
            Ok(Some(found)) if found == self.small() => {
                self.pass("public_get", format!("the public can read `{PREFIX}`"));
            }
            Ok(_) => {
                self.fail("public_get", "the public reads something else than you wrote: is there a cache between?");
            }
            Err(PortError { name, .. }) if name == "AccessDenied" => {
                let detail =
                    format!("the public cannot read `{PREFIX}`, so nobody sees your objects: set the policy below");
                self.fail("public_get", detail);
            }
            Err(error) => self.fail("public_get", error.message),
        }
    }

    /// What else lies in the bucket is nobody's business.
    async fn read_elsewhere(&mut self) {
        let name = "public_get_elsewhere";
        let key = self.key_elsewhere();
        if self.own.put(&key, self.small(), Put::Replace).await.is_err() {
            return self.pass(name, format!("nothing can be written outside `{PREFIX}`, so nothing is shown there"));
        }
        match self.public.get(&self.own.address(), &key, Self::limits()).await {
            Ok(Some(_)) => {
                let detail =
                    format!("the public can also read what lies outside `{PREFIX}`: keep nothing else in this bucket");
                self.note(name, Verdict::Warn, detail);
            }
            Err(error) if error.name != "AccessDenied" => self.fail(name, error.message),
            _ => self.pass(name, format!("the public cannot read outside `{PREFIX}`")),
        }
    }

    async fn write(&mut self) {
        let key = self.key("stranger");
        let body = ByteStream::from_static(b"written without keys");
        let request = self.stranger.put_object().bucket(&self.own.address().name).key(&key).body(body).send();
        let attempt = self.attempt(&key, request).await;
        self.must_be_refused("public_put", attempt, "write", "anybody can replace your delta and fill your bucket");
    }

    async fn begin_upload(&mut self) {
        let (key, bucket) = (self.key("stranger"), self.own.address().name);
        let request = self.stranger.create_multipart_upload().bucket(&bucket).key(&key).send();
        let mut id = None;
        let attempt = self.attempt(&key, async { request.await.map(|begun| id = begun.upload_id) }).await;
        if let Some(id) = id {
            let abort = self.own.client.abort_multipart_upload().bucket(&bucket).key(&key).upload_id(id);
            let _ = timeout(PATIENCE, abort.send()).await;
        }
        self.must_be_refused("public_multipart", attempt, "begin uploads", "their parts are stored and billed");
    }

    async fn list(&mut self) {
        let request = self.stranger.list_objects_v2().bucket(&self.own.address().name).max_keys(1).send();
        let attempt = self.attempt("", request).await;
        self.must_be_refused(
            "public_list",
            attempt,
            "list",
            "names that are not published can be found, at your expense",
        );
    }

    async fn remove(&mut self) {
        let key = self.key("small");
        let request = self.stranger.delete_object().bucket(&self.own.address().name).key(&key).send();
        let attempt = match self.attempt(&key, request).await {
            // Some servers say yes and do nothing.
            Attempt::Done if matches!(self.own.get(&key, 1000).await, Ok(Some(_))) => Attempt::Refused,
            attempt => attempt,
        };
        self.must_be_refused("public_delete", attempt, "delete", "anybody can take your delta away");
    }

    async fn attempt<T, E>(&self, key: &str, request: impl Future<Output = Result<T, SdkError<E>>>) -> Attempt
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let at = Place::trying(&self.own.address(), key);
        match timeout(PATIENCE, Box::pin(request)).await {
            Ok(Ok(_)) => Attempt::Done,
            Err(_) => Attempt::Unclear(StorageError::Deadline { at, after: PATIENCE }.to_string()),
            Ok(Err(error)) => match refusal(&at, &error).error {
                StorageError::AccessDenied { .. } | StorageError::Server { status: 400 | 405 | 501, .. } => {
                    Attempt::Refused
                }
                error => Attempt::Unclear(error.to_string()),
            },
        }
    }

    fn must_be_refused(&mut self, name: &'static str, attempt: Attempt, deed: &str, harm: &str) {
        match attempt {
            Attempt::Refused => self.pass(name, format!("the public cannot {deed}")),
            Attempt::Done => {
                let remedy = "remove the policy statement or ACL that allows it, and set the policy below";
                self.fail(name, format!("the public can {deed}: {harm}; {remedy}"));
            }
            Attempt::Unclear(why) => self.fail(name, format!("whether the public can {deed} could not be told: {why}")),
        }
    }
}
