//! `simulate`: whole networks in virtual time, seed by seed, for people.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use bistro_core::rules::SHIPPED;
use bistro_sim::attackers::{self, Row};
use bistro_sim::kinds::{ALL, Kind};
use bistro_sim::{Outcome, Scenario, batch, report};
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
    /// The scenario, a TOML file (`config/scenarios/`): `rules`, `blocks`, `faults`, `kills`, `reorganisations`, `clock_jumps`,
    /// `validators` and `weight_copiers` (stakes), `commit_reveal`, `miners` (kinds), `page_seconds`. What it leaves out is the
    /// default's: honest miners among attackers, one call in ten failing.
    #[arg(long, value_name = "FILE", conflicts_with = "attackers")]
    scenario: Option<PathBuf>,
    /// Blocks, instead of the scenario's; with `--attackers` 2000 by default.
    #[arg(long)]
    blocks: Option<u64>,
    /// Tabulate what each kind of attacker earns against three honest miners, under each of `--rules`.
    #[arg(long)]
    attackers: bool,
    /// With `--attackers`: only these kinds.
    #[arg(long, value_delimiter = ',', value_name = "KIND", requires = "attackers")]
    kinds: Vec<String>,
    /// With `--attackers`: these rules; a shipped name, or a file like those of `config/rules/`. Both shipped ones by default.
    #[arg(long, value_delimiter = ',', value_name = "RULES", requires = "attackers")]
    rules: Vec<String>,
    /// Write a page with plots, and the plots, into this folder.
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
    /// Write all outcomes to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs all seeds on all cores, prints the table, and says whether every promise held; with `--attackers`, also whether none of
/// them won under the recommended rules.
pub fn run(args: &SimulateArgs, out: &mut impl Write) -> Result<bool> {
    if args.attackers {
        return attackers(args, out);
    }
    let mut scenario = match &args.scenario {
        Some(file) => Scenario::from_toml(&fs::read_to_string(file)?).with_context(|| file.display().to_string())?,
        None => Scenario::default(),
    };
    scenario.blocks = args.blocks.unwrap_or(scenario.blocks);
    let jobs: Vec<(Scenario, u64)> = args.all_seeds().map(|seed| (scenario.clone(), seed)).collect();
    let again = args.scenario.as_ref().map(|file| format!(" --scenario {}", file.display())).unwrap_or_default();
    let again = format!("{again}{}", args.blocks.map(|blocks| format!(" --blocks {blocks}")).unwrap_or_default());
    let all = run_all(&jobs, &again, out)?;
    if let Some(file) = &args.json {
        fs::write(file, serde_json::to_vec_pretty(&all)?)?;
    }
    if let Some(folder) = &args.report {
        report::write(folder, &scenario, &all)?;
        tracing::info!(page = %folder.join("index.html").display(), "written");
    }
    write!(out, "{}", report::text(&scenario, &all)?)?;
    verdict(&all, out)
}

impl SimulateArgs {
    fn all_seeds(&self) -> impl Iterator<Item = u64> + use<> {
        self.first_seed..self.first_seed.saturating_add(self.seeds)
    }

    fn chosen_kinds(&self) -> Result<Vec<Kind>> {
        if self.kinds.is_empty() {
            return Ok(ALL.to_vec());
        }
        let find = |name: &String| {
            let names = || ALL.map(Kind::name).join(", ");
            ALL.into_iter()
                .find(|k| k.name() == *name)
                .with_context(|| format!("no kind `{name}`; there are {}", names()))
        };
        self.kinds.iter().map(find).collect()
    }
}

/// Runs the jobs, and prints what was broken with the command that shows it again.
fn run_all(jobs: &[(Scenario, u64)], again: &str, out: &mut impl Write) -> Result<Vec<Outcome>> {
    let mut count = 0;
    batch::run_all(jobs, |_, outcome| {
        for broken in &outcome.broken {
            writeln!(out, "seed {}: {broken}", outcome.seed)?;
        }
        if !outcome.broken.is_empty() {
            let seed = outcome.seed;
            writeln!(out, "  again: bistro-localnet simulate --first-seed {seed} --seeds 1{again}")?;
        }
        count += 1;
        tracing::info!(done = count, of = jobs.len(), "simulated");
        Ok(())
    })
}

fn verdict(all: &[Outcome], out: &mut impl Write) -> Result<bool> {
    let broken: Vec<String> = all.iter().filter(|o| !o.broken.is_empty()).map(|o| o.seed.to_string()).collect();
    if broken.is_empty() {
        writeln!(out, "every promise held")?;
    } else {
        writeln!(out, "FAILED: seeds {} broke a promise", broken.join(", "))?;
    }
    Ok(broken.is_empty())
}

/// Blocks of each network of `--attackers`, by default.
const ATTACKERS_BLOCKS: u64 = 2000;

/// Blocks after which weights are revealed, in the network that shows what that does to a weight copier: two epochs.
const REVEAL: u64 = 20;

fn attackers(args: &SimulateArgs, out: &mut impl Write) -> Result<bool> {
    let blocks = args.blocks.unwrap_or(ATTACKERS_BLOCKS);
    let kinds = args.chosen_kinds()?;
    let shipped = || SHIPPED.iter().map(|(name, _)| (*name).to_owned()).collect();
    let rules: Vec<String> = if args.rules.is_empty() { shipped() } else { args.rules.clone() };
    ensure!(args.seeds > 0, "--seeds must be at least 1");
    let cells: Vec<(Kind, &String)> = kinds.iter().flat_map(|kind| rules.iter().map(|rules| (*kind, rules))).collect();
    let mut jobs = Vec::new();
    for (kind, rules) in &cells {
        jobs.extend(args.all_seeds().map(|seed| (attackers::scenario(*kind, rules, blocks), seed)));
    }
    let reveals = if args.kinds.is_empty() { vec![0, REVEAL] } else { Vec::new() };
    for reveal in &reveals {
        let scenario = attackers::copied_weights("recommended", blocks, *reveal);
        jobs.extend(args.all_seeds().map(|seed| (scenario.clone(), seed)));
    }
    let all = run_all(&jobs, " (one of the networks of --attackers)", out)?;
    let chunks: Vec<&[Outcome]> = all.chunks(args.seeds as usize).collect();
    let row = |((kind, rules), outcomes): (&(Kind, &String), &&[Outcome])| Row::new(*kind, rules, blocks, outcomes);
    let rows: Vec<Row> = cells.iter().zip(&chunks).map(row).collect();
    let mut text = attackers::markdown(&rows);
    for (reveal, outcomes) in reveals.iter().zip(&chunks[cells.len()..]) {
        text.push_str(&attackers::weight_copier(*reveal, outcomes));
    }
    writeln!(out, "\n{} seeds of {blocks} blocks\n\n{text}", args.seeds)?;
    if let Some(file) = &args.json {
        fs::write(file, serde_json::to_vec_pretty(&rows)?)?;
    }
    if let Some(folder) = &args.report {
        report::write_attackers(folder, &rows, &text)?;
    }
    let winners: Vec<&str> =
        rows.iter().filter(|row| row.rules == "recommended" && row.wins()).map(|row| row.kind.as_str()).collect();
    if !winners.is_empty() {
        writeln!(out, "FAILED: under the recommended rules these earn more than their work: {}", winners.join(", "))?;
    }
    Ok(verdict(&all, out)? && winners.is_empty())
}
