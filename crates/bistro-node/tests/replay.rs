//! A run's log, followed by somebody who believes nothing of it.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code, clippy::cast_lossless)]

mod world;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bistro_core::events::{Event, Judged, Record};
use bistro_core::ids::{Block, Hash, Hotkey, Uid};
use bistro_core::logline;
use bistro_core::mechanism::{Observation, Verdict};
use bistro_core::protocol::{Encoding, Folder};
use bistro_node::log::{self, published};
use bistro_node::replay::evaluate::evaluate;
use bistro_node::replay::{Replay, Report, What, source};
use bistro_node::{leader, miner, validator};
use bistro_sim::chain::FakeIdentity;
use tokio_util::sync::CancellationToken;
use world::{NETUID, ToyBuild, World, rules};

const VALIDATOR: Hotkey = Hotkey([1; 32]);

/// A validator and two miners under `rules_name`, the validator ended without warning now and then; the world and its log.
async fn run(dir: &Path, rules_name: &str, lives: u64) -> (World, PathBuf) {
    let world = World::new(&[VALIDATOR, Hotkey([2; 32]), Hotkey([3; 32])]);
    let (rules, stop) = (rules(rules_name), CancellationToken::new());
    let mut miners = Vec::new();
    for n in [2, 3] {
        let options = miner::Options { mechanism: None, encoding: Encoding::F32, batch_rows: 4, seed: [n; 32] };
        let (parts, stop) = (world.parts(Hotkey([n; 32]), dir), stop.clone());
        miners.push(tokio::task::spawn_local(async move { miner::run(parts, &ToyBuild, options, stop).await }));
    }
    for life in 0..lives {
        let own = CancellationToken::new();
        let options = validator::Options { rules: rules.clone(), seed: [life as u8; 32], version: "test".into() };
        let (parts, token) = (world.parts(VALIDATOR, dir), own.clone());
        let v = tokio::task::spawn_local(async move { validator::run(parts, &ToyBuild, options, token).await });
        tokio::time::sleep(Duration::from_millis(9_777)).await;
        if life + 1 < lives {
            v.abort();
            let _ = v.await;
        } else {
            own.cancel();
            v.await.unwrap().unwrap();
        }
    }
    stop.cancel();
    for miner in miners {
        miner.await.unwrap().unwrap();
    }
    (world, dir.join("bucket-1").join(log::FOLDER))
}

fn replay(log: &Path) -> Report {
    source::of_path(log, &FakeIdentity(VALIDATOR), 0).unwrap().report
}

/// What a real run wrote follows from itself: after restarts without warning, under both rules.
#[tokio::test(flavor = "local", start_paused = true)]
async fn the_log_of_a_run_follows_from_itself() {
    for name in ["recommended", "readme"] {
        let dir = tempfile::tempdir().unwrap();
        let (_, log) = run(dir.path(), name, 6).await;
        let report = replay(&log);
        assert!(report.holds(), "{name}: {report:#?}");
        assert_eq!((report.starts, report.anew, report.first), (6, 0, 0), "scores survive every restart");
        assert!(
            report.judged > 10 && report.accepted > 2 && report.published > 1 && report.weights_set > 2,
            "{report:?}"
        );
    }
}

/// The lines of a log.
fn lines(log: &Path) -> Vec<Vec<u8>> {
    let files = log::segments::list(log).unwrap();
    let text = files.iter().flat_map(|file| std::fs::read(file).unwrap()).collect::<Vec<u8>>();
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

fn replay_lines(lines: &[Vec<u8>]) -> Report {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines.iter().flat_map(|line| [&line[..], b"\n"].concat()).collect::<Vec<u8>>())
        .unwrap();
    replay(file.path())
}

