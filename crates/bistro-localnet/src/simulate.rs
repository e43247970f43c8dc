//! `simulate`: whole networks in virtual time, seed by seed, for people.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use anyhow::{Context as _, Result};
use bistro_sim::{Outcome, Scenario};
use clap::Args;
use fs_err as fs;

/// Flags of `simulate`.
#[derive(Args, Clone, Debug)]
pub struct SimulateArgs {
    /// How many seeds.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// The first seed: to run one again that broke a promise, `--first-seed SEED --seeds 1`.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// The scenario, a TOML file: `rules`, `blocks`, `faults`, `kills`, `validators` (stakes), `miners` (kinds),
    /// `page_seconds`. What it leaves out is the default's: honest miners among attackers, one call in ten failing.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Write all outcomes to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs all seeds on all cores, prints the table, and says whether every promise held.
pub fn run(args: &SimulateArgs, out: &mut impl Write) -> Result<bool> {
    let scenario = match &args.scenario {
        Some(file) => Scenario::from_toml(&fs::read_to_string(file)?).with_context(|| file.display().to_string())?,
        None => Scenario::default(),
    };
    let next = AtomicU64::new(args.first_seed);
    let end = args.first_seed.saturating_add(args.seeds);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (sender, outcomes) = mpsc::channel();
    let mut all: Vec<Outcome> = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, scenario) = (sender.clone(), &next, &scenario);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    // A closed channel: the other end met an error.
                    if seed >= end || sender.send(bistro_sim::run(scenario, seed)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for outcome in outcomes {
            let outcome = outcome?;
            for broken in &outcome.broken {
                writeln!(out, "seed {}: {broken}", outcome.seed)?;
            }
            all.push(outcome);
            tracing::info!(done = all.len(), of = args.seeds, "simulated");
        }
        anyhow::Ok(())
    })?;
    all.sort_by_key(|outcome| outcome.seed);
    if let Some(file) = &args.json {
        fs::write(file, serde_json::to_vec_pretty(&all)?)?;
    }
    table(&scenario, &all, out)?;
    Ok(all.iter().all(|outcome| outcome.broken.is_empty()))
}

/// Means over all seeds, by kind.
fn table(scenario: &Scenario, all: &[Outcome], out: &mut impl Write) -> Result<()> {
    let mut kinds: BTreeMap<&str, (f64, f64, f64)> = BTreeMap::new();
    for neuron in all.iter().flat_map(|outcome| &outcome.neurons) {
        let sums = kinds.entry(&neuron.kind).or_default();
        *sums = (sums.0 + 1.0, sums.1 + neuron.earned, sums.2 + neuron.accepted as f64);
    }
    writeln!(out, "\n{:<14} {:>7} {:>22} {:>22}", "kind", "neurons", "units earned, each", "deltas accepted, each")?;
    let seeds = all.len().max(1) as f64;
    for (kind, (count, earned, accepted)) in kinds {
        writeln!(out, "{kind:<14} {:>7} {:>22.2} {:>22.1}", count / seeds, earned / count, accepted / count)?;
    }
    let mean = |value: fn(&Outcome) -> f64| all.iter().map(value).sum::<f64>() / seeds;
    writeln!(
        out,
        "\n{} seeds of {} blocks, {:.0} % of all calls failing: loss {:.3} → {:.3}, {:.1} masters, {:.1} restarts",
        all.len(),
        scenario.blocks,
        scenario.faults * 100.0,
        mean(|o| o.loss_start),
        mean(|o| o.loss_end),
        mean(|o| o.masters as f64),
        mean(|o| o.restarts as f64)
    )?;
    let broken: Vec<String> = all.iter().filter(|o| !o.broken.is_empty()).map(|o| o.seed.to_string()).collect();
    if broken.is_empty() {
        writeln!(out, "every promise held")?;
    } else {
        writeln!(
            out,
            "FAILED: seeds {} broke a promise; each gives the same run again with --first-seed",
            broken.join(", ")
        )?;
    }
    Ok(())
}
