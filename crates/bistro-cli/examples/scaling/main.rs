//! How much faster more miners train: the real loops in virtual time, with the toy model or a real one on real text;
//! `scripts/bench/scaling.sh` runs it.
#![allow(clippy::print_stdout, clippy::print_stderr)] // its output is what it is for

mod contestants;
mod plot;
mod races;
#[path = "../common/text.rs"]
mod text;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};
use bistro_core::mechanism::AcceptanceRules;
use bistro_core::rules::{Mechanism, OnNewMaster, SHIPPED};
use bistro_sim::scaling::{Curve, Race};
use clap::{Parser, ValueEnum};
use contestants::{Contest, Speed};
use races::{Entry, Races};
use serde::{Deserialize, Serialize};

/// Races networks of more and more miners against one trainer alone.
#[derive(Parser)]
// scaling.sh sets pages, seeds and threads for `nano`; what is typed after those counts.
#[command(args_override_self = true)]
struct Args {
    /// What trains.
    #[arg(long, default_value = "toy")]
    model: Model,
    /// Folder of `.txt` files for the real model.
    #[arg(long, default_value = "corpus/sotu")]
    text: PathBuf,
    /// Pages that one trainer trains on.
    #[arg(long, default_value_t = 500)]
    pages: u32,
    /// Seeds of all draws; figures are means.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Numbers of miners under the recommended rules; 0 for none.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16")]
    miners: Vec<usize>,
    /// Learning rates at which the lone trainer is tuned, as multiples of its own; each constant and decayed.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4")]
    tuned: Vec<f64>,
    /// The miners' learning rate, as a multiple of the lone trainer's.
    #[arg(long, default_value_t = 2.0)]
    rate: f64,
    /// For how much of the lone trainer's time the others race: long races need no more to be decided.
    #[arg(long, default_value_t = 1.0, value_parser = share)]
    share: f64,
    /// How many times faster the validator's machine is than a miner's.
    #[arg(long, default_value_t = 1)]
    validator_speed: u32,
    /// Rule files that are raced as well, with eight miners.
    #[arg(long, value_name = "FILE")]
    rules: Vec<PathBuf>,
    /// Trainers who trust each other, as a bound: all go on from the mean of their models after so many pages as miners
    /// upload.
    #[arg(long, value_delimiter = ',')]
    trusted: Vec<usize>,
    /// Only the recommended rules and those of --rules.
    #[arg(long)]
    recommended_only: bool,
    /// One seed, and a third of the pages.
    #[arg(long)]
    quick: bool,
    /// Threads that compute.
    #[arg(long)]
    threads: Option<usize>,
    /// The lone trainer's curves from another call's --json, raced over as many pages with the same seeds, instead of training
    /// it again.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tuned", "quick"])]
    lone: Option<PathBuf>,
    /// Curves of other calls, written by their --json: races of the same length and seeds can be run side by side.
    #[arg(long, value_name = "FILE")]
    add: Vec<PathBuf>,
    /// Writes all curves.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes an SVG of the mean curves.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

fn share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| *share > 0.0 && *share <= 1.0)
        .ok_or_else(|| "a share is above 0, and 1 at most".into())
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Model {
    /// The simulator's toy.
    Toy,
    /// `config/models/nano.json`.
    Nano,
}

/// Miners of all rules but the recommended ones.
const OTHERS: usize = 8;

fn main() -> Result<()> {
    bistro_model::mkl::keep();
    let mut args = Args::parse();
    if args.quick {
        (args.pages, args.seeds) = (args.pages / 3, vec![1]);
    }
    let contest = Contest::new(&args)?;
    let start = Instant::now();
    let alone = match &args.lone {
        Some(file) => Races::read(file, &args).map(|races| (races.plain, races.tuned))?,
        None => lone(&args, &contest)?,
    };
    println!(
        "\n| rules | miners | time to the plain trainer's loss | to the tuned one's | loss in the end | accepted |"
    );
    println!("|---|---|---|---|---|---|");
    let mut races = Races::new(&args, alone);
    for file in &args.add {
        races.added(file, &args)?.into_iter().for_each(|entry| races.add(entry));
    }
    for trainers in &args.trusted {
        let entry = trusted(&args, &contest, *trainers)?;
        tell(start, &entry);
        races.add(entry);
    }
    for (name, mechanism, miners) in networks(&args)? {
        let entry = network(&args, &contest, name, &mechanism, miners)?;
        tell(start, &entry);
        races.add(entry);
    }
    if let Some(file) = &args.json {
        races.write(file)?;
    }
    if let Some(file) = &args.plot {
        fs_err::write(file, plot::svg(&races.entries()))?;
    }
    result(&args, &races);
    Ok(())
}

/// What a table has no room for, of a race that just ended.
fn tell(start: Instant, entry: &Entry) {
    let skips: Vec<_> = entry.curves.iter().map(|curve| &curve.skips).collect();
    eprintln!("{} s, skips {skips:?}", start.elapsed().as_secs());
}

