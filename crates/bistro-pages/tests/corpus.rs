//! Folders as datasets, on a real disk.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use bistro_core::pages::PageId;
use bistro_core::ports::{Pages, Retry};
use bistro_core::tokens::Packing;
use bistro_pages::corpus::{CONFIG, SPLIT};
use bistro_pages::{
    Corpus, CorpusOptions, PageOptions, PagesError, Recipe, SourceOptions, TokenPages, Tokenizer, open, packing,
};
use tempfile::TempDir;

fn options() -> CorpusOptions {
    CorpusOptions { rows_per_page: 3, row_bytes: 64, ..CorpusOptions::default() }
}

fn recipe(seq: usize) -> Recipe {
    Recipe { tokenizer: Tokenizer::gpt2(), packing: Packing::Join, seq }
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    dir
}

fn speech(words: usize, seed: usize) -> String {
    let word =
        |i: usize| ["we", "the", "people", "of", "union,", "free.", "state\n", "order"][(i * i + seed * 7 + i / 3) % 8];
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

fn speeches() -> TempDir {
    let (a, b, c) = (speech(200, 1), speech(150, 2), speech(180, 3));
    folder(&[("b.txt", b.as_bytes()), ("a.txt", a.as_bytes()), ("sub/c.txt", c.as_bytes()), ("notes.md", b"# no")])
}

fn page(row: u64) -> PageId {
    PageId { config: CONFIG.into(), split: SPLIT.into(), row }
}

fn open_error(dir: &Path, options: &CorpusOptions) -> PagesError {
    Corpus::open(dir, options).err().unwrap()
}

#[test]
fn rows_are_the_files_in_the_order_of_their_paths() {
    let corpus = Corpus::open(speeches().path(), &options()).unwrap();
    let rows: Vec<_> = (0..corpus.rows()).map(|i| corpus.row(i).unwrap()).collect();
    assert_eq!(rows.concat(), speech(200, 1) + &speech(150, 2) + &speech(180, 3));
    let first_end = speech(200, 1).len();
    let ends: Vec<_> = rows
        .iter()
        .scan(0, |end, row| {
            *end += row.len();
            Some(*end)
        })
        .collect();
    assert!(ends.contains(&first_end), "a row runs from one file into the next");
    assert!(corpus.row(corpus.rows()).is_none());
    assert_eq!(corpus.index().configs[0].rows, corpus.rows() as u64);
}

type Change = fn(&Path);

#[test]
fn the_index_follows_from_names_and_contents_alone() {
    let digest = |dir: &TempDir, options: CorpusOptions| Corpus::open(dir.path(), &options).unwrap().index().digest();
    let original = digest(&speeches(), options());
    assert_eq!(digest(&speeches(), options()), original, "another place, the same files");

    let changes: [(&str, Change); 4] = [
        ("one byte", |dir| {
            let path = dir.join("sub/c.txt");
            let mut bytes = std::fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(path, bytes).unwrap();
        }),
        ("a name", |dir| std::fs::rename(dir.join("a.txt"), dir.join("aa.txt")).unwrap()),
        ("a border between files", |dir| {
            let (a, b) = (dir.join("a.txt"), dir.join("b.txt"));
            let (mut text, rest) = (std::fs::read_to_string(&a).unwrap(), std::fs::read_to_string(&b).unwrap());
            text.push_str(&rest[..1]);
            std::fs::write(a, text).unwrap();
            std::fs::write(b, &rest[1..]).unwrap();
        }),
        ("an empty file", |dir| std::fs::write(dir.join("z.txt"), "").unwrap()),
    ];
    for (what, change) in changes {
        let dir = speeches();
        change(dir.path());
        assert_ne!(digest(&dir, options()), original, "{what}");
    }
    assert_ne!(digest(&speeches(), CorpusOptions { row_bytes: 65, ..options() }), original);
    let notes = speeches();
    std::fs::write(notes.path().join("notes.md"), "other").unwrap();
    assert_eq!(digest(&notes, options()), original, "only .txt files count");
}

/// Computed by Python as the module describes: every running network's rules name such a digest.
#[test]
fn the_content_digest_is_fixed() {
    let dir =
        folder(&[("sub/b.txt", "é\n".repeat(50).as_bytes()), ("a.txt", b""), ("B.txt", "x y ".repeat(100).as_bytes())]);
    let corpus = Corpus::open(dir.path(), &options()).unwrap();
    let content = corpus.index().content.unwrap().to_string();
    assert_eq!(content, "a6e51a8d97f85963b1c552d421483d0aedc6fa17868a228b77bc08b6c5cbd154");
    // 400 bytes in rows that end before byte 64 at a space, 150 in rows that end at a line.
    assert_eq!(corpus.rows(), 7 + 3);
}

#[test]
fn the_index_tells_nothing_of_the_machine() {
    let dir = speeches();
    let corpus = Corpus::open(dir.path(), &options()).unwrap();
    let json = serde_json::to_string(corpus.index()).unwrap();
    assert!(!json.contains(dir.path().file_name().unwrap().to_str().unwrap()), "{json}");
}

#[test]
fn what_is_no_corpus_is_named() {
    let missing = speeches().path().join("nowhere");
    assert!(matches!(open_error(&missing, &options()), PagesError::NoFolder(path) if path == missing));
    let dir = folder(&[("notes.md", b"text")]);
    assert!(matches!(open_error(dir.path(), &options()), PagesError::NoText(_)));
    let dir = folder(&[("a.txt", b" \n "), ("b.txt", b"")]);
    assert!(matches!(open_error(dir.path(), &options()), PagesError::NoText(_)));
    let dir = folder(&[("ok.txt", b"fine"), ("sub/bad.txt", b"caf\xe9 au lait")]);
    let error = open_error(dir.path(), &options());
    assert!(matches!(&error, PagesError::NotUtf8 { file, offset: 3 } if file.ends_with("sub/bad.txt")), "{error}");
    let dir = folder(&[("a.txt", b"too little")]);
    let error = open_error(dir.path(), &options());
    assert!(matches!(error, PagesError::TooSmall { .. }) && error.to_string().contains("has 1 rows"), "{error}");
    for options in [CorpusOptions { rows_per_page: 0, ..options() }, CorpusOptions { row_bytes: 3, ..options() }] {
        assert!(matches!(open_error(speeches().path(), &options), PagesError::Option { .. }));
    }
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_back_does_not_trap_the_walk() {
    let dir = speeches();
    let rows = Corpus::open(dir.path(), &options()).unwrap().rows();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("sub/up")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("gone"), dir.path().join("gone.txt")).unwrap();
    assert_eq!(Corpus::open(dir.path(), &options()).unwrap().rows(), rows);
}

#[tokio::test]
async fn a_page_is_its_rows_packed() {
    let dir = speeches();
    let tokenizer = Tokenizer::gpt2();
    let corpus = Corpus::open(dir.path(), &options()).unwrap();
    let documents = (2..5).map(|i| tokenizer.encode(corpus.row(i).unwrap()).unwrap());
    let expected = packing::join(documents, tokenizer.end_of_text(), 8);
    let pages = TokenPages::new(Arc::new(corpus), recipe(8), 1 << 20, None).unwrap();
    let fresh = pages.page(&page(2)).await.unwrap();
    assert_eq!(fresh, expected);
    assert!(fresh.rows() >= 3 && fresh.ids.contains(&tokenizer.end_of_text()));
    assert_eq!(pages.cached(), 1);
    assert_eq!(pages.page(&page(2)).await.unwrap(), expected, "from the cache");
    assert_eq!(pages.cached(), 1);
}

#[tokio::test]
async fn pages_that_do_not_exist_are_errors() {
    let corpus = Corpus::open(speeches().path(), &options()).unwrap();
    let rows = corpus.rows() as u64;
    let pages = TokenPages::new(Arc::new(corpus), recipe(8), 0, None).unwrap();
    pages.page(&page(rows - 3)).await.unwrap();
    let other = |config: &str, split: &str| PageId { config: config.into(), split: split.into(), row: 0 };
    for id in [page(rows - 2), page(u64::MAX), other("CC-MAIN-2013-20", SPLIT), other(CONFIG, "test")] {
        let error = pages.page(&id).await.unwrap_err();
        assert_eq!((error.name.as_str(), error.retry), ("NoSuchPage", Retry::Never), "{error}");
    }
    assert_eq!(pages.cached(), 0, "a cache of no bytes keeps nothing");
}

fn named(dir: &TempDir) -> String {
    format!("dir:{}", dir.path().display())
}

fn page_options(seq: usize) -> PageOptions {
    let source = SourceOptions { corpus: options(), ..SourceOptions::default() };
    PageOptions { source, ..PageOptions::new(recipe(seq)) }
}

#[tokio::test]
async fn a_page_shorter_than_a_sequence_is_an_error() {
    let dir = speeches();
    let error = open(&named(&dir), &page_options(4096)).unwrap().page(&page(0)).await.unwrap_err();
    assert_eq!(error.name, "PageTooShort");
    assert!(error.message.contains("4096"), "{error}");
    let error = open(&named(&dir), &page_options(1)).err().unwrap();
    assert!(matches!(error, PagesError::Option { name: "sequence length", .. }), "{error}");
}

#[tokio::test]
async fn json_lines_are_rows_as_they_are() {
    let long = "long ".repeat(100);
    let lines = format!("{{\"text\":\"one\",\"id\":1}}\n\n{{\"id\":2,\"text\":null}}\n{{\"text\":\"{long}\"}}\n");
    let more = "{\"text\":\"é \\n\"}\n".repeat(4);
    let dir = folder(&[("a.jsonl", lines.as_bytes()), ("b/c.jsonl", more.as_bytes())]);
    let corpus = Corpus::open(dir.path(), &options()).unwrap();
    let rows: Vec<_> = (0..corpus.rows()).map(|i| corpus.row(i).unwrap()).collect();
    assert_eq!(rows, ["one", "", &long, "é \n", "é \n", "é \n", "é \n"]);
    assert_eq!(corpus.index().row_bytes, None, "nothing is cut");
    let pages = open(&named(&dir), &page_options(8)).unwrap();
    assert!(pages.page(&page(0)).await.unwrap().rows() > 10);

    for (line, what) in
        [("{\"text\":", "EOF"), ("{\"body\":\"x\"}", "none"), ("{\"text\":7}", "something else"), ("[]", "type")]
    {
        let dir = folder(&[("a.jsonl", format!("{{\"text\":\"x\"}}\n{line}\n").as_bytes())]);
        let error = open_error(dir.path(), &options());
        assert!(matches!(&error, PagesError::JsonLine { line: 2, .. }) && error.to_string().contains(what), "{error}");
    }
    let mixed = folder(&[("a.jsonl", lines.as_bytes()), ("b.txt", b"text")]);
    assert!(matches!(open_error(mixed.path(), &options()), PagesError::Mixed(_, "txt", "jsonl")));
}

#[test]
fn what_is_no_dataset_is_refused_with_a_way_out() {
    for name in ["corpus", "http://x", ""] {
        let error = open(name, &page_options(8)).err().unwrap();
        assert!(error.to_string().contains("dir:PATH"), "{error}");
    }
}
