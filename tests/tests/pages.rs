//! One dataset in a bucket, on a server, and on a disk: the same tokens, and every fault of a bucket by its name.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../crates/bistro-pages/tests/server/mod.rs"]
mod server;

use std::path::Path;
use std::sync::Arc;

use bistro_core::pages::PageId;
use bistro_core::ports::{BucketAddress, OwnBucket as _, Pages, Put, Retry};
use bistro_core::tokens::{Packing, TokenBatch};
use bistro_localnet::s3::{LocalS3, LocalS3Config};
use bistro_pages::blobs::s3::{Credentials, S3Options};
use bistro_pages::survey::{self, SurveyOptions};
use bistro_pages::{CorpusOptions, IndexFile, PageOptions, Recipe, SourceOptions, Tokenizer, open};
use bistro_storage::{S3Config, S3OwnBucket};
use server::{DATASET, Server, write_parquet};
use tempfile::TempDir;

const BUCKET: &str = "datasets";
const PREFIX: &str = "bistro/v1/words";

struct World {
    dir: TempDir,
    _objects: TempDir,
    s3: LocalS3,
    server: Server,
    bucket: S3OwnBucket,
}

async fn world() -> World {
    let (dir, objects) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = dir.path().join("data");
    write_parquet(&data.join("aa/train-00000-of-00002.parquet"), "aa", 0..150, 64);
    write_parquet(&data.join("aa/train-00001-of-00002.parquet"), "aa", 150..300, 100);
    write_parquet(&data.join("bb/train-00000-of-00001.parquet"), "bb", 0..200, 1000);
    let listen = "127.0.0.1:0".parse().unwrap();
    let s3 = LocalS3::start(LocalS3Config { dir: objects.path().into(), listen }).await.unwrap();
    s3.add_account("AK", "SK", BUCKET).unwrap();
    let config = S3Config { endpoint_url: Some(s3.endpoint()), credentials: Some(keys("SK")), ..S3Config::default() };
    let bucket = S3OwnBucket::connect(BucketAddress::parse(BUCKET).unwrap(), &config).await;
    for path in server::files(dir.path()).iter().filter(|path| path.ends_with(".parquet")) {
        let bytes = std::fs::read(dir.path().join(path)).unwrap();
        bucket.put(&format!("{PREFIX}/{path}"), bytes.into(), Put::Replace).await.unwrap();
    }
    let server = Server::start(dir.path()).await;
    World { dir, _objects: objects, s3, server, bucket }
}

fn keys(secret: &str) -> Credentials {
    Credentials::new("AK", secret, None, None, "test")
}

impl World {
    fn source(&self, credentials: Option<Credentials>, index: Option<IndexFile>) -> SourceOptions {
        let corpus = CorpusOptions { rows_per_page: 40, ..CorpusOptions::default() };
        let s3 = S3Options { endpoint_url: Some(self.s3.endpoint()), region: None, credentials };
        SourceOptions { corpus, index, hf_server: self.server.url.clone(), s3, ..SourceOptions::default() }
    }

    fn pages(&self, name: &str, credentials: Option<Credentials>, index: &IndexFile) -> Arc<dyn Pages> {
        let recipe = Recipe { tokenizer: Tokenizer::gpt2(), packing: Packing::Join, seq: 32 };
        let source = self.source(credentials, Some(index.clone()));
        open(name, &PageOptions { source, memory_bytes: 0, ..PageOptions::new(recipe) }).unwrap()
    }
}

fn page(config: &str, row: u64) -> PageId {
    PageId { config: config.into(), split: "train".into(), row }
}

fn in_bucket() -> String {
    format!("parquet:s3://{BUCKET}/{PREFIX}")
}

fn on_disk(folder: &Path) -> String {
    format!("parquet:{}", folder.display())
}

#[tokio::test]
async fn server_bucket_and_disk_give_the_same_tokens() {
    let world = world().await;
    let what = SurveyOptions { name: Some(DATASET.into()), ..SurveyOptions::default() };
    // The owner lists its bucket; the index is the one that the disk gives.
    let index = survey::survey(&in_bucket(), &world.source(Some(keys("SK")), None), &what).await.unwrap();
    let disk = on_disk(world.dir.path());
    assert_eq!(index, survey::survey(&disk, &world.source(None, None), &what).await.unwrap());
    let hub = format!("parquet:{}", world.server.hub());
    let ways = [
        (disk, None),
        (in_bucket(), None),
        (in_bucket(), Some(keys("SK"))),
        (hub, None),
        (format!("hf:{DATASET}"), None),
    ];
    let mut seen: Vec<Vec<TokenBatch>> = Vec::new();
    for (name, credentials) in ways {
        let pages = world.pages(&name, credentials, &index);
        let mut batches = Vec::new();
        // Within a row group, over several, over two files, at both ends.
        for id in [page("aa", 0), page("aa", 50), page("aa", 130), page("aa", 260), page("bb", 77)] {
            batches.push(pages.page(&id).await.unwrap());
        }
        assert!(batches.iter().all(|batch| batch.rows() > 10));
        seen.push(batches);
    }
    assert!(seen.iter().all(|batches| *batches == seen[0]));
}

#[tokio::test]
async fn a_fault_of_the_bucket_has_a_name() {
    let world = world().await;
    let what = SurveyOptions::default();
    let index = survey::survey(&on_disk(world.dir.path()), &world.source(None, None), &what).await.unwrap();
    let fault = async |pages: Arc<dyn Pages>| {
        let error = pages.page(&page("bb", 0)).await.unwrap_err();
        assert!(error.message.contains(BUCKET), "{error}");
        (error.name, error.retry)
    };
    let anonymous = || world.pages(&in_bucket(), None, &index);
    assert_eq!(fault(world.pages(&in_bucket(), Some(keys("wrong")), &index)).await, ("Refused".into(), Retry::Never));
    let key = format!("{PREFIX}/data/bb/train-00000-of-00001.parquet");
    let whole = std::fs::read(world.dir.path().join("data/bb/train-00000-of-00001.parquet")).unwrap();
    for bytes in [whole[..whole.len() / 2].to_vec(), [whole.as_slice(), b"more"].concat()] {
        world.bucket.put(&key, bytes.into(), Put::Replace).await.unwrap();
        assert_eq!(fault(anonymous()).await, ("DatasetChanged".into(), Retry::Never));
    }
    world.bucket.put(&key, vec![0; whole.len()].into(), Put::Replace).await.unwrap();
    assert_eq!(fault(anonymous()).await.0, "BadParquet");
    world.bucket.delete(&key).await.unwrap();
    assert!(["NotFound", "Refused"].contains(&fault(anonymous()).await.0.as_str()));
    let pages = anonymous();
    world.s3.stop().await;
    assert_eq!(fault(pages).await, ("NoNetwork".into(), Retry::Soon));
}
