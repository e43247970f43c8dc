//! One dataset by all ways: the datasets-server, files over HTTP, files on a disk, and a folder.
#![allow(clippy::unwrap_used)]

mod server;

use std::path::Path;
use std::sync::Arc;

use bistro_core::pages::PageId;
use bistro_core::ports::Pages;
use bistro_core::tokens::{Packing, TokenBatch};
use bistro_pages::index_file::{IndexedConfig, IndexedFile};
use bistro_pages::survey::{self, SurveyOptions};
use bistro_pages::{CorpusOptions, IndexFile, PageOptions, Recipe, SourceOptions, Tokenizer, open, packing};
use parquet::basic::Compression;
use server::{DATASET, Server, text_of, write_parquet, write_texts};
use tempfile::TempDir;

const ROWS_PER_PAGE: u64 = 120;

/// Two configs: one of two files with odd row groups, one of a single file.
fn dataset() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    write_parquet(&data.join("aa/train-00000-of-00002.parquet"), "aa", 0..250, 64);
    write_parquet(&data.join("aa/train-00001-of-00002.parquet"), "aa", 250..500, 100);
    write_parquet(&data.join("bb/train-00000-of-00001.parquet"), "bb", 0..300, 1000);
    dir
}

fn options(server: &Server, index: Option<IndexFile>) -> SourceOptions {
    let corpus = CorpusOptions { rows_per_page: ROWS_PER_PAGE, ..CorpusOptions::default() };
    SourceOptions { corpus, index, hf_server: server.url.clone(), ..SourceOptions::default() }
}

fn recipe() -> Recipe {
    Recipe { tokenizer: Tokenizer::gpt2(), packing: Packing::Join, seq: 64 }
}

fn pages(name: &str, source: SourceOptions) -> Arc<dyn Pages> {
    open(name, &PageOptions { source, ..PageOptions::new(recipe()) }).unwrap()
}

fn page(config: &str, row: u64) -> PageId {
    PageId { config: config.into(), split: "train".into(), row }
}

/// The page's tokens by the rows themselves, without any source.
fn expected(config: &str, row: u64) -> TokenBatch {
    let tokenizer = Tokenizer::gpt2();
    let rows = row as usize..(row + ROWS_PER_PAGE) as usize;
    let documents = rows.map(|i| tokenizer.encode(&text_of(config, i).unwrap_or_default()).unwrap());
    packing::join(documents, tokenizer.end_of_text(), 64)
}

async fn survey_of(name: &str, server: &Server) -> IndexFile {
    let what = SurveyOptions { name: Some(DATASET.into()), ..SurveyOptions::default() };
    survey::survey(name, &options(server, None), &what).await.unwrap()
}

#[tokio::test]
async fn all_ways_give_the_same_tokens() {
    let dir = dataset();
    let server = Server::start(dir.path()).await;
    let hub = format!("parquet:{}", server.hub());
    let index = survey_of(&hub, &server).await;
    let disk = format!("parquet:{}", dir.path().display());
    let ways = [format!("hf:{DATASET}"), hub, disk.clone(), format!("parquet:file://{}", dir.path().display())];
    let mut digests = Vec::new();
    for way in &ways {
        let pages = pages(way, options(&server, Some(index.clone())));
        digests.push(pages.index().digest());
        // Within a row group, over several, over two files, at both ends.
        for (config, row) in [("aa", 3), ("aa", 0), ("aa", 200), ("aa", 380), ("bb", 77), ("bb", 180)] {
            assert!(pages.page(&page(config, row)).await.unwrap() == expected(config, row), "{way} {config} {row}");
        }
        assert_eq!(pages.page(&page("aa", 381)).await.unwrap_err().name, "NoSuchPage", "{way}");
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "one dataset, one digest");
    // A folder of parquet files needs no index; its configs are its folders.
    let folder = pages(&format!("dir:{}", dir.path().display()), options(&server, None));
    assert_eq!(folder.page(&page("aa", 200)).await.unwrap(), expected("aa", 200));
    assert_eq!(folder.index().configs.len(), 2);
}

#[tokio::test]
async fn an_index_is_made_the_same_everywhere_and_tells_what_changed() {
    let dir = dataset();
    let server = Server::start(dir.path()).await;
    let hub = format!("parquet:{}", server.hub());
    let index = survey_of(&hub, &server).await;
    assert_eq!(index, survey_of(&format!("parquet:{}", dir.path().display()), &server).await);
    let files: Vec<_> = index.configs.iter().map(|c| (c.name.as_str(), c.rows, c.files.len())).collect();
    assert_eq!(files, [("aa", 500, 2), ("bb", 300, 1)]);
    assert_eq!(index.configs[0].files[0].2, [(64, 3), (58, 1)], "row groups in runs");
    let by_counts = survey_of(&format!("hf:{DATASET}"), &server).await;
    assert_eq!(by_counts.index(8), index.index(8));
    assert_eq!(IndexFile::parse(index.to_text().as_bytes(), "x").unwrap(), index, "through the file and back");

    let verify = async |name: &str| survey::verify(name, &options(&server, None), &index).await.unwrap();
    assert!(verify(&hub).await.is_empty() && verify(&format!("hf:{DATASET}")).await.is_empty());
    server.grow(5);
    assert_eq!(verify(&format!("hf:{DATASET}")).await, ["aa/train: 500 rows → 505", "bb/train: 300 rows → 305"]);
    write_parquet(&dir.path().join("data/bb/train-00000-of-00001.parquet"), "bb", 0..300, 150);
    assert_eq!(verify(&hub).await, ["bb/train: other files or row groups"]);
    std::fs::remove_dir_all(dir.path().join("data/bb")).unwrap();
    assert_eq!(verify(&hub).await, ["bb/train: 300 rows → gone"]);
}

