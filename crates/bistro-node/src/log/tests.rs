use std::time::Duration;

use bistro_core::ids::Hotkey;
use bistro_core::ports::Clock;

use super::*;

struct FakeClock;

#[async_trait::async_trait]
impl Clock for FakeClock {
    fn unix_millis(&self) -> u64 {
        7
    }

    async fn sleep(&self, _: Duration) {}
}

struct FakeIdentity(Hotkey);

impl Identity for FakeIdentity {
    fn hotkey(&self) -> Hotkey {
        self.0
    }

    fn sign(&self, _: &[u8]) -> [u8; 64] {
        [0; 64]
    }

    fn verify(&self, _: &Hotkey, _: &[u8], _: &[u8; 64]) -> bool {
        true
    }
}

fn open_as(dir: &Path, hotkey: u8) -> Result<EventLog, NodeError> {
    let identity = Arc::new(FakeIdentity(Hotkey([hotkey; 32])));
    EventLog::new(dir, NetUid(1), identity, Arc::new(FakeClock), Place::BEGIN)
}

fn open(dir: &Path) -> EventLog {
    open_as(dir, 1).unwrap()
}

fn measured(seq: u64) -> Event {
    Event::Measured { seq, hash: Hash([1; 32]), loss: 1.5 }
}

fn numbers(dir: &Path) -> Vec<u64> {
    let (records, bad) = read(dir).unwrap();
    assert_eq!(bad, 0);
    records.iter().map(|record| record.seq).collect()
}

#[test]
fn a_line_torn_by_a_crash_is_cut_off_and_the_chain_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("00000000000000000000.jsonl");
    for n in 0..3 {
        assert_eq!(open(dir.path()).append(Block(n), measured(n)).unwrap().seq, n);
    }
    let whole = std::fs::read(&file).unwrap();
    for cut in [1, 20, 200] {
        std::fs::write(&file, &whole[..whole.len() - cut]).unwrap();
        let log = open(dir.path());
        assert_eq!(log.next(), 2, "cut by {cut}");
        log.append(Block(9), measured(9)).unwrap();
        assert_eq!(numbers(dir.path()), [0, 1, 2]);
        open(dir.path());
    }
}

#[test]
fn a_changed_line_is_refused_with_what_to_do_and_so_is_anothers_log() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..3 {
        open(dir.path()).append(Block(n), measured(n)).unwrap();
    }
    assert!(open_as(dir.path(), 2).is_err_and(|error| error.to_string().contains("another hotkey's")));
    let file = dir.path().join("00000000000000000000.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("\"block\":1", "\"block\":7", 1)).unwrap();
    let error = open_as(dir.path(), 1).err().unwrap().to_string();
    assert!(error.contains("record 2 does not follow") && error.contains("backup"), "{error}");
}

#[test]
fn a_new_segment_goes_on_where_the_last_one_ended_even_after_a_crash_between_them() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.append(Block(0), measured(0)).unwrap();
    assert!(!log.is_long());
    log.roll(Block(1), measured(1)).unwrap();
    log.append(Block(2), measured(2)).unwrap();
    assert_eq!(segments::list(dir.path()).unwrap().len(), 2);
    assert_eq!(log.since(1).unwrap().iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(log.since(0).unwrap().len(), 3);
    drop(log);
    // Killed as it began the third file, before its first line was whole.
    std::fs::write(dir.path().join("00000000000000000003.jsonl"), b"{\"record\":{").unwrap();
    let log = open(dir.path());
    log.append(Block(3), measured(3)).unwrap();
    assert_eq!(numbers(dir.path()), [0, 1, 2, 3]);
}

/// The disk is full: the record is refused by the system's own error, the loop ends, and what was there stays as it was.
#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).append(Block(0), measured(0)).unwrap();
    let log = open(dir.path());
    // A device on which there is never room.
    std::os::unix::fs::symlink("/dev/full", dir.path().join("00000000000000000001.jsonl")).unwrap();
    log.roll(Block(1), measured(1)).expect_err("it was written");
    let error = log.append(Block(1), measured(1)).expect_err("it was written");
    assert!(error.is_temporary() && error.to_string().contains("00000000000000000001.jsonl"), "{error}");
    std::fs::remove_file(dir.path().join("00000000000000000001.jsonl")).unwrap();
    open(dir.path()).append(Block(2), measured(2)).unwrap();
    assert_eq!(numbers(dir.path()), [0, 1]);
}
