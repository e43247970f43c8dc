//! What is shown while the demo runs: a bar where there is a terminal, a line every ten seconds where there is none.

use std::io::{IsTerminal as _, Write};
use std::time::{Duration, Instant};

use anyhow::Result;
use bistro_core::events::{Event, Record};
use bistro_core::mechanism::Verdict;
use bistro_node::log;
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::Options;
use super::processes::Processes;
use crate::network::LocalNetwork;

/// Seconds between two lines without a terminal.
const LINE_SECONDS: u64 = 10;

/// Watches until the duration is over or `stop`; fails if a program ends by itself.
pub async fn watch(
    network: &LocalNetwork,
    options: &Options,
    processes: &mut Processes,
    out: &mut impl Write,
    stop: &CancellationToken,
) -> Result<()> {
    let begin = Instant::now();
    let events = network.setup.dir.join("state/validator/log");
    let bar = std::io::stderr().is_terminal().then(|| bar(options.duration));
    let mut next_line = 0;
    let mut kills: Vec<Duration> =
        (0..options.kills).map(|_| options.duration.mul_f64(0.1 + 0.7 * rand::random::<f64>())).collect();
    kills.sort();
    kills.reverse();
    while begin.elapsed() < options.duration {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = stop.cancelled() => break,
        }
        processes.check()?;
        if kills.last().is_some_and(|at| begin.elapsed() >= *at) {
            kills.pop();
            let name = processes.kill(rand::random_range(0..processes.count())).await?;
            writeln!(out, "{:>4} s  {name} was killed without warning, and started again", begin.elapsed().as_secs())?;
        }
        let records = log::read(&events).map(|(records, _)| records).unwrap_or_default();
        let seconds = begin.elapsed().as_secs();
        let line = summary(&records);
        if let Some(bar) = &bar {
            bar.set_position(seconds);
            bar.set_message(line);
        } else if seconds >= next_line {
            writeln!(out, "{seconds:>4} s of {}  block {}  {line}", options.duration.as_secs(), network.chain.block())?;
            next_line += LINE_SECONDS;
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(())
}

fn bar(duration: Duration) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:24} {pos:>4}/{len} s  {msg}");
    ProgressBar::new(duration.as_secs()).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// One line on where the network stands.
fn summary(records: &[Record]) -> String {
    let mut masters = 0;
    let (mut judged, mut skipped, mut loss) = (0, 0, None);
    for record in records {
        match &record.event {
            Event::Judged(j) => {
                judged += 1;
                // Master's own loss where the rule measures it, otherwise that of the candidate.
                loss = match j.verdict {
                    Verdict::Accept(candidate) => Some(candidate.loss),
                    Verdict::Reject => j.master_loss.or(loss),
                };
            }
            Event::Skipped { .. } => skipped += 1,
            Event::Published { seq, .. } => masters = *seq,
            Event::Measured { loss: measured, .. } if loss.is_none() => loss = Some(*measured),
            _ => {}
        }
    }
    let loss = loss.map_or_else(|| "–".to_owned(), |loss| format!("{loss:.3}"));
    format!("global loss {loss}  master {masters}  judged {judged}  skipped {skipped}")
}