/// One bit flipped anywhere, a record taken out, two exchanged, one more at the end: each is found, and the record named.
#[tokio::test(flavor = "local", start_paused = true)]
async fn every_change_of_a_written_log_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (_, log) = run(dir.path(), "recommended", 2).await;
    let whole = lines(&log);
    assert!(replay_lines(&whole).holds());
    for at in 0..whole.len() {
        for byte in (0..whole[at].len()).step_by(97) {
            let mut changed = whole.clone();
            changed[at][byte] ^= 1;
            let broken = replay_lines(&changed).broken.unwrap_or_else(|| panic!("record {at}, byte {byte} passed"));
            assert!(
                broken.contains(&format!("record {at} ")) || broken.contains(&format!("record {} ", at + 1)),
                "{broken}"
            );
        }
    }
    for at in 0..whole.len() - 1 {
        let mut without = whole.clone();
        without.remove(at);
        let mut swapped = whole.clone();
        swapped.swap(at, at + 1);
        for (changed, least) in [(without, usize::from(at == 0)), (swapped, 0)] {
            // Without its very first record a log is one whose beginning is not kept.
            assert!(least == 1 || replay_lines(&changed).broken.is_some(), "record {at}");
        }
    }
    let mut more = whole.clone();
    more.push(whole[whole.len() - 1].clone());
    assert!(replay_lines(&more).broken.is_some());
}

/// The losses are measured again from objects and pages: they are what the log says, and one that is not is found.
#[tokio::test(flavor = "local", start_paused = true)]
async fn losses_are_measured_again_from_the_objects() {
    let dir = tempfile::tempdir().unwrap();
    let (world, log) = run(dir.path(), "recommended", 3).await;
    let anybody = world.parts(Hotkey([9; 32]), dir.path());
    let leader = leader::find(&anybody, &world.metagraph()).await.unwrap().unwrap();
    let replayed = source::of_path(&log, &FakeIdentity(VALIDATOR), 1000).unwrap();
    let (rules, verdicts, mut report) = (replayed.rules.unwrap(), replayed.verdicts, replayed.report);
    evaluate(&anybody, &ToyBuild, &leader, &rules, verdicts.clone(), &mut report).await.unwrap();
    assert!(report.holds(), "{report:#?}");
    // Accepted ones for good, the others as long as their miner keeps them.
    assert!(report.measured_again >= report.accepted && report.accepted > 3, "{report:?}");
    assert_eq!(report.measured_again + report.not_measured, verdicts.len() as u64);
    assert!(report.largest_difference < 1e-9, "{report:?}");
    let lies: [(Change, u64); 4] = [
        (|j| j.local_loss -= 0.01, report.measured_again),
        (|j| j.candidates[0].loss += 0.01, report.measured_again),
        // What is paid for.
        (|j| j.proof.iter_mut().for_each(|proof| proof.global.before += 0.01), report.accepted),
        (|j| j.proof.iter_mut().for_each(|proof| proof.local.before += 0.01), report.accepted),
    ];
    for (n, (lie, found)) in lies.into_iter().enumerate() {
        let mut lies = verdicts.clone();
        for (_, judged) in &mut lies {
            lie(judged);
        }
        let mut report = Report::default();
        evaluate(&anybody, &ToyBuild, &leader, &rules, lies, &mut report).await.unwrap();
        assert!(report.differences.len() as u64 + report.more_differences >= found, "lie {n}: {report:?}");
        assert_eq!(report.differences[0].what, What::MeasuredLoss);
    }
}

type Lie = (What, fn(&mut Event) -> bool);
type Change = fn(&mut Judged);

