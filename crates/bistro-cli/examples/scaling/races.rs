//! What was raced: the lone trainer and the networks, kept in a file from which other calls go on.

use std::path::Path;

use anyhow::{Context as _, Result};
use bistro_sim::scaling::Curve;
use serde::{Deserialize, Serialize};

use crate::{Args, Model};

/// A contestant over all seeds.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// 0 for a trainer alone.
    pub(crate) miners: usize,
    /// One of each seed.
    pub(crate) curves: Vec<Curve>,
}

impl Entry {
    pub(crate) fn mean(&self, of: impl Fn(usize, &Curve) -> f64) -> f64 {
        self.curves.iter().enumerate().map(|(i, curve)| of(i, curve)).sum::<f64>() / self.curves.len() as f64
    }

    /// Mean share of the whole time after which this has the loss that `goal` ends with; infinite if some seed never has.
    pub(crate) fn time(&self, goal: &Self) -> f64 {
        let whole = |curve: &Curve| curve.points.last().map_or(1.0, |point| point.pages);
        let share = |goal: &Curve, curve: &Curve| curve.reaches(goal.end()).map(|pages| pages / whole(goal));
        self.mean(|i, curve| share(&goal.curves[i], curve).unwrap_or(f64::INFINITY))
    }
}

/// Races against one trainer.
#[derive(Serialize, Deserialize)]
pub(crate) struct Races {
    model: Model,
    /// That the lone trainer trains on.
    pages: u32,
    seeds: Vec<u64>,
    /// The trainer alone at its own rate.
    pub(crate) plain: Entry,
    /// The best of its rates, constant and decayed.
    pub(crate) tuned: Entry,
    pub(crate) networks: Vec<Entry>,
}

impl Races {
    pub(crate) fn new(args: &Args, (plain, tuned): (Entry, Entry)) -> Self {
        Self { model: args.model, pages: args.pages, seeds: args.seeds.clone(), plain, tuned, networks: Vec::new() }
    }

    /// Refuses a file of other races than `args` asks for, whose figures could not stand beside those.
    pub(crate) fn read(file: &Path, args: &Args) -> Result<Self> {
        let shown = || file.display();
        let races: Self = serde_json::from_slice(&fs_err::read(file)?)
            .with_context(|| format!("{}: not what --json writes", shown()))?;
        let asked = (args.model, args.pages, &args.seeds);
        let kept = (races.model, races.pages, &races.seeds);
        anyhow::ensure!(kept == asked, "{}: model, pages and seeds are {kept:?}, not {asked:?}", shown());
        let whole = |entry: &&Entry| {
            entry.curves.len() == args.seeds.len() && entry.curves.iter().all(|curve| !curve.points.is_empty())
        };
        anyhow::ensure!(races.entries().iter().all(whole), "{}: not a curve for each seed", shown());
        Ok(races)
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        Ok(fs_err::write(file, serde_json::to_vec(self)?)?)
    }

    /// The networks that another call raced against the same trainer.
    pub(crate) fn added(&self, file: &Path, args: &Args) -> Result<Vec<Entry>> {
        let other = Self::read(file, args)?;
        anyhow::ensure!(other.plain == self.plain, "{}: raced against another trainer", file.display());
        Ok(other.networks)
    }

    /// In the order of a plot.
    pub(crate) fn entries(&self) -> Vec<&Entry> {
        [&self.plain].into_iter().chain(&self.networks).chain([&self.tuned]).collect()
    }

    /// Writes a row of the table, and keeps the `entry`.
    pub(crate) fn add(&mut self, entry: Entry) {
        let text = |time: f64| if time.is_finite() { format!("{time:.2}") } else { "never".into() };
        println!(
            "| {} | {} | {} | {} | {:.4} | {:.0} |",
            entry.name,
            entry.miners,
            text(entry.time(&self.plain)),
            text(entry.time(&self.tuned)),
            entry.mean(|_, curve| curve.end()),
            entry.mean(|_, curve| curve.accepted as f64),
        );
        self.networks.push(entry);
    }
}
