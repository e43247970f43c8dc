//! More miners train faster: this is what the system is for.
#![allow(clippy::unwrap_used, missing_docs)]

use bistro_core::rules::{Mechanism, SHIPPED};
use bistro_sim::scaling::Race;
use bistro_sim::scaling::toy::{self, ToyContestant};
use bistro_sim::toy::Rate;

/// Pages of the lone trainer: short, for time; longer runs gain more.
const PAGES: u32 = 120;

fn contestant(rate: f32) -> ToyContestant {
    ToyContestant { rate: Rate { first: rate, cosine_steps: 0 } }
}

/// A race under the recommended rules.
fn recommended(seed: u64) -> Race {
    let text = SHIPPED.iter().find(|(name, _)| *name == "recommended").unwrap().1;
    toy::race(Mechanism::from_toml(text).unwrap(), PAGES, seed).unwrap()
}

/// 0.66 to 0.83 of its time over eight seeds, 0.71 in the mean: with six miners the validator's time is what limits them, and the
/// pages by which gains are paid take a good part of it. The lone trainer has the better of its rate and of theirs, which is
/// twice that.
#[test]
fn six_miners_reach_a_lone_trainers_loss_well_before_it() {
    for seed in [1, 2] {
        let race = recommended(seed);
        let alone = [6e-3, 12e-3].map(|rate| race.alone(&contestant(rate)).unwrap().end());
        let network = race.network(&contestant(12e-3), 6).unwrap();
        let time = network.reaches(alone[0].min(alone[1])).map_or(f64::INFINITY, |pages| pages / f64::from(PAGES));
        assert!(time < 0.8, "seed {seed}: after {time:.2} of its time");
    }
}

#[test]
fn a_race_is_the_same_each_time() {
    let build = contestant(6e-3);
    let both = || (recommended(3).alone(&build).unwrap(), recommended(3).network(&build, 2).unwrap());
    assert_eq!(both(), both());
}

/// What is published in a race's first third must not depend on how long it goes on, or a share of it says nothing.
#[test]
fn a_shortened_race_is_the_beginning_of_the_whole() {
    let race = recommended(4);
    let build = contestant(6e-3);
    let whole = race.network(&build, 2).unwrap();
    let third = race.clone().shortened(0.3).network(&build, 2).unwrap();
    assert_eq!(third.points[..], whole.points[..third.points.len()]);
    assert_eq!(third.points.len(), 16);
}

/// The mean of eight models has less of the noise of single steps than one; alone, it is the plain trainer.
#[test]
fn trainers_who_trust_each_other_are_better_than_one() {
    let race = recommended(5);
    let build = contestant(6e-3);
    let (one, eight) = (race.trusted(&build, 1, 1).unwrap(), race.trusted(&build, 8, 1).unwrap());
    assert!(eight.end() < one.end() - 0.02, "{} against {}", eight.end(), one.end());
}