/// One trainer alone: at its own rate, and the best of all rates, constant and decayed.
fn lone(args: &Args, contest: &Contest) -> Result<(Entry, Entry)> {
    let mechanism = shipped("recommended")?;
    let mut runs: Vec<(Speed, Vec<Curve>)> = Vec::new();
    for speed in args.tuned.iter().flat_map(|rate| [false, true].map(|decays| Speed { rate: *rate, decays })) {
        let curve = |seed: &u64| contest.race(mechanism.clone(), *seed)?.alone(contest.build(speed).as_ref());
        let curves: Vec<Curve> = args.seeds.iter().map(curve).collect::<Result<_>>()?;
        println!("alone, rate x{}{}: {:.4}", speed.rate, if speed.decays { ", decayed" } else { "" }, end(&curves));
        runs.push((speed, curves));
    }
    let plain = runs[0].1.clone();
    let best = runs.into_iter().min_by(|a, b| end(&a.1).total_cmp(&end(&b.1))).context("a trainer")?;
    Ok((
        Entry { name: "one trainer alone".into(), miners: 0, curves: plain },
        Entry { name: "one trainer alone, tuned".into(), miners: 0, curves: best.1 },
    ))
}

fn end(curves: &[Curve]) -> f64 {
    curves.iter().map(Curve::end).sum::<f64>() / curves.len() as f64
}

fn shipped(name: &str) -> Result<Mechanism> {
    let text = SHIPPED.iter().find(|(n, _)| *n == name).map(|(_, text)| *text).context("no such rules")?;
    Ok(Mechanism::from_toml(text)?)
}

/// Everybody but the lone trainer: name, rules, miners.
fn networks(args: &Args) -> Result<Vec<(String, Mechanism, usize)>> {
    let (readme, recommended) = (shipped("readme")?, shipped("recommended")?);
    let keeps = recommended.miner.on_new_master;
    let with = |mechanism: &Mechanism, on_new_master| {
        let mut other = mechanism.clone();
        other.miner.on_new_master = on_new_master;
        other
    };
    let mut all = Vec::new();
    if !args.recommended_only {
        all.push(("readme, reset".to_owned(), readme.clone(), OTHERS));
        all.push(("readme, rebase".to_owned(), with(&readme, keeps), OTHERS));
        all.push(("paired, reset".to_owned(), with(&recommended, OnNewMaster::Reset), OTHERS));
        let mut whole = recommended.clone();
        whole.acceptance = AcceptanceRules::Paired { scales: vec![1.0], margin: 0.0 };
        all.push(("paired, rebase, whole deltas".to_owned(), whole, OTHERS));
    }
    for file in &args.rules {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        all.push((name, Mechanism::from_toml(&fs_err::read_to_string(file)?)?, OTHERS));
    }
    let counts = args.miners.iter().copied().filter(|miners| *miners > 0);
    all.extend(counts.map(|miners| ("recommended".to_owned(), recommended.clone(), miners)));
    Ok(all)
}

fn network(args: &Args, contest: &Contest, name: String, mechanism: &Mechanism, miners: usize) -> Result<Entry> {
    let build = contest.build(Speed { rate: args.rate, decays: false });
    let run = |seed: &u64| -> Result<Curve> {
        let race = contest.race(mechanism.clone(), *seed)?.shortened(args.share);
        Race { validator_speed: args.validator_speed.max(1), ..race }.network(build.as_ref(), miners)
    };
    let curves = args.seeds.iter().map(run).collect::<Result<_>>()?;
    Ok(Entry { name, miners, curves })
}

fn trusted(args: &Args, contest: &Contest, trainers: usize) -> Result<Entry> {
    let mechanism = shipped("recommended")?;
    let (build, pages) = (contest.build(Speed { rate: args.rate, decays: false }), mechanism.miner.pages_per_epoch);
    let run = |seed: &u64| -> Result<Curve> {
        let race = contest.race(mechanism.clone(), *seed)?.shortened(args.share);
        race.trusted(build.as_ref(), trainers, pages as u32)
    };
    let curves = args.seeds.iter().map(run).collect::<Result<_>>()?;
    Ok(Entry { name: "trusted means".into(), miners: trainers, curves })
}

fn result(args: &Args, races: &Races) {
    let mut line = "RESULT".to_owned();
    for entry in races.networks.iter().filter(|entry| entry.name == "recommended") {
        let (to_plain, to_tuned) = (entry.time(&races.plain), entry.time(&races.tuned));
        let _ = write!(line, " time_{0}={to_plain:.3} time_{0}_tuned={to_tuned:.3}", entry.miners);
    }
    let share = if args.share < 1.0 { format!(" share={}", args.share) } else { String::new() };
    println!("{line} pages={}{share} seeds={}", args.pages, args.seeds.len());
}
