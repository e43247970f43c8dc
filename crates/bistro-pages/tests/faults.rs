//! Every fault has one name, repetitions are bounded, and nothing is passed over in silence.
#![allow(clippy::unwrap_used)]

mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bistro_core::pages::PageId;
use bistro_core::ports::{Pages, Retry};
use bistro_core::tokens::Packing;
use bistro_pages::survey::{self, SurveyOptions};
use bistro_pages::web::WebOptions;
use bistro_pages::{CorpusOptions, PageOptions, Recipe, SourceOptions, Tokenizer, open};
use parquet::basic::Compression;
use server::{DATASET, Server, Trick, write_parquet, write_texts};
use tempfile::TempDir;

const FILE: &str = "data/aa/train-00000-of-00001.parquet";

struct World {
    dir: TempDir,
    server: Server,
    rows: Arc<dyn Pages>,
    files: Arc<dyn Pages>,
}

fn web() -> WebOptions {
    WebOptions {
        attempts: 3,
        first_wait: Duration::from_millis(10),
        longest_wait: Duration::from_secs(2),
        deadline: Duration::from_millis(400),
        ..WebOptions::default()
    }
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    write_parquet(&dir.path().join(FILE), "aa", 0..200, 50);
    world_of(dir).await
}

/// Both ways to the dataset, with nothing kept in memory.
async fn world_of(dir: TempDir) -> World {
    let server = Server::start(dir.path()).await;
    let corpus = CorpusOptions { rows_per_page: 20, ..CorpusOptions::default() };
    let mut source = SourceOptions { corpus, hf_server: server.url.clone(), web: web(), ..SourceOptions::default() };
    let hub = format!("parquet:{}", server.hub());
    let what = SurveyOptions { name: Some(DATASET.into()), ..SurveyOptions::default() };
    source.index = Some(survey::survey(&hub, &source, &what).await.unwrap());
    let recipe = Recipe { tokenizer: Tokenizer::gpt2(), packing: Packing::Join, seq: 16 };
    let options = PageOptions { source, memory_bytes: 0, ..PageOptions::new(recipe) };
    let (rows, files) = (open(&format!("hf:{DATASET}"), &options).unwrap(), open(&hub, &options).unwrap());
    server.requests();
    World { dir, server, rows, files }
}

fn page(row: u64) -> PageId {
    PageId { config: "aa".into(), split: "train".into(), row }
}

/// The fault's name and whether it may pass.
async fn fault(pages: &Arc<dyn Pages>) -> (String, Retry) {
    let error = tokio::time::timeout(Duration::from_secs(20), pages.page(&page(0))).await.unwrap().unwrap_err();
    assert!(error.message.starts_with("page aa/train/0: "), "{error}");
    (error.name, error.retry)
}

#[tokio::test]
async fn a_passing_fault_is_waited_out() {
    let world = world().await;
    let good = world.rows.page(&page(0)).await.unwrap();
    world.server.requests();
    for tricks in [
        vec![Trick::Status(503, None), Trick::Status(500, None)],
        vec![Trick::HangsUp, Trick::Status(502, None)],
        vec![Trick::Html],
        vec![Trick::Short(1), Trick::Short(20)],
        vec![Trick::Shifted],
        vec![Trick::Silent],
    ] {
        let expected = tricks.len() + 1;
        world.server.plays(tricks.clone());
        assert_eq!(world.rows.page(&page(0)).await.unwrap(), good, "{tricks:?}");
        assert_eq!(world.server.requests(), expected, "{tricks:?}");
    }
    world.server.plays([Trick::Status(503, None), Trick::HangsUp]);
    assert_eq!(world.files.page(&page(0)).await.unwrap(), good, "the same over files");
}

#[tokio::test]
async fn a_wait_that_the_server_asks_for_is_kept() {
    let world = world().await;
    world.server.plays([Trick::Status(429, Some("1"))]);
    let started = Instant::now();
    world.rows.page(&page(0)).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(world.server.requests(), 2);
    // Too long a wait is a failure at once, and until it is over no request is sent at all.
    world.server.plays([Trick::Status(429, Some("100"))]);
    for requests in [1, 0] {
        assert_eq!(fault(&world.rows).await, ("RateLimited".into(), Retry::Soon));
        assert_eq!(world.server.requests(), requests);
    }
}

