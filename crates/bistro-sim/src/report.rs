//! What came of many seeds, for people: one HTML page with its plots inside, to be opened anywhere, and the plots alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use fs_err as fs;

use crate::attackers::Row;
use crate::plot::{self, Curve};
use crate::{Outcome, Scenario};

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}\
    table{border-collapse:collapse}td,th{padding:.15em .7em;border-bottom:1px solid #ddd;text-align:right}\
    td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto;display:block;margin:1em 0}\
    code,pre{background:#f3f3f3}pre{padding:.7em;overflow-x:auto}.bad{color:#b00020}";

/// Writes `index.html` and the plots as `*.svg` into `folder`, and makes it if need be.
pub fn write(folder: &Path, scenario: &Scenario, outcomes: &[Outcome]) -> Result<()> {
    let plots =
        [("earned.svg", earned(outcomes)?), ("loss.svg", loss(outcomes)?), ("verdicts.svg", verdicts(outcomes)?)];
    let mut page = head("Simulation")?;
    let held = outcomes.iter().filter(|o| o.broken.is_empty()).count();
    writeln!(page, "<p>{held} of {} seeds kept every promise.</p>", outcomes.len())?;
    for outcome in outcomes.iter().filter(|o| !o.broken.is_empty()) {
        for broken in &outcome.broken {
            writeln!(page, "<p class=bad>seed {}: {}</p>", outcome.seed, escaped(broken))?;
        }
    }
    writeln!(page, "{}", table(outcomes)?)?;
    for (_, svg) in &plots {
        page.push_str(svg);
    }
    writeln!(page, "<h2>Scenario</h2><pre>{}</pre></html>", escaped(&toml::to_string(scenario)?))?;
    save(folder, &page, &plots)
}

/// Means over all seeds, by kind, for a terminal.
pub fn text(scenario: &Scenario, outcomes: &[Outcome]) -> Result<String> {
    let titles = ["neurons", "units earned, each", "as a validator, each", "deltas accepted, each"];
    let [neurons, earned, dividends, accepted] = titles;
    let mut text = format!("\n{:<14} {neurons:>7} {earned:>20} {dividends:>20} {accepted:>22}\n", "kind");
    for (kind, mean) in means(outcomes) {
        let Mean { neurons, earned, dividends, accepted } = mean;
        writeln!(text, "{kind:<14} {neurons:>7} {earned:>20.2} {dividends:>20.2} {accepted:>22.1}")?;
    }
    let mean = |value: fn(&Outcome) -> f64| outcomes.iter().map(value).sum::<f64>() / outcomes.len().max(1) as f64;
    writeln!(
        text,
        "\n{} seeds of {} blocks, {:.0} % of all calls failing: loss {:.3} → {:.3}, {:.1} masters, {:.1} restarts",
        outcomes.len(),
        scenario.blocks,
        scenario.faults * 100.0,
        mean(|o| o.loss_start),
        mean(|o| o.loss_end),
        mean(|o| o.masters as f64),
        mean(|o| o.restarts as f64)
    )?;
    text.push_str(&first_weights(outcomes));
    Ok(text)
}

/// When anybody was paid for the first time, over all seeds.
fn first_weights(outcomes: &[Outcome]) -> String {
    let mut blocks: Vec<u64> = outcomes.iter().filter_map(|o| o.course.first_weights).collect();
    blocks.sort_unstable();
    let never = outcomes.len() - blocks.len();
    let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { return "nobody was ever paid\n".into() };
    let median = u64::midpoint(blocks[(blocks.len() - 1) / 2], blocks[blocks.len() / 2]);
    let but = if never == 0 { String::new() } else { format!("; never in {never} seeds") };
    format!("first weights at block {median} (median; {first} to {last}){but}\n")
}

/// The same of a table of attackers.
pub fn write_attackers(folder: &Path, rows: &[Row], markdown: &str) -> Result<()> {
    let rules: Vec<String> = rows.iter().map(|row| row.rules.clone()).collect::<BTreeSet<_>>().into_iter().collect();
    let mut plots = Vec::new();
    for rules in &rules {
        let bars: Vec<(String, Vec<f64>)> = rows
            .iter()
            .filter(|row| row.rules == *rules)
            .map(|row| (row.kind.clone(), vec![row.work.min(row.earned), (row.earned - row.work).max(0.0)]))
            .collect();
        let parts = ["up to its work".to_owned(), "beyond its work".to_owned()];
        let svg = plot::bars(&format!("Earned under {rules}; an honest miner earns 1"), "", &parts, &bars)?;
        plots.push((format!("attackers-{rules}.svg"), svg));
    }
    let mut page = head("Attackers against honest miners")?;
    writeln!(page, "<pre>{}</pre>", escaped(markdown))?;
    for (_, svg) in &plots {
        page.push_str(svg);
    }
    page.push_str("</html>\n");
    save(folder, &page, &plots)
}

fn save(folder: &Path, page: &str, plots: &[(impl AsRef<Path>, String)]) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (name, svg) in plots {
        fs::write(folder.join(name), svg)?;
    }
    Ok(fs::write(folder.join("index.html"), page)?)
}

