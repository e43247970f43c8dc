//! A web server for tests: the interface of Hugging Face's datasets-server and hub, over real parquet files. It can be told to
//! misbehave.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_RANGE, LOCATION, RANGE, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::json;
use tokio::net::TcpListener;

pub const DATASET: &str = "maker/words";

/// Text of row `number`, of a few hundred bytes; every seventh is missing.
pub fn text_of(config: &str, number: usize) -> Option<String> {
    let words = ["the", "bread", "ünïcode", "of", "12", "漢字", "it's", "\n", "rises"];
    let word = |i: usize| words[(number * number + i * i + config.len() + i / 5) % words.len()];
    (number % 7 != 3).then(|| (0..60 + number % 40).map(word).collect::<Vec<_>>().join(" "))
}

/// Writes rows `from..to` of a config, `group` rows a row group.
pub fn write_parquet(path: &Path, config: &str, rows: std::ops::Range<usize>, group: usize) {
    let texts: Vec<Option<String>> = rows.map(|number| text_of(config, number)).collect();
    write_texts(path, &texts, group, Compression::SNAPPY);
}

pub fn write_texts(path: &Path, texts: &[Option<String>], group: usize, compression: Compression) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..texts.len() as i64));
    // What nobody needs: a column that is much larger than the text.
    let noise = (0..texts.len()).map(|i| blake3::hash(&i.to_le_bytes()).to_hex().repeat(6));
    let noise: ArrayRef = Arc::new(StringArray::from_iter_values(noise));
    let texts: ArrayRef = Arc::new(texts.iter().map(Option::as_deref).collect::<StringArray>());
    let batch =
        RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("noise", noise, false), ("text", texts, true)])
            .unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .set_data_page_row_count_limit(50)
        .set_write_batch_size(50)
        .set_dictionary_enabled(false)
        .set_compression(compression);
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// The texts of a file, read whole.
pub fn read_texts(path: &Path) -> Vec<Option<String>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
    let texts = |batch: RecordBatch| -> Vec<Option<String>> {
        let column = batch.column_by_name("text").unwrap().clone();
        column.as_string::<i32>().iter().map(|text| text.map(String::from)).collect()
    };
    reader.flat_map(|batch| texts(batch.unwrap())).collect()
}

/// What the server does instead of its duty.
#[derive(Clone, Debug)]
pub enum Trick {
    /// Answers this status, and perhaps how long to wait.
    Status(u16, Option<&'static str>),
    /// Answers a page of HTML.
    Html,
    /// Leaves out the last rows.
    Short(usize),
    /// Sends rows from one further on.
    Shifted,
    /// Says that a cell was cut.
    CutCell,
    /// States a length, sends half, and hangs up.
    HangsUp,
    /// Ignores the range.
    Whole,
    /// Says nothing for a long time.
    Silent,
    /// Sends this body.
    Body(String),
}

pub struct Server {
    pub url: String,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    folder: PathBuf,
    tricks: Mutex<VecDeque<Trick>>,
    /// Whether the last trick is played for ever.
    forever: std::sync::atomic::AtomicBool,
    requests: AtomicUsize,
    bytes: AtomicU64,
    /// Rows by which every split has grown.
    grown: AtomicI64,
    partial: AtomicI64,
    tokens: Mutex<Vec<Option<String>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Serves `data/CONFIG/train-*.parquet` below `folder`.
    pub async fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            folder: folder.into(),
            tricks: Mutex::default(),
            forever: false.into(),
            requests: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            grown: AtomicI64::new(0),
            partial: AtomicI64::new(0),
            tokens: Mutex::default(),
        });
        let serving = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(state.clone(), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { url, state, task }
    }

    pub fn hub(&self) -> String {
        format!("{}/datasets/{DATASET}/resolve/main", self.url)
    }

    /// Plays these once, in order.
    pub fn plays(&self, tricks: impl IntoIterator<Item = Trick>) {
        self.state.forever.store(false, Ordering::SeqCst);
        *self.state.tricks.lock().unwrap() = tricks.into_iter().collect();
    }

    /// Plays this until further notice.
    pub fn keeps_playing(&self, trick: Trick) {
        self.plays([trick]);
        self.state.forever.store(true, Ordering::SeqCst);
    }

    pub fn requests(&self) -> usize {
        self.state.requests.swap(0, Ordering::SeqCst)
    }

    /// Bytes of files that were sent since the last call.
    pub fn bytes(&self) -> u64 {
        self.state.bytes.swap(0, Ordering::SeqCst)
    }

    pub fn grow(&self, rows: i64) {
        self.state.grown.store(rows, Ordering::SeqCst);
    }

    /// Has only the first `rows` rows of every split; 0: has them all.
    pub fn only_has(&self, rows: i64) {
        self.state.partial.store(rows, Ordering::SeqCst);
    }

    /// Tokens that were shown since the last call.
    pub fn tokens(&self) -> Vec<Option<String>> {
        std::mem::take(&mut *self.state.tokens.lock().unwrap())
    }
}