#[test]
fn a_damaged_index_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.json");
    let good = IndexFile::shipped("HuggingFaceFW/fineweb-edu-score-2").unwrap().unwrap();
    for (from, to, what) in [
        ("51901183", "51901184", "was changed"),
        ("\"version\":1", "\"version\":2", "version 2"),
        ("{\"version\"", "[\"version\"", "is none"),
    ] {
        std::fs::write(&path, good.to_text().replacen(from, to, 1)).unwrap();
        let error = IndexFile::read(&path).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("index.json"), "{error}");
    }
    std::fs::write(&path, good.to_text()).unwrap();
    assert_eq!(IndexFile::read(&path).unwrap(), good);

    // Whole, but made to lead elsewhere, or to count what is not there.
    for (file, what) in [
        (IndexedFile("../../etc/passwd".into(), 10, vec![(5, 1)]), "no path below"),
        (IndexedFile("a.parquet".into(), 10, vec![(4, 1)]), "have 4 rows, not 5"),
        (IndexedFile("a.parquet".into(), 10, vec![(u64::MAX, 2)]), "too many rows"),
        (IndexedFile("a.parquet".into(), 10, vec![(0, u64::MAX), (5, 1)]), "too many row groups"),
    ] {
        let config = IndexedConfig { name: "c".into(), split: "train".into(), rows: 5, files: vec![file] };
        let text = IndexFile::new("d", "text", vec![config]).to_text();
        let error = IndexFile::parse(text.as_bytes(), "x").unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}

/// The numbers of the shipped index, and where the vectors that others were given lie beside the repository, these too.
#[test]
fn the_shipped_index_is_fineweb_edus() {
    let file = IndexFile::shipped("HuggingFaceFW/fineweb-edu-score-2").unwrap().unwrap();
    assert_eq!(file.configs.len(), 104);
    assert_eq!(file.configs.iter().map(|config| config.rows).sum::<u64>(), 6_403_692_072);
    file.index(100).check().unwrap();
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/fineweb_edu_score2_rows.json");
    let Ok(text) = std::fs::read(shared) else { return };
    let rows: std::collections::BTreeMap<String, u64> = serde_json::from_slice(&text).unwrap();
    let ours: std::collections::BTreeMap<_, _> =
        file.configs.into_iter().map(|config| (config.name, config.rows)).collect();
    assert_eq!(ours, rows);
}

#[tokio::test]
async fn only_what_a_page_needs_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data/aa/train-00000-of-00001.parquet");
    // One row group of 8 MB of text that does not shrink, beside another column.
    let hex = |i: usize, k: usize| blake3::hash(&[i.to_le_bytes(), k.to_le_bytes()].concat()).to_hex().to_string();
    let text = |i: usize| Some((0..62).map(|k| hex(i, k)).collect::<Vec<_>>().concat());
    let texts: Vec<_> = (0..4000).map(text).collect();
    write_texts(&path, &texts, 4000, Compression::ZSTD(parquet::basic::ZstdLevel::try_new(1).unwrap()));
    let length = std::fs::metadata(&path).unwrap().len();
    let server = Server::start(dir.path()).await;
    let hub = format!("parquet:{}", server.hub());
    let index = survey_of(&hub, &server).await;
    let footer = server.bytes();
    assert!(footer < 300_000, "{footer} bytes for a footer");
    let pages = pages(&hub, options(&server, Some(index)));
    let batch = pages.page(&page("aa", 2000)).await.unwrap();
    assert!(batch.rows() > 1000);
    let read = server.bytes();
    assert!(length > 8_000_000 && read < length / 10, "{read} bytes of {length} for 120 of 4000 rows");
    server.requests();
    pages.page(&page("aa", 2000)).await.unwrap();
    assert_eq!(server.requests(), 0, "it is in memory");
}

#[tokio::test]
async fn a_token_is_shown_to_trusted_servers_only() {
    let dir = dataset();
    let server = Server::start(dir.path()).await;
    let index = survey_of(&format!("hf:{DATASET}"), &server).await;
    server.tokens();
    let mut options = options(&server, Some(index));
    options.web.token = Some("hf_secret".into());
    pages(&format!("hf:{DATASET}"), options.clone()).page(&page("aa", 0)).await.unwrap();
    assert!(server.tokens().iter().all(Option::is_none));
    options.web.trusted.push(server.url.clone());
    pages(&format!("hf:{DATASET}"), options).page(&page("aa", 0)).await.unwrap();
    assert!(server.tokens().iter().all(|shown| shown.as_deref() == Some("Bearer hf_secret")));
}
