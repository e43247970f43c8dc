//! More miners train faster: this is what the system is for.
#![allow(clippy::unwrap_used, missing_docs)]

use bistro_core::rules::{Mechanism, SHIPPED};
use bistro_sim::scaling::Curve;
use bistro_sim::scaling::toy::{self, ToyContestant};
use bistro_sim::toy::Rate;

/// Pages of the lone trainer: short, for time; longer runs gain more.
const PAGES: u32 = 120;

fn contestant(rate: f32) -> ToyContestant {
    ToyContestant { rate: Rate { first: rate, cosine_steps: 0 } }
}

/// One trainer alone, and a network under the shipped rules of that name, at the same learning rate.
fn race(rules: &str, miners: usize, seed: u64) -> (Curve, Curve) {
    let text = SHIPPED.iter().find(|(name, _)| *name == rules).unwrap().1;
    let race = toy::race(Mechanism::from_toml(text).unwrap(), PAGES, seed).unwrap();
    let build = contestant(6e-3);
    (race.alone(&build).unwrap(), race.network(&build, miners).unwrap())
}

/// 0.66 to 0.83 of its time over eight seeds, 0.71 in the mean: with six miners the validator's time is what limits them, and the
/// pages by which gains are paid take a good part of it. The lone trainer has the better of its rate and of theirs, which is
/// twice that.
#[test]
fn six_miners_reach_a_lone_trainers_loss_well_before_it() {
    let text = SHIPPED.iter().find(|(name, _)| *name == "recommended").unwrap().1;
    for seed in [1, 2] {
        let race = toy::race(Mechanism::from_toml(text).unwrap(), PAGES, seed).unwrap();
        let alone = [6e-3, 12e-3].map(|rate| race.alone(&contestant(rate)).unwrap().end());
        let network = race.network(&contestant(12e-3), 6).unwrap();
        let time = network.reaches(alone[0].min(alone[1])).map_or(f64::INFINITY, |pages| pages / f64::from(PAGES));
        assert!(time < 0.8, "seed {seed}: after {time:.2} of its time");
    }
}

#[test]
fn a_race_is_the_same_each_time() {
    assert_eq!(race("recommended", 2, 3), race("recommended", 2, 3));
}

/// What is published in a race's first third must not depend on how long it goes on, or a share of it says nothing.
#[test]
fn a_shortened_race_is_the_beginning_of_the_whole() {
    let text = SHIPPED.iter().find(|(name, _)| *name == "recommended").unwrap().1;
    let race = toy::race(Mechanism::from_toml(text).unwrap(), PAGES, 4).unwrap();
    let build = contestant(6e-3);
    let whole = race.network(&build, 2).unwrap();
    let third = race.clone().shortened(0.3).network(&build, 2).unwrap();
    assert_eq!(third.points[..], whole.points[..third.points.len()]);
    assert_eq!(third.points.len(), 16);
}

/// The mean of eight models has less of the noise of single steps than one; alone, it is the plain trainer.
#[test]
fn trainers_who_trust_each_other_are_better_than_one() {
    let text = SHIPPED.iter().find(|(name, _)| *name == "recommended").unwrap().1;
    let race = toy::race(Mechanism::from_toml(text).unwrap(), PAGES, 5).unwrap();
    let build = contestant(6e-3);
    let (one, eight) = (race.trusted(&build, 1, 1).unwrap(), race.trusted(&build, 8, 1).unwrap());
    assert!(eight.end() < one.end() - 0.02, "{} against {}", eight.end(), one.end());
}
