//! What the operator's own keys must be able to do.

use std::time::Instant;

use bistro_core::ports::{OwnBucket as _, Put};
use bytes::Bytes;

use super::{PREFIX, Run, Verdict};
use crate::conformance::body;
use crate::error::Place;
use crate::multipart;

impl Run<'_> {
    /// All checks of the owner; whether writing works, without which little else can be tried.
    pub(super) async fn owner(&mut self) -> bool {
        let (key, small) = (self.key("small"), self.small());
        let put = self.own.put(&key, small.clone(), Put::Replace).await;
        if !self.outcome("put", put, "your keys can write") {
            return false;
        }
        self.once(&key).await;
        match self.own.get(&key, 1000).await {
            Ok(Some(found)) if found == small => self.pass("get", "your keys read what they wrote"),
            Ok(_) => self.fail("get", "what was just written reads otherwise: this server loses or changes objects"),
            Err(error) => self.fail("get", error.message),
        }
        self.parts().await;
        self.abort().await;
        match self.own.list(&self.key("")).await {
            Ok(names) if names.contains(&key) => self.pass("list", "your keys can list"),
            Ok(_) => self.fail("list", format!("the listing of `{PREFIX}` lacks an object that is there")),
            Err(error) => self.fail("list", error.message),
        }
        self.delete().await;
        true
    }

    /// A name that belongs to a content is written once.
    async fn once(&mut self, key: &str) {
        let other = Bytes::from(format!("{}!", self.id));
        match self.own.put(key, other, Put::Immutable).await {
            Err(error) if error.name == "Conflict" => {
                self.pass("put_once", "an object that exists is not written over (If-None-Match)");
            }
            Err(error) => self.fail("put_once", error.message),
            Ok(()) => {
                let ignored =
                    "the server ignores If-None-Match: two programs with the same keys could write over each other";
                self.note("put_once", Verdict::Warn, ignored);
                // What the public should read is the first content.
                let _ = self.own.put(key, self.small(), Put::Replace).await;
            }
        }
    }

    /// A large object in parts, which also measures the line.
    async fn parts(&mut self) {
        let address = self.own.address();
        let at = Place::writing(&address, &self.key("large"));
        let bytes = body(self.large);
        let started = Instant::now();
        let sent = multipart::put(self.own, &at, &bytes, Put::Replace, multipart::LEAST).await;
        let seconds = started.elapsed().as_secs_f64();
        let done = format!("{} MiB went up in parts in {seconds:.1} s", self.large >> 20);
        if self.outcome("multipart", sent.map_err(Into::into), &done) {
            self.speed = Some(self.large as f64 / seconds.max(1e-6));
        }
    }

    /// Parts of an upload that fails are taken back, or the provider keeps and bills them.
    async fn abort(&mut self) {
        let address = self.own.address();
        let at = Place::writing(&address, &self.key("aborted"));
        let outcome = multipart::begin_and_abort(self.own, &at).await;
        self.outcome("abort", outcome.map_err(Into::into), "an upload that fails can be taken back");
    }

    async fn delete(&mut self) {
        let key = self.key("large");
        if let Err(error) = self.own.delete(&key).await {
            return self.fail("delete", error.message);
        }
        match self.own.list(&key).await {
            Ok(names) if names.is_empty() => self.pass("delete", "your keys can delete"),
            Ok(_) => self.fail("delete", "a deleted object is still listed: is versioning or a lock on? Switch it off"),
            Err(error) => self.fail("delete", error.message),
        }
    }
}