#[tokio::test]
async fn a_lasting_fault_of_the_rows_has_a_name_after_few_requests() {
    let world = world().await;
    for (trick, name, requests) in [
        (Trick::Status(429, None), "RateLimited", 3),
        (Trick::Status(500, None), "ServerError", 3),
        (Trick::Status(401, None), "Refused", 1),
        (Trick::Status(403, None), "Refused", 1),
        (Trick::Status(404, None), "NotFound", 1),
        (Trick::Status(422, None), "BadAnswer", 1),
        (Trick::HangsUp, "NoNetwork", 3),
        (Trick::Silent, "TooSlow", 3),
        (Trick::Html, "BadAnswer", 3),
        (Trick::Body("{\"rows\":[{}]}".into()), "BadAnswer", 3),
        (Trick::Body("{\"rows\":[],\"num_rows_total\":200}".into()), "ShortPage", 3),
        (Trick::Body("{\"rows\":[],\"num_rows_total\":199}".into()), "DatasetChanged", 1),
        (Trick::Short(1), "ShortPage", 3),
        (Trick::Shifted, "MissingRows", 3),
        (Trick::CutCell, "RowCut", 1),
    ] {
        world.server.keeps_playing(trick.clone());
        let (found, retry) = fault(&world.rows).await;
        let passes = ["RateLimited", "ServerError", "NoNetwork", "TooSlow"].contains(&name);
        assert_eq!((found.as_str(), retry), (name, if passes { Retry::Soon } else { Retry::Never }), "{trick:?}");
        assert_eq!(world.server.requests(), requests, "{trick:?}");
    }
    world.server.plays([]);
    for grown in [1, -1] {
        world.server.grow(grown);
        assert_eq!(fault(&world.rows).await.0, "DatasetChanged");
    }
    world.server.only_has(10);
    assert_eq!(fault(&world.rows).await.0, "MissingRows", "beyond the part that the server has");
}

#[tokio::test]
async fn a_lasting_fault_of_a_file_has_a_name() {
    let world = world().await;
    for (trick, name) in [
        (Trick::Status(429, None), "RateLimited"),
        (Trick::Status(503, None), "ServerError"),
        (Trick::Status(403, None), "Refused"),
        (Trick::Status(404, None), "NotFound"),
        (Trick::HangsUp, "NoNetwork"),
        (Trick::Silent, "TooSlow"),
        (Trick::Whole, "NoRanges"),
    ] {
        world.server.keeps_playing(trick.clone());
        assert_eq!(fault(&world.files).await.0, name, "{trick:?}");
    }
    world.server.plays([]);
    let path = world.dir.path().join(FILE);
    let whole = std::fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    let end = flipped.len();
    flipped[end - 60..end - 20].fill(0xff);
    let mut longer = whole.clone();
    longer.extend_from_slice(b"PAR1");
    for (bytes, name) in [
        (&whole[..end / 2], "DatasetChanged"),
        (&longer, "DatasetChanged"),
        (&flipped, "BadParquet"),
        (&vec![0; end], "BadParquet"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(fault(&world.files).await.0, name, "a file of {} bytes", bytes.len());
    }
    // As long as before, but other rows: its groups tell.
    std::fs::remove_file(&path).unwrap();
    assert_eq!(fault(&world.files).await.0, "NotFound");
    // The footer is known by now, and its pages are gone.
    std::fs::write(&path, &whole).unwrap();
    world.files.page(&page(0)).await.unwrap();
    let mut torn = whole.clone();
    torn[4..end / 2].fill(0xff);
    std::fs::write(&path, torn).unwrap();
    assert_eq!(fault(&world.files).await.0, "BadParquet");
}

#[tokio::test]
async fn without_a_network_the_fault_says_so() {
    let world = world().await;
    drop(world.server);
    tokio::time::sleep(Duration::from_millis(20)).await;
    for pages in [&world.rows, &world.files] {
        assert_eq!(fault(pages).await, ("NoNetwork".into(), Retry::Soon));
    }
}

#[tokio::test]
async fn rows_without_text_and_rows_of_ten_megabytes() {
    let dir = tempfile::tempdir().unwrap();
    let mut texts: Vec<Option<String>> = vec![Some(" \n".into()); 20];
    texts.extend((0..19).map(|i| Some(format!("row {i} has words"))));
    texts.push(Some("ten megabytes ".repeat(750_000)));
    texts.extend(vec![Some("short".into()); 20]);
    write_texts(&dir.path().join(FILE), &texts, 1000, Compression::SNAPPY);
    let world = world_of(dir).await;
    for pages in [&world.rows, &world.files] {
        assert_eq!(fault(pages).await, ("EmptyText".into(), Retry::Never));
        // A megabyte of the row counts, the same everywhere: some two tokens for each fourteen bytes.
        let batch = pages.page(&page(20)).await.unwrap();
        let tokens = batch.rows() * batch.seq;
        assert!((220_000..260_000).contains(&tokens), "{tokens} tokens");
    }
}
