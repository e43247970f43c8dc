//! Large objects go up in parts, several at a time. Nobody sees the object before the last part is there; parts of an upload
//! that failed, or whose caller went away, are taken back, since a server keeps (and bills) them for ever.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bistro_core::ports::Put;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::runtime::Handle;

use crate::error::{Place, StorageError, refusal};
use crate::own::S3OwnBucket;

/// Bytes of a part; what is not longer goes up whole.
pub(crate) const PART: u64 = 16 << 20;

/// S3's own least size of a part.
pub(crate) const LEAST: u64 = 5 << 20;

/// Parts in flight at a time.
const PARALLEL: usize = 4;

/// Stores `body` in parts of `part` bytes.
pub(crate) async fn put(own: &S3OwnBucket, at: &Place, body: &Bytes, mode: Put, part: u64) -> Result<(), StorageError> {
    let length = body.len() as u64;
    // Asked first, so that a restart does not send a gigabyte only to hear that it is there.
    if mode == Put::Immutable && own.length(at).await?.is_some() {
        return own.expect_length(at, length).await;
    }
    let upload = Upload::begin(&own.client, at).await?;
    let outcome = upload.send(body, mode, part as usize).await;
    match outcome {
        Ok(()) => {
            upload.forget();
            Ok(())
        }
        Err(Failed { status, code, error }) => {
            upload.abort().await;
            // 409, 412: the object came into being meanwhile. NoSuchUpload: an answer got lost, and the first attempt did it.
            if (mode == Put::Immutable && matches!(status, Some(409 | 412))) || code == "NoSuchUpload" {
                own.expect_length(at, length).await
            } else {
                Err(error)
            }
        }
    }
}

/// Begins an upload and takes it back: whether both are allowed.
pub(crate) async fn begin_and_abort(own: &S3OwnBucket, at: &Place) -> Result<(), StorageError> {
    let mut upload = Upload::begin(&own.client, at).await?;
    upload.open = false;
    take_back(&own.client, at, &upload.id).await
}

/// Why a call of an upload failed.
type Failed = crate::error::Refusal;

/// An upload that the server knows of. Dropped unfinished, it is aborted in the background.
struct Upload {
    client: Client,
    at: Place,
    id: String,
    open: bool,
}

impl Upload {
    async fn begin(client: &Client, at: &Place) -> Result<Self, StorageError> {
        let begun = client.create_multipart_upload().bucket(&at.bucket.name).key(&at.key).send().await;
        let begun = begun.map_err(|error| refusal(at, &error).error)?;
        let why = || StorageError::Malformed { at: at.clone(), why: "it names no upload".into() };
        let id = begun.upload_id.ok_or_else(why)?;
        Ok(Self { client: client.clone(), at: at.clone(), id, open: true })
    }

    async fn send(&self, body: &Bytes, mode: Put, part: usize) -> Result<(), Failed> {
        let starts = (0..body.len()).step_by(part);
        let parts = starts.zip(1..).map(|(start, number)| {
            let end = body.len().min(start + part);
            self.part(number, body.slice(start..end))
        });
        let parts: Vec<_> = stream::iter(parts).buffered(PARALLEL).try_collect().await?;
        let condition = (mode == Put::Immutable).then(|| "*".to_owned());
        match self.complete(parts.clone(), condition).await {
            // A server that does not know the condition; see `put_whole`.
            Err(Failed { status: Some(501), .. }) if mode == Put::Immutable => self.complete(parts, None).await,
            outcome => outcome,
        }
    }

    async fn part(&self, number: i32, body: Bytes) -> Result<CompletedPart, Failed> {
        let request = self.client.upload_part().bucket(&self.at.bucket.name).key(&self.at.key).upload_id(&self.id);
        let sent = request.part_number(number).body(ByteStream::from(body)).send().await;
        let sent = sent.map_err(|error| refusal(&self.at, &error))?;
        Ok(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build())
    }

    async fn complete(&self, parts: Vec<CompletedPart>, if_none_match: Option<String>) -> Result<(), Failed> {
        let whole = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self.client.complete_multipart_upload().bucket(&self.at.bucket.name).key(&self.at.key);
        let request = request.upload_id(&self.id).multipart_upload(whole).set_if_none_match(if_none_match);
        request.send().await.map(|_| ()).map_err(|error| refusal(&self.at, &error))
    }

    fn forget(mut self) {
        self.open = false;
    }

    async fn abort(mut self) {
        self.open = false;
        take_back_or_warn(self.client.clone(), self.at.clone(), self.id.clone()).await;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let (true, Ok(runtime)) = (self.open, Handle::try_current()) {
            runtime.spawn(take_back_or_warn(self.client.clone(), self.at.clone(), self.id.clone()));
        }
    }
}

async fn take_back(client: &Client, at: &Place, id: &str) -> Result<(), StorageError> {
    let request = client.abort_multipart_upload().bucket(&at.bucket.name).key(&at.key).upload_id(id);
    request.send().await.map(|_| ()).map_err(|error| refusal(at, &error).error)
}

async fn take_back_or_warn(client: Client, at: Place, id: String) {
    if let Err(error) = take_back(&client, &at, &id).await {
        tracing::warn!(%error, "parts of an unfinished upload stay in the bucket: let a lifecycle rule remove them");
    }
}
