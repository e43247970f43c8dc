//! Pages on disk: bounded, whole, and shared by processes of which any may be killed.
#![allow(clippy::unwrap_used)]

mod server;

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, SystemTime};

use bistro_core::ids::Hash;
use bistro_core::pages::PageId;
use bistro_core::ports::Pages as _;
use bistro_core::tokens::{PAD, Packing, TokenBatch};
use bistro_pages::disk::{DiskCache, Kept};
use bistro_pages::survey::{self, SurveyOptions};
use bistro_pages::{CorpusOptions, PageOptions, Recipe, SourceOptions, Tokenizer, open};
use server::{DATASET, Server, write_parquet};

fn key(number: usize) -> Hash {
    Hash::of(&number.to_le_bytes())
}

fn batch(number: usize) -> TokenBatch {
    TokenBatch { seq: 10, ids: (0..1000).map(|i| if i % 10 == 9 { PAD } else { (i * number) as u32 }).collect() }
}

fn entries(folder: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn pages_come_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let cache = DiskCache::open(&dir.path().join("a/b"), 1 << 20).unwrap();
    assert_eq!(cache.get(key(1)), None);
    cache.put(key(1), &batch(1));
    assert_eq!(cache.get(key(1)), Some(batch(1)));
    assert_eq!(
        DiskCache::open(&dir.path().join("a/b"), 1 << 20).unwrap().get(key(1)),
        Some(batch(1)),
        "another process"
    );
    assert_eq!(cache.get(key(2)), None);
}

#[test]
fn a_damaged_page_is_no_page() {
    let dir = tempfile::tempdir().unwrap();
    let cache = DiskCache::open(dir.path(), 1 << 20).unwrap();
    cache.put(key(1), &batch(1));
    let path = entries(dir.path()).pop().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[2000] ^= 1;
    let other =
        dir.path().join(path.file_name().unwrap().to_str().unwrap().replace(&key(1).to_string(), &key(2).to_string()));
    for bytes in [&whole[..whole.len() - 1], &whole[..40], b"", &flipped] {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(cache.get(key(1)), None, "{} bytes", bytes.len());
        assert!(!path.exists(), "it is removed");
    }
    // Whole, but of another page.
    std::fs::write(&other, &whole).unwrap();
    assert_eq!(cache.get(key(2)), None);
}

#[test]
fn the_folder_keeps_its_bound_and_the_pages_last_used() {
    let dir = tempfile::tempdir().unwrap();
    let one = {
        let cache = DiskCache::open(dir.path(), 1 << 20).unwrap();
        cache.put(key(0), &batch(0));
        cache.bytes()
    };
    let caches = [(); 2].map(|()| DiskCache::open(dir.path(), 5 * one + 10).unwrap());
    for number in 0..20 {
        // Times of files can be coarse: make the order sure.
        for path in entries(dir.path()) {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            let older = file.metadata().unwrap().modified().unwrap() - Duration::from_secs(10);
            file.set_modified(older).unwrap();
        }
        assert!(caches[0].get(key(0)).is_some(), "it was used just now");
        caches[number % 2].put(key(number), &batch(number));
        assert!(caches[0].bytes() <= 5 * one + 10);
    }
    let left: Vec<_> = (0..20).filter(|number| caches[0].get(key(*number)).is_some()).collect();
    assert_eq!(left, [0, 16, 17, 18, 19]);
    // What a killed process left under way goes as well, once nobody can be at it any more.
    let (old, new) = (dir.path().join("x-1-1.tmp"), dir.path().join("x-1-2.tmp"));
    std::fs::write(&old, "half").unwrap();
    std::fs::write(&new, "half").unwrap();
    let file = std::fs::File::options().write(true).open(&old).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
    caches[0].put(key(30), &batch(30));
    assert!(!old.exists() && new.exists());
    assert_eq!(DiskCache::open(dir.path(), 10).unwrap().put(key(31), &batch(31)), Kept::TooLarge);
    assert!(caches[0].get(key(31)).is_none(), "one page that is larger than all the room");
}

#[test]
fn trouble_with_the_disk_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("pages");
    let cache = DiskCache::open(&folder, 1 << 20).unwrap();
    std::fs::remove_dir(&folder).unwrap();
    std::fs::write(&folder, "a file stands there now").unwrap();
    assert_eq!(cache.put(key(1), &batch(1)), Kept::CacheFailed);
    assert_eq!(cache.get(key(1)), None);
    assert!(DiskCache::open(&folder, 1 << 20).is_err());
}

const SMALL_DISK: &str = "BISTRO_TEST_SMALL_DISK";

