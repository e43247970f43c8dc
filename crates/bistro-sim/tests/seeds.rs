//! Whole networks under faults, kills and attackers: the promises hold for every seed.
#![allow(clippy::unwrap_used, missing_docs)]

use bistro_sim::{Scenario, run};

/// Seeds that are tried, in two halves for two cores. `BISTRO_SIM_SEEDS=1000` tries more.
fn promises_hold(half: u64) {
    let seeds = std::env::var("BISTRO_SIM_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(50_u64);
    let scenario = Scenario::default();
    for seed in (half..seeds).step_by(2) {
        let outcome = run(&scenario, seed).unwrap();
        assert!(outcome.broken.is_empty(), "seed {seed}: {:#?}", outcome.broken);
    }
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