fn head(title: &str) -> Result<String> {
    let mut page = String::new();
    writeln!(page, "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>")?;
    writeln!(page, "<meta name=viewport content=\"width=device-width\"><style>{STYLE}</style><h1>{title}</h1>")?;
    Ok(page)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Mean of each kind: neurons of a seed, earned as a miner and as a validator, accepted deltas.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mean {
    /// Neurons in each seed.
    pub neurons: f64,
    /// Units that one earned as a miner.
    pub earned: f64,
    /// Units that one earned as a validator.
    pub dividends: f64,
    /// Its accepted deltas.
    pub accepted: f64,
}

/// Means over all seeds, by kind.
pub fn means(outcomes: &[Outcome]) -> BTreeMap<String, Mean> {
    let mut kinds: BTreeMap<String, Mean> = BTreeMap::new();
    for neuron in outcomes.iter().flat_map(|outcome| &outcome.neurons) {
        let sum = kinds.entry(neuron.kind.clone()).or_default();
        sum.neurons += 1.0;
        sum.earned += neuron.earned;
        sum.dividends += neuron.dividends;
        sum.accepted += neuron.accepted as f64;
    }
    for sum in kinds.values_mut() {
        let count = sum.neurons;
        *sum = Mean {
            neurons: count / outcomes.len().max(1) as f64,
            earned: sum.earned / count,
            dividends: sum.dividends / count,
            accepted: sum.accepted / count,
        };
    }
    kinds
}

fn table(outcomes: &[Outcome]) -> Result<String> {
    let mut text = String::from(
        "<table><tr><th>kind<th>neurons<th>units earned, each<th>as a validator<th>deltas accepted, each</tr>\n",
    );
    for (kind, mean) in means(outcomes) {
        let Mean { neurons, earned, dividends, accepted } = mean;
        writeln!(text, "<tr><td>{kind}<td>{neurons}<td>{earned:.2}<td>{dividends:.2}<td>{accepted:.1}</tr>")?;
    }
    text.push_str("</table>");
    Ok(text)
}

/// What one miner of each kind had earned by each block, mean over the seeds.
fn earned(outcomes: &[Outcome]) -> Result<String> {
    let mut kinds: BTreeMap<&str, BTreeMap<u64, (f64, f64)>> = BTreeMap::new();
    for outcome in outcomes {
        for (block, earned) in &outcome.course.earned {
            let miners = outcome.neurons.iter().zip(earned).filter(|(n, _)| n.kind != "validator");
            for (neuron, units) in miners.filter(|(n, _)| n.kind != "weight_copier") {
                let sum = kinds.entry(&neuron.kind).or_default().entry(*block).or_default();
                *sum = (sum.0 + 1.0, sum.1 + units);
            }
        }
    }
    let curve = |(kind, points): (&str, BTreeMap<u64, (f64, f64)>)| -> Curve {
        let mean = |(block, (count, sum)): (&u64, &(f64, f64))| (*block as f64, sum / count);
        (kind.to_owned(), points.iter().map(mean).collect())
    };
    let curves: Vec<Curve> = kinds.into_iter().map(curve).collect();
    plot::lines("Earned by one miner of each kind", "block", "units", &curves)
}

/// Loss of the master in each of the first seeds.
fn loss(outcomes: &[Outcome]) -> Result<String> {
    let curve = |outcome: &Outcome| -> Curve {
        let points = outcome.course.loss.iter().map(|(block, loss)| (*block as f64, *loss));
        (format!("seed {}", outcome.seed), points.collect())
    };
    let curves: Vec<Curve> = outcomes.iter().take(6).map(curve).collect();
    plot::lines("Loss of the master", "block", "nats a letter", &curves)
}

/// What became of the deltas of one miner of each kind, mean over the seeds.
fn verdicts(outcomes: &[Outcome]) -> Result<String> {
    let neurons = || outcomes.iter().flat_map(|outcome| &outcome.neurons).filter(|n| !n.verdicts.is_empty());
    let parts: Vec<String> =
        neurons().flat_map(|n| n.verdicts.keys().cloned()).collect::<BTreeSet<_>>().into_iter().collect();
    let mut kinds: BTreeMap<String, (f64, Vec<f64>)> = BTreeMap::new();
    for neuron in neurons() {
        let (count, sums) = kinds.entry(neuron.kind.clone()).or_insert_with(|| (0.0, vec![0.0; parts.len()]));
        *count += 1.0;
        for (sum, part) in sums.iter_mut().zip(&parts) {
            *sum += neuron.verdicts.get(part).copied().unwrap_or_default() as f64;
        }
    }
    let mean = |(kind, (count, sums)): (String, (f64, Vec<f64>))| (kind, sums.iter().map(|s| s / count).collect());
    let bars: Vec<(String, Vec<f64>)> = kinds.into_iter().map(mean).collect();
    plot::bars("What became of one miner's deltas", "deltas", &parts, &bars)
}
