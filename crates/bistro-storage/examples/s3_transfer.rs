//! Moves one object, for `scripts/bench/s3.sh`: a file into the own bucket, or a public object into memory with its hash
//! checked on the way, as the programs do. Endpoint, region and keys come from AWS's variables.
//!
//! ```text
//! s3_transfer open BUCKET                  # lets the public read it
//! s3_transfer put BUCKET KEY FILE
//! s3_transfer hash FILE                   # writes FILE.hash
//! s3_transfer get BUCKET KEY FILE         # of the hash in FILE.hash
//! s3_transfer get BUCKET KEY FILE COPY    # and writes them to COPY
//! ```

use std::env::args;
use std::time::Duration;

use bistro_core::ids::Hash;
use bistro_core::ports::{BucketAddress, OwnBucket as _, PublicBuckets as _, Put, ReadLimits};
use bistro_storage::check::policy;
use bistro_storage::{S3Config, S3OwnBucket, S3PublicBuckets};
use bytes::Bytes;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let words: Vec<String> = args().skip(1).collect();
    let config = S3Config::from_environment().await;
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["put", bucket, key, file] => {
            let own = S3OwnBucket::connect(BucketAddress::parse(bucket)?, &config).await;
            own.put(key, std::fs::read(file)?.into(), Put::Replace).await?;
        }
        ["open", bucket] => {
            let own = S3OwnBucket::connect(BucketAddress::parse(bucket)?, &config).await;
            own.put("bistro/v1/first", Bytes::new(), Put::Replace).await?;
            own.set_policy(&policy::for_the_public(bucket)).await?;
        }
        ["hash", file] => {
            std::fs::write(format!("{file}.hash"), Hash::of(&std::fs::read(file)?).to_string())?;
        }
        ["get", bucket, key, file, copy @ ..] => {
            let hash: Hash = std::fs::read_to_string(format!("{file}.hash"))?.parse()?;
            let max_bytes = std::fs::metadata(file)?.len();
            let limits = ReadLimits { max_bytes, deadline: Duration::from_mins(5), min_bytes_per_second: 1 };
            let public = S3PublicBuckets::new(&config);
            let bytes = public.get_hashed(&BucketAddress::parse(bucket)?, key, limits, &hash).await?;
            let bytes = bytes.ok_or("there is no such object")?;
            if let [copy] = copy {
                std::fs::write(copy, &bytes)?;
            }
        }
        _ => return Err("usage: s3_transfer open BUCKET, put|get BUCKET KEY FILE [COPY], or hash FILE".into()),
    }
    Ok(())
}