type Answer = Result<Response<Full<Bytes>>, std::io::Error>;

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Answer {
    state.requests.fetch_add(1, Ordering::SeqCst);
    let shown = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    state.tokens.lock().unwrap().push(shown);
    let path = request.uri().path().to_owned();
    if let Some(path) = path.strip_prefix(&format!("/datasets/{DATASET}/resolve/main/")) {
        // As the hub does: the bytes come from elsewhere.
        return Ok(Response::builder()
            .status(302)
            .header(LOCATION, format!("/cdn/{path}"))
            .body(Full::default())
            .unwrap());
    }
    let trick = {
        let mut tricks = state.tricks.lock().unwrap();
        if state.forever.load(Ordering::SeqCst) { tricks.front().cloned() } else { tricks.pop_front() }
    };
    match &trick {
        Some(Trick::Status(status, wait)) => {
            let response = Response::builder().status(*status);
            let response = wait.iter().fold(response, |response, wait| response.header(RETRY_AFTER, *wait));
            return Ok(response.body(Full::from("no")).unwrap());
        }
        Some(Trick::Html) => return Ok(Response::new(Full::from("<html>back soon</html>"))),
        Some(Trick::Body(text)) => return Ok(Response::new(Full::from(text.clone()))),
        Some(Trick::HangsUp) => return Err(std::io::Error::other("hangs up")),
        Some(Trick::Silent) => tokio::time::sleep(std::time::Duration::from_mins(10)).await,
        _ => {}
    }
    if let Some(path) = path.strip_prefix("/cdn/") {
        return Ok(file(&state, path, &request, trick.as_ref()));
    }
    let query: Vec<(String, String)> =
        reqwest::Url::parse(&format!("http://x{}", request.uri())).unwrap().query_pairs().into_owned().collect();
    let argument = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    if path == format!("/api/datasets/{DATASET}/revision/main") {
        let files: Vec<_> = files(&state.folder).into_iter().map(|path| json!({"rfilename": path})).collect();
        return Ok(json_of(&json!({"id": DATASET, "sha": "0", "siblings": files})));
    }
    if argument("dataset").as_deref() != Some(DATASET) {
        return Ok(Response::builder()
            .status(StatusCode::NOT_FOUND)
            .body(Full::from("{\"error\":\"no such dataset\"}"))
            .unwrap());
    }
    match path.as_str() {
        "/size" => Ok(json_of(&sizes(&state))),
        "/rows" => Ok(rows(&state, &argument, trick.as_ref())),
        _ => Ok(Response::builder().status(StatusCode::NOT_FOUND).body(Full::default()).unwrap()),
    }
}

fn json_of(value: &serde_json::Value) -> Response<Full<Bytes>> {
    Response::builder().header("content-type", "application/json").body(Full::from(value.to_string())).unwrap()
}

/// Paths of all files, sorted.
pub fn files(folder: &Path) -> Vec<String> {
    let mut paths: Vec<_> =
        bistro_pages::folder::walk(folder, &["parquet"]).unwrap().into_iter().map(|(name, _)| name).collect();
    paths.push("README.md".into());
    paths.sort();
    paths
}