/// A validator that lies in its own log, every line signed and in its place: the first such record is told from those that
/// follow, by what does not follow.
#[tokio::test(flavor = "local", start_paused = true)]
async fn every_lie_that_a_validator_could_sign_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (_, log) = run(dir.path(), "readme", 2).await;
    let truth: Vec<Record> = lines(&log).iter().map(|line| logline::parse(line, 0).unwrap()).collect();
    let replayed = |records: &[Record]| {
        let mut replay = Replay::default();
        for record in records {
            replay.take(record);
        }
        replay.finish(None).report
    };
    assert!(replayed(&truth).holds());
    let lies: Vec<Lie> = vec![
        (What::Verdict, |e| judged(e, |j| flip(&mut j.verdict))),
        (What::GlobalLoss, |e| judged(e, |j| j.global_loss -= 0.01)),
        (What::GlobalLoss, |e| judged(e, |j| j.candidates[0].loss -= 0.01)),
        (What::Verdict, |e| judged(e, |j| j.candidates[0].scale = 3.0)),
        (What::Threshold, |e| judged(e, |j| j.min_loss = Some(1.0))),
        (What::LocalPages, |e| judged(e, |j| j.local_pages[0].row += 1)),
        (What::LocalPages, |e| judged(e, |j| j.drawn = Block(j.drawn.0 + 1000))),
        (What::Slot, |e| judged(e, |j| j.uid = Uid(0))),
        (What::Weights, |e| judged(e, |j| j.local_loss += 0.5)),
        (What::Weights, |e| judged(e, |j| (j.hotkey, j.uid) = other(j.hotkey))),
        (What::Weights, |e| weights(e, |w| w[0].1 ^= 0x4000)),
        (What::Weights, |e| weights(e, |w| w.truncate(1))),
        (What::Weights, |e| weights(e, |w| w.push((Uid(0), 65_535)))),
        (What::Master, |e| published(e, |object, _| *object = Hash([9; 32]))),
        (What::Master, |e| published(e, |_, loss| *loss -= 1.0)),
    ];
    for (n, (what, lie)) in lies.into_iter().enumerate() {
        // Late enough that there is something before it, early enough that something rests on it. A second verdict on a miner
        // in one block counts for nothing in the averages, and a lie in it neither: the next ones are tried, too.
        let from = truth.len() / 4;
        let mut reports = (from..truth.len()).filter_map(|at| {
            let mut records = truth.clone();
            lie(&mut records[at].event).then(|| replayed(&records))
        });
        let found = |report: &Report| report.differences.iter().any(|d| d.what == what);
        assert!(reports.by_ref().take(4).any(|report| found(&report)), "lie {n}: {what:?} was not found");
    }
    // A score out of nowhere, at the restart.
    let mut records = truth.clone();
    let checkpoint =
        records.iter_mut().rev().find_map(|r| if let Event::Checkpoint(c) = &mut r.event { Some(c) } else { None });
    checkpoint.unwrap().ledger.scores.observe(
        &rules("readme").mechanism.scoring,
        &Observation {
            hotkey: Hotkey([3; 32]),
            block: Block(9),
            local: 0.1,
            global: 0.1,
            gain: 1.0,
            master_seq: 1,
            merged_by: 0,
            shown: None,
        },
    );
    assert!(replayed(&records).differences.iter().any(|d| d.what == What::Score));
}

/// A validator could favour a miner by what it says to have seen of its work. What pages were stated is in the log, and what
/// follows from them is in the weights.
#[tokio::test(flavor = "local", start_paused = true)]
async fn lies_about_the_work_that_was_shown_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let (_, log) = run(dir.path(), "recommended", 2).await;
    let truth: Vec<Record> = lines(&log).iter().map(|line| logline::parse(line, 0).unwrap()).collect();
    let lies: [Lie; 2] = [
        (What::LocalPages, |e| stated(e, |pages| pages.push(u64::MAX))),
        (What::LocalPages, |e| stated(e, |pages| *pages = vec![pages[0] - 1])),
    ];
    for (n, (what, lie)) in lies.into_iter().enumerate() {
        let (mut records, mut replay) = (truth.clone(), Replay::default());
        let from = records.len() / 4;
        assert!(records[from..].iter_mut().any(|record| lie(&mut record.event)), "lie {n} found no place");
        for record in &records {
            replay.take(record);
        }
        let report = replay.finish(None).report;
        assert!(report.differences.iter().any(|d| d.what == what), "lie {n}: {what:?} is not among {report:#?}");
    }
}

fn stated(event: &mut Event, lie: impl FnOnce(&mut Vec<u64>)) -> bool {
    match event {
        Event::Judged(judged) if !judged.trained.is_empty() => {
            lie(&mut judged.trained);
            true
        }
        _ => false,
    }
}

fn judged(event: &mut Event, lie: impl FnOnce(&mut Judged)) -> bool {
    if let Event::Judged(judged) = event {
        lie(judged);
        return true;
    }
    false
}

fn weights(event: &mut Event, lie: impl FnOnce(&mut Vec<(Uid, u16)>)) -> bool {
    match event {
        Event::WeightsSet { weights, .. } if weights.len() > 1 => {
            lie(weights);
            true
        }
        _ => false,
    }
}

