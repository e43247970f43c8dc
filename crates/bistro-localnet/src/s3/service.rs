//! The S3 operations. Who may call them was decided before; see `access`.

use std::io::{Seek as _, SeekFrom};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
    CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, ETagCondition,
    GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput,
    ListObjectsV2Input, ListObjectsV2Output, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp,
    UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::listing;
use super::store::{Object, Store, WriteCondition, names, on, strong};
use super::upload::{UploadOf, Uploads};

/// Bytes read from disk at a time: with a few KiB, as is usual, the reads and not the disk set the pace.
const READ: usize = 1 << 20;

/// All operations on one store.
pub(crate) struct Operations {
    store: Arc<Store>,
    uploads: Arc<Uploads>,
}

impl Operations {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, uploads: Arc::default() }
    }

    async fn object(&self, bucket: String, key: String) -> S3Result<Object> {
        on(&self.store, move |store| store.object(&bucket, &key)).await
    }
}

/// What a reader knows of the object already.
struct ReadCondition {
    matches: Option<ETagCondition>,
    none_match: Option<ETagCondition>,
    modified_since: Option<Timestamp>,
    unmodified_since: Option<Timestamp>,
}

impl ReadCondition {
    /// RFC 9110, section 13.2.2: a tag is stronger than a time.
    fn check(&self, object: &Object) -> S3Result<()> {
        // Times travel in whole seconds.
        let modified = Timestamp::from(whole_seconds(object.modified));
        let changed = match (&self.matches, &self.unmodified_since) {
            (Some(wanted), _) => !names(wanted, &object.etag),
            (None, Some(since)) => modified > *since,
            (None, None) => false,
        };
        let known = match (&self.none_match, &self.modified_since) {
            (Some(unwanted), _) => names(unwanted, &object.etag),
            (None, Some(since)) => modified <= *since,
            (None, None) => false,
        };
        match (changed, known) {
            (true, _) => Err(s3_error!(PreconditionFailed)),
            (_, true) => Err(s3_error!(NotModified)),
            _ => Ok(()),
        }
    }
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

fn signed(length: u64) -> S3Result<i64> {
    i64::try_from(length).map_err(S3Error::internal_error)
}

#[async_trait::async_trait]
impl S3 for Operations {
    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        let mut object = self.object(input.bucket, input.key).await?;
        ReadCondition {
            matches: input.if_match,
            none_match: input.if_none_match,
            modified_since: input.if_modified_since,
            unmodified_since: input.if_unmodified_since,
        }
        .check(&object)?;
        let range = input.range.map_or(Ok(0..object.length), |range| range.check(object.length))?;
        let content_range =
            input.range.map(|_| format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), object.length));
        object.file.seek(SeekFrom::Start(range.start)).map_err(S3Error::internal_error)?;
        let length = range.end - range.start;
        let mut file = tokio::fs::File::from_std(object.file);
        file.set_max_buf_size(READ);
        let body = ReaderStream::with_capacity(file.take(length), READ);
        Ok(S3Response::new(GetObjectOutput {
            body: Some(StreamingBlob::wrap(body)),
            accept_ranges: Some("bytes".into()),
            content_length: Some(signed(length)?),
            content_range,
            e_tag: Some(strong(&object.etag)),
            last_modified: Some(object.modified.into()),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        let object = self.object(input.bucket, input.key).await?;
        ReadCondition {
            matches: input.if_match,
            none_match: input.if_none_match,
            modified_since: input.if_modified_since,
            unmodified_since: input.if_unmodified_since,
        }
        .check(&object)?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".into()),
            content_length: Some(signed(object.length)?),
            e_tag: Some(strong(&object.etag)),
            last_modified: Some(object.modified.into()),
            ..HeadObjectOutput::default()
        }))
    }

    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let PutObjectInput { body, bucket, key, if_match, if_none_match, .. } = req.input;
        let file = self.store.receive(body).await?;
        let condition = WriteCondition { if_match, if_none_match };
        let etag = on(&self.store, move |store| store.commit(file, &bucket, &key, &condition)).await?;
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(strong(&etag)), ..PutObjectOutput::default() }))
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let DeleteObjectInput { bucket, key, .. } = req.input;
        on(&self.store, move |store| store.delete(&bucket, &key)).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        let exists = self.store.has_bucket(&req.input.bucket);
        exists.then(|| S3Response::new(HeadBucketOutput::default())).ok_or_else(|| s3_error!(NoSuchBucket))
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let (bucket, prefix) = (req.input.bucket.clone(), req.input.prefix.clone().unwrap_or_default());
        let entries = on(&self.store, move |store| store.entries(&bucket, &prefix)).await?;
        Ok(S3Response::new(listing::page(entries, req.input)))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let CreateMultipartUploadInput { bucket, key, .. } = req.input;
        let id = self.uploads.begin(&self.store, bucket.clone(), key.clone())?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let UploadPartInput { body, bucket, key, upload_id, part_number, .. } = req.input;
        let part = self.store.receive(body).await?;
        let of = UploadOf { id: &upload_id, bucket: &bucket, key: &key };
        let etag = self.uploads.keep(&of, part_number, part)?;
        Ok(S3Response::new(UploadPartOutput { e_tag: Some(strong(&etag)), ..UploadPartOutput::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let CompleteMultipartUploadInput { bucket, key, upload_id, multipart_upload, if_match, if_none_match, .. } =
            req.input;
        let parts = multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let condition = WriteCondition { if_match, if_none_match };
        let uploads = self.uploads.clone();
        let (bucket_, key_) = (bucket.clone(), key.clone());
        let etag = on(&self.store, move |store| {
            let of = UploadOf { id: &upload_id, bucket: &bucket_, key: &key_ };
            let whole = uploads.join(store, &of, &parts)?;
            let etag = store.commit(whole, &bucket_, &key_, &condition)?;
            uploads.end(&of)?;
            Ok(etag)
        })
        .await?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            e_tag: Some(strong(&etag)),
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let AbortMultipartUploadInput { bucket, key, upload_id, .. } = req.input;
        self.uploads.end(&UploadOf { id: &upload_id, bucket: &bucket, key: &key })?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}