fn configs(folder: &Path) -> Vec<(String, Vec<Option<String>>)> {
    let mut configs: Vec<(String, Vec<Option<String>>)> = Vec::new();
    for path in files(folder).iter().filter(|path| path.ends_with(".parquet")) {
        let name = path.split('/').nth(1).unwrap();
        let texts = read_texts(&folder.join(path));
        match configs.iter_mut().find(|(config, _)| config == name) {
            Some((_, all)) => all.extend(texts),
            None => configs.push((name.into(), texts)),
        }
    }
    configs
}

fn sizes(state: &State) -> serde_json::Value {
    let grown = state.grown.load(Ordering::SeqCst);
    let split = |(config, texts): &(String, Vec<Option<String>>)| json!({"dataset": DATASET, "config": config, "split": "train", "num_rows": texts.len() as i64 + grown});
    let splits: Vec<_> = configs(&state.folder).iter().map(split).collect();
    json!({"size": {"dataset": {}, "configs": [], "splits": splits}, "pending": [], "failed": [], "partial": false})
}

fn rows(state: &State, argument: &dyn Fn(&str) -> Option<String>, trick: Option<&Trick>) -> Response<Full<Bytes>> {
    let number = |name: &str, default| argument(name).map_or(default, |value| value.parse::<usize>().unwrap());
    let (offset, length) = (number("offset", 0), number("length", 100));
    if length > 100 {
        return Response::builder().status(422).body(Full::from("{\"error\":\"length must not exceed 100\"}")).unwrap();
    }
    let configs = configs(&state.folder);
    let Some((_, texts)) = configs.iter().find(|(name, _)| Some(name.as_str()) == argument("config").as_deref()) else {
        return Response::builder().status(StatusCode::NOT_FOUND).body(Full::default()).unwrap();
    };
    let partial = state.partial.load(Ordering::SeqCst);
    let total = if partial > 0 { partial } else { texts.len() as i64 + state.grown.load(Ordering::SeqCst) };
    let shift = usize::from(matches!(trick, Some(Trick::Shifted)));
    let take = match trick {
        Some(Trick::Short(less)) => length - less,
        _ => length,
    };
    let cut: &[&str] = if matches!(trick, Some(Trick::CutCell)) { &["text"] } else { &[] };
    let rows: Vec<_> = (offset + shift..texts.len().min(total as usize).min(offset + shift + take))
        .map(|i| json!({"row_idx": i, "row": {"id": i, "text": texts[i]}, "truncated_cells": cut}))
        .collect();
    json_of(&json!({
        "features": [{"feature_idx": 0, "name": "text", "type": {"dtype": "string", "_type": "Value"}}],
        "rows": rows, "num_rows_total": total, "num_rows_per_page": 100, "partial": partial > 0
    }))
}

fn file(state: &State, path: &str, request: &Request<Incoming>, trick: Option<&Trick>) -> Response<Full<Bytes>> {
    let Ok(bytes) = std::fs::read(state.folder.join(path)) else {
        return Response::builder().status(StatusCode::NOT_FOUND).body(Full::default()).unwrap();
    };
    let range = request.headers().get(RANGE).map(|value| value.to_str().unwrap().to_owned());
    let Some(range) = range.filter(|_| !matches!(trick, Some(Trick::Whole))) else {
        return Response::new(Full::from(bytes));
    };
    let (from, to) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse::<usize>().unwrap() + 1);
    if from >= bytes.len() {
        return Response::builder().status(416).body(Full::default()).unwrap();
    }
    let part = Bytes::copy_from_slice(&bytes[from..to.min(bytes.len())]);
    state.bytes.fetch_add(part.len() as u64, Ordering::SeqCst);
    let content = format!("bytes {from}-{}/{}", from + part.len() - 1, bytes.len());
    Response::builder().status(206).header(CONTENT_RANGE, content).body(Full::from(part)).unwrap()
}