fn published(event: &mut Event, lie: impl FnOnce(&mut Hash, &mut f64)) -> bool {
    if let Event::Published { object: Some(object), global_loss: Some(loss), .. } = event {
        lie(object, loss);
        return true;
    }
    false
}

fn flip(verdict: &mut Verdict) {
    *verdict = match verdict {
        Verdict::Accept(_) => Verdict::Reject,
        Verdict::Reject => Verdict::Accept(bistro_core::mechanism::Candidate { scale: 1.0, loss: 1.0 }),
    };
}

fn other(hotkey: Hotkey) -> (Hotkey, Uid) {
    if hotkey.0[0] == 2 { (Hotkey([3; 32]), Uid(2)) } else { (Hotkey([2; 32]), Uid(1)) }
}

/// The bucket has the whole log; anybody reads it there, and whoever changes a byte of it is found.
#[tokio::test(flavor = "local", start_paused = true)]
async fn the_published_log_is_the_log_and_cannot_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (world, log) = run(dir.path(), "recommended", 3).await;
    let anybody = world.parts(Hotkey([9; 32]), dir.path());
    let published = published::Published::find(&anybody, &VALIDATOR).await.unwrap().unwrap();
    assert_eq!(source::of_published(&anybody, &published, 0).await.unwrap().report, replay(&log));
    let newest = published::newest(&anybody, &VALIDATOR, 5).await.unwrap().unwrap();
    assert_eq!(newest, log::read(&log).unwrap().0, "one segment is there, and comes whole");
    assert!(published::newest(&anybody, &Hotkey([2; 32]), 5).await.unwrap().is_none(), "a miner publishes no log");
    // Only what the pointer names is there.
    let owner = world.parts(VALIDATOR, dir.path());
    let folder = Folder::new(NETUID, &VALIDATOR);
    let objects = owner.own.list(&format!("{}log-", folder.prefix())).await.unwrap();
    assert!(objects.len() <= 2, "{objects:?}");
    let key = folder.log_segment(0, &published.manifest.segments[0].object);
    let mut bytes = world.buckets.peek("bucket-1", &key).unwrap().to_vec();
    bytes[500] ^= 1;
    owner.own.put(&key, bytes.into(), bistro_core::ports::Put::Replace).await.unwrap();
    assert!(source::of_published(&anybody, &published, 0).await.is_err(), "another object than the pointer names");
    let mut forged = published.clone();
    forged.manifest.segments[0].end.seq += 1;
    let json = bistro_core::protocol::Signed::new(forged.manifest, |m| anybody.identity.sign(m)).to_json();
    owner.own.put(&folder.log(), json.into(), bistro_core::ports::Put::Replace).await.unwrap();
    assert!(published::newest(&anybody, &VALIDATOR, 5).await.is_err(), "a pointer that another signed");
}

/// The machine is lost, and with it log and state: the log goes on from what was published, and says that scores began anew.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_log_that_was_lost_goes_on_from_the_published_one() {
    let dir = tempfile::tempdir().unwrap();
    let (world, log) = run(dir.path(), "recommended", 1).await;
    let before = log::read(&log).unwrap().0.len() as u64;
    std::fs::remove_dir_all(dir.path().join("bucket-1")).unwrap();
    let stop = CancellationToken::new();
    let options = validator::Options { rules: rules("recommended"), seed: [8; 32], version: "test".into() };
    let (parts, token) = (world.parts(VALIDATOR, dir.path()), stop.clone());
    let v = tokio::task::spawn_local(async move { validator::run(parts, &ToyBuild, options, token).await });
    tokio::time::sleep(Duration::from_secs(10)).await;
    stop.cancel();
    v.await.unwrap().unwrap();
    assert_eq!(replay(&log).first, before);
    let anybody = world.parts(Hotkey([9; 32]), dir.path());
    let published = published::Published::find(&anybody, &VALIDATOR).await.unwrap().unwrap();
    let report = source::of_published(&anybody, &published, 0).await.unwrap().report;
    assert!(report.holds(), "{report:#?}");
    assert_eq!((report.first, report.starts, report.anew), (0, 2, 1));
}
