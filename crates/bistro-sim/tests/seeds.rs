//! Whole networks under faults, kills and attackers: the promises hold for every seed.
#![allow(clippy::unwrap_used, missing_docs)]

use std::ops::Range;
use std::path::Path;

use bistro_sim::attackers::{self, Row};
use bistro_sim::kinds::{ALL, Kind};
use bistro_sim::{Outcome, Scenario, batch, report, run};

/// Seeds that are tried, in two halves for two cores. `BISTRO_SIM_SEEDS=1000` tries more.
fn promises_hold(half: u64) {
    let seeds = std::env::var("BISTRO_SIM_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(50_u64);
    let (scenario, mut paid) = (Scenario::default(), 0);
    for seed in (half..seeds).step_by(2) {
        let outcome = run(&scenario, seed).unwrap();
        assert!(outcome.broken.is_empty(), "seed {seed}: {:#?}", outcome.broken);
        paid += u64::from(outcome.neurons.iter().any(|neuron| neuron.earned > 0.0));
    }
    // Where no weights are set, nothing is shown about them.
    assert!(paid >= seeds / 2 - seeds / 10, "weights in {paid} runs");
}

#[test]
fn the_promises_hold_under_faults_kills_and_attackers_for_even_seeds() {
    promises_hold(0);
}

#[test]
fn the_promises_hold_under_faults_kills_and_attackers_for_odd_seeds() {
    promises_hold(1);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let scenario = Scenario { blocks: 60, ..Scenario::default() };
    let (first, second) = (run(&scenario, 7).unwrap(), run(&scenario, 7).unwrap());
    assert_eq!(first, second);
    assert_ne!(first.digest, run(&scenario, 8).unwrap().digest);
}

/// Time for people is in the log and nowhere else: under a wall clock that is set back and forth by days the same happens.
#[test]
fn a_wall_clock_that_jumps_changes_nothing() {
    let still = run(&Scenario::default(), 5).unwrap();
    let jumping = run(&Scenario { clock_jumps: true, ..Scenario::default() }, 5).unwrap();
    assert_ne!(still.digest, jumping.digest, "the logs tell the time");
    assert_eq!(jumping, Outcome { digest: jumping.digest, ..still });
}

#[test]
fn without_faults_honest_miners_bring_the_loss_down() {
    let scenario: Scenario = Scenario::from_toml(
        "faults = 0.0\nkills = 0\nblocks = 200\nminers = [\"honest\", \"honest\", \"noise\"]\nvalidators = [1000]",
    )
    .unwrap();
    let outcome = run(&scenario, 1).unwrap();
    assert_eq!(outcome.broken, Vec::<String>::new());
    assert!(outcome.loss_end < outcome.loss_start - 0.15, "{outcome:#?}");
    let [_, one, two, noise] = &outcome.neurons[..] else { panic!("{outcome:#?}") };
    for honest in [one, two] {
        assert!(honest.accepted > 3 * noise.accepted && honest.earned > 1.0, "{outcome:#?}");
    }
}

/// What each of `kinds` earned by the recommended rules in `blocks` blocks of its `seeds`; every promise held.
fn rows(kinds: &[Kind], blocks: u64, seeds: impl Fn(Kind) -> Range<u64>) -> Vec<Row> {
    let job = |kind: Kind| seeds(kind).map(move |seed| (attackers::scenario(kind, "recommended", blocks), seed));
    let jobs: Vec<(Scenario, u64)> = kinds.iter().copied().flat_map(job).collect();
    let mut outcomes = batch::run_all(&jobs, |_, _| Ok(())).unwrap().into_iter();
    let row = |kind: &Kind| {
        let outcomes: Vec<Outcome> = outcomes.by_ref().take(seeds(*kind).count()).collect();
        assert!(outcomes.iter().all(|outcome| outcome.broken.is_empty()), "{kind:?}: {outcomes:#?}");
        Row::new(*kind, "recommended", blocks, &outcomes)
    };
    kinds.iter().map(row).collect()
}

/// A short form of `simulate --attackers`: long enough for everybody to be judged some dozen times. For copies that is too short,
/// as it takes some verdicts until premiums tell: see below.
#[test]
fn by_the_recommended_rules_attackers_earn_little_more_than_their_work() {
    let copies = [Kind::Copy, Kind::BackdatedCopy, Kind::RescaledCopy, Kind::NoisyCopy, Kind::DisguisedCopy];
    let kinds: Vec<Kind> = ALL.into_iter().filter(|kind| *kind != Kind::Honest && !copies.contains(kind)).collect();
    // Who works is measured by its work, over several seeds: in a run as short as this one chance is most of a factor of one and
    // a half.
    let works =
        |kind: Kind| matches!(kind, Kind::OnOff | Kind::TrainedCopy | Kind::Exaggerate | Kind::Overfit | Kind::Sybil);
    let seeds = |kind: Kind| if works(kind) { 0..4 } else { 1..2 };
    for (kind, row) in kinds.iter().zip(rows(&kinds, 240, seeds)) {
        let limit = if works(*kind) { 1.5 * row.work } else { 0.15 };
        assert!(row.earned < limit, "{row:#?}");
        assert!(row.honest_accepted > 5.0, "{row:#?}");
    }
}

/// Nothing tells copies with noise from originals but that they show no work, nor an exact copy of what was never judged: what
/// they have is luck with their first premiums. Paid by gains, the noisy ones earn 0.75 and 0.55 here, and the honest
/// miners beside them, who all do the same, differ by twice as much.
#[test]
fn copies_are_soon_not_paid_and_equal_work_is_paid_alike() {
    let rows = rows(&[Kind::Copy, Kind::NoisyCopy, Kind::DisguisedCopy], 480, |_| 0..6);
    for row in &rows {
        assert!(row.earned < 0.15, "{row:#?}");
    }
    assert!(rows[1..].iter().all(|row| row.accepted > 10.0), "{rows:#?}");
    let spread = rows.iter().map(|row| row.spread).sum::<f64>() / rows.len() as f64;
    assert!(spread < 0.22, "{rows:#?}");
}

/// What each copier of a network earned, in what the mean honest miner beside it did; mean of some seeds.
fn copiers_pay(scenario: &Scenario) -> f64 {
    let outcomes = batch::run_all(&[1, 2, 3].map(|seed| (scenario.clone(), seed)), |_, _| Ok(())).unwrap();
    let mean = |outcome: &Outcome, honest: bool| {
        let miners = outcome.neurons.iter().filter(|neuron| neuron.kind != "validator");
        let earned: Vec<f64> = miners.filter(|n| (n.kind == "honest") == honest).map(|n| n.earned).collect();
        earned.iter().sum::<f64>() / earned.len() as f64
    };
    outcomes.iter().map(|outcome| mean(outcome, false) / mean(outcome, true)).sum::<f64>() / outcomes.len() as f64
}

/// A copier states pages, too. Where each hotkey is asked alike whether pages are known, this one is half of them, and earns 0.6
/// to 0.9 of what the miner does.
#[test]
fn a_copier_beside_a_single_honest_miner_is_not_paid() {
    for kind in [Kind::NoisyCopy, Kind::DisguisedCopy] {
        let network = attackers::scenario(kind, "recommended", 480);
        let pay = copiers_pay(&Scenario { miners: vec![Kind::Honest, kind], ..network });
        assert!(pay < 0.15, "{kind:?}: {pay}");
    }
}

#[test]
fn copiers_in_the_majority_are_not_paid() {
    let scenario = Scenario::from_toml(include_str!("../../../config/scenarios/copiers.toml")).unwrap();
    let pay = copiers_pay(&Scenario { blocks: 480, ..scenario });
    assert!(pay < 0.1, "{pay}");
}

/// A block that a copy states is no proof of anything.
#[test]
fn a_backdated_copy_earns_what_an_exact_one_does() {
    let [copy, backdated] = [Kind::Copy, Kind::BackdatedCopy].map(|kind| rows(&[kind], 240, |_| 1..3).remove(0));
    assert_eq!((copy.earned, copy.accepted), (backdated.earned, backdated.accepted), "{copy:#?} {backdated:#?}");
}

/// The one who leads merges what it accepts, the other only measures: their weights overlap by more than half, as far as the
/// toy's small pages let either know a miner's worth. A follower that paid for being judged, or nobody, would share a fifth or
/// nothing with the leader.
#[test]
fn a_follower_pays_as_the_leader_does() {
    let scenario: Scenario = Scenario::from_toml(
        "faults = 0.0\nkills = 0\nreorganisations = 0\nblocks = 300\nvalidators = [1000, 400]\n\
         miners = [\"honest\", \"honest\", \"on_off\", \"zero\", \"noise\"]",
    )
    .unwrap();
    let outcomes = batch::run_all(&[1, 2, 3].map(|seed| (scenario.clone(), seed)), |_, _| Ok(())).unwrap();
    // The leader's weights are the median: what the follower gets for its stake is how far it agrees with them.
    let overlap = |outcome: &Outcome| {
        let [leader, follower] = [0, 1].map(|i| outcome.neurons[i].dividends / [1000.0, 400.0][i]);
        follower / leader
    };
    let overlaps: Vec<f64> = outcomes.iter().map(overlap).collect();
    assert!(overlaps.iter().sum::<f64>() / overlaps.len() as f64 > 0.5, "{overlaps:?}");
}

#[test]
fn the_shipped_scenarios_are_scenarios() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/scenarios");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        let scenario = Scenario::from_toml(&std::fs::read_to_string(&file).unwrap());
        scenario.unwrap_or_else(|error| panic!("{}: {error:#}", file.display())).mechanism().unwrap();
    }
}

/// A page that needs nothing beside it: who earned what, the loss, the verdicts, the scenario, and what was broken.
#[test]
fn a_report_is_one_page_with_its_plots_inside() {
    let scenario = Scenario { blocks: 40, ..Scenario::calm() };
    let mut outcome = run(&scenario, 3).unwrap();
    outcome.broken.push("P9: <nothing>".into());
    let folder = tempfile::tempdir().unwrap();
    report::write(folder.path(), &scenario, &[outcome]).unwrap();
    let page = std::fs::read_to_string(folder.path().join("index.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 3);
    for part in ["seed 3: P9: &lt;nothing>", "honest", "Loss of the master", "accepted", "reorganisations = 0"] {
        assert!(page.contains(part), "no {part}");
    }
    let links = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!links.contains("http") && !links.contains("<script"), "it reaches out");
}