/// Not a test by itself: what the next test does where the folder is a disk of 128 KiB.
#[test]
fn on_a_small_disk() {
    let Some(folder) = std::env::var_os(SMALL_DISK) else { return };
    let cache = DiskCache::open(Path::new(&folder), 1 << 20).unwrap();
    let fits = (0..100).take_while(|number| cache.put(key(*number), &batch(*number)) == Kept::Yes).count();
    assert!((10..=32).contains(&fits), "{fits} pages of 4 KiB");
    assert_eq!(cache.put(key(200), &batch(200)), Kept::DiskFull, "it stays full");
    assert_eq!(entries(Path::new(&folder)).len(), fits, "nothing half written is left");
    for number in 0..fits {
        assert_eq!(cache.get(key(number)), Some(batch(number)), "what is there can be read");
    }
    std::fs::remove_file(entries(Path::new(&folder)).pop().unwrap()).unwrap();
    std::fs::remove_file(entries(Path::new(&folder)).pop().unwrap()).unwrap();
    assert_eq!(cache.put(key(200), &batch(200)), Kept::Yes, "there is room again");
}

/// The folder becomes a small disk of its own, for the eyes of one process; a machine that does not let its users do so
/// cannot run this.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_named_and_stops_nothing() {
    const NOT_ALLOWED: i32 = 77;
    let dir = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs -o size=128k none \"$0\" || exit {NOT_ALLOWED}; exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]).arg(dir.path());
    command.arg(std::env::current_exe().unwrap()).args(["--exact", "on_a_small_disk"]).env(SMALL_DISK, dir.path());
    let Ok(output) = command.output() else { return };
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    match output.status.code() {
        Some(NOT_ALLOWED) => {}
        Some(1) if said.contains("unshare") => {}
        status => assert!(status == Some(0) && said.contains("1 passed"), "{said}"),
    }
}

const FOLDER: &str = "BISTRO_TEST_CACHE_FOLDER";
const BOUND: u64 = 100_000;

/// Not a test by itself: what the processes of the next test do.
#[test]
fn one_of_several_processes() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let cache = DiskCache::open(Path::new(&folder), BOUND).unwrap();
    for round in 0..400 {
        let number = (round * 7 + std::process::id() as usize) % 60;
        if let Some(found) = cache.get(key(number)) {
            assert_eq!(found, batch(number));
        } else {
            cache.put(key(number), &batch(number));
        }
    }
}

#[test]
fn several_processes_share_a_folder_and_one_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "one_of_several_processes"]).env(FOLDER, dir.path()).spawn().unwrap()
    };
    let mut processes: Vec<Child> = (0..4).map(|_| start()).collect();
    let mut killed = processes.pop().unwrap();
    while entries(dir.path()).len() < 5 {
        std::thread::sleep(Duration::from_millis(1));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    for mut process in processes {
        assert!(process.wait().unwrap().success());
    }
    let cache = DiskCache::open(dir.path(), BOUND).unwrap();
    cache.put(key(100), &batch(100));
    assert!(cache.bytes() <= BOUND, "{}", cache.bytes());
    assert!((0..60).filter_map(|number| Some((number, cache.get(key(number))?))).all(|(n, found)| found == batch(n)));
}

#[tokio::test]
async fn a_page_comes_over_the_network_once() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_parquet(&dir.path().join("data/aa/train-00000-of-00001.parquet"), "aa", 0..200, 50);
    let server = Server::start(dir.path()).await;
    let corpus = CorpusOptions { rows_per_page: 20, ..CorpusOptions::default() };
    let mut source = SourceOptions { corpus, hf_server: server.url.clone(), ..SourceOptions::default() };
    let name = format!("hf:{DATASET}");
    source.index = Some(survey::survey(&name, &source, &SurveyOptions::default()).await.unwrap());
    let page = PageId { config: "aa".into(), split: "train".into(), row: 33 };
    let options = |seq, packing| {
        let recipe = Recipe { tokenizer: Tokenizer::gpt2(), packing, seq };
        let disk = Some((cache.path().to_owned(), 1 << 20));
        PageOptions { source: source.clone(), disk, ..PageOptions::new(recipe) }
    };
    server.requests();
    let mut seen = Vec::new();
    for (seq, packing, requests) in [
        (16, Packing::Join, 1),
        (16, Packing::Join, 0),
        (32, Packing::Join, 1),
        (16, Packing::Pad, 1),
        (16, Packing::Pad, 0),
    ] {
        let batch = open(&name, &options(seq, packing)).unwrap().page(&page).await.unwrap();
        assert_eq!(server.requests(), requests, "{seq} {packing:?}");
        seen.push(batch);
    }
    assert!(seen[0] == seen[1] && seen[3] == seen[4] && seen[0] != seen[3]);
    assert!(seen[3].ids.contains(&PAD) && !seen[0].ids.contains(&PAD));
}
