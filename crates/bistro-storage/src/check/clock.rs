//! What time the bucket's server has: it refuses requests that are signed at another.

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use bistro_core::ports::BucketAddress;
use tokio::time::timeout;

use super::{PATIENCE, PREFIX};
use crate::public::S3PublicBuckets;

/// The server's time, seconds since 1970; `None` if it does not say. Asked without keys for an object that nobody has: the
/// date stands in the refusal.
pub async fn server_time(public: &S3PublicBuckets, bucket: &BucketAddress) -> Option<u64> {
    let (client, _) = public.client_of(bucket);
    let request = client.head_object().bucket(&bucket.name).key(format!("{PREFIX}check/clock")).send();
    let refused = timeout(PATIENCE, Box::pin(request)).await.ok()?.err()?;
    let date = refused.raw_response()?.headers().get("date")?;
    u64::try_from(DateTime::from_str(date, Format::HttpDate).ok()?.secs()).ok()
}
