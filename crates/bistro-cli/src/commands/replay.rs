//! Follows a validator's log once more, anybody's: whether its verdicts, scores and weights follow from what it states, and
//! whether what it states follows from the objects.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use bistro_chain::SubtensorChain;
use bistro_core::ids::Hotkey;
use bistro_core::ports::Chain as _;
use bistro_model::TrainOptions;
use bistro_node::log::published::Published;
use bistro_node::replay::on_chain::{Comparison, OnChain};
use bistro_node::replay::{Replayed, Report, evaluate, source};
use bistro_node::{Parts, leader};
use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::args::SubtensorArgs;
use crate::data::DataArgs;
use crate::observer::{self, Nobody};
use crate::workshop::Workshop;

/// Flags of `replay`.
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// The log: the folder `log` of a validator's data folder, or one of its files. Without it, the log that a validator
    /// publishes is fetched.
    #[arg(value_name = "LOG", conflicts_with = "hotkey")]
    log: Option<PathBuf>,
    /// Whose published log; by default that of the validator whose master everybody follows.
    #[arg(long, value_name = "SS58")]
    hotkey: Option<Hotkey>,
    /// Measure the newest N verdicts again: build the masters anew, fetch the deltas, read the pages. The dataset must be the run's.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    evaluate: usize,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// The chain.
    #[command(flatten)]
    subtensor: SubtensorArgs,
    /// The dataset.
    #[command(flatten)]
    dataset: DataArgs,
    /// Where the model computes: `cpu`, `cuda` or `cuda:N`.
    #[arg(long, env = "BISTRO_DEVICE", default_value = "cpu")]
    device: String,
    /// Threads on which the model computes; all cores by default.
    #[arg(long, env = "BISTRO_THREADS", value_name = "N")]
    threads: Option<usize>,
}

/// Runs the command until it is done or `stop`. An error if the log does not hold.
pub async fn run(args: &ReplayArgs, stop: CancellationToken) -> Result<()> {
    let report = tokio::select! {
        () = stop.cancelled() => bail!("stopped before the log was followed to its end"),
        report = follow(args) => report?,
    };
    let text = if args.json { serde_json::to_string_pretty(&report)? } else { told(&report) };
    writeln!(std::io::stdout(), "{text}")?;
    if !report.holds() {
        bail!("the log does not hold");
    }
    Ok(())
}

async fn follow(args: &ReplayArgs) -> Result<Report> {
    let outside = match &args.log {
        Some(_) if args.evaluate == 0 => None,
        _ => Some(outside(args).await?),
    };
    let Replayed { mut report, rules, verdicts, stated } = match (&args.log, &outside) {
        (Some(path), _) => source::of_path(path, &Nobody, args.evaluate)?,
        (None, Some((parts, _))) => {
            source::of_published(parts, &published(parts, args.hotkey).await?, args.evaluate).await?
        }
        (None, None) => bail!("there is no log"),
    };
    let Some((parts, chain)) = &outside else { return Ok(report) };
    if let Some(hotkey) = report.hotkey
        && let Some(on_chain) = weights_of(chain, &hotkey).await?
    {
        stated.compare(&on_chain, &mut report);
    }
    if args.evaluate > 0 && report.broken.is_none() {
        let rules = rules.context("the log has no rules in it, so nothing of it can be measured")?;
        let leader = leader(parts).await?;
        evaluate::evaluate(parts, &args.workshop(), &leader, &rules, verdicts, &mut report).await?;
    }
    Ok(report)
}

/// The world as anybody sees it, and its chain with what no loop reads.
async fn outside(args: &ReplayArgs) -> Result<(Parts, Arc<SubtensorChain>)> {
    let (network, netuid) = (args.subtensor.network_or("finney")?, args.subtensor.subnet());
    let chain = Arc::new(SubtensorChain::connect(&network, netuid, None).await?);
    Ok((observer::parts(chain.clone(), netuid).await, chain))
}

/// What the chain has of the weights of `hotkey`; nothing if it has no slot any more.
async fn weights_of(chain: &SubtensorChain, hotkey: &Hotkey) -> Result<Option<OnChain>> {
    let metagraph = chain.metagraph().await?;
    let Some(neuron) = metagraph.neuron(hotkey) else { return Ok(None) };
    let (weights, last_update) = (chain.weights_of(neuron.uid).await?, neuron.last_update);
    Ok(Some(OnChain { weights, last_update, revealed_late: metagraph.commit_reveal }))
}

async fn leader(parts: &Parts) -> Result<leader::Leader> {
    let metagraph = parts.chain.metagraph().await?;
    leader::find(parts, &metagraph)
        .await?
        .with_context(|| format!("no validator of subnet {} publishes a master", parts.netuid))
}

async fn published(parts: &Parts, hotkey: Option<Hotkey>) -> Result<Published> {
    let hotkey = match hotkey {
        Some(hotkey) => hotkey,
        None => leader(parts).await?.manifest.hotkey,
    };
    Published::find(parts, &hotkey).await?.with_context(|| format!("{hotkey} publishes no log"))
}

impl ReplayArgs {
    fn workshop(&self) -> Workshop {
        let training = TrainOptions { threads: self.threads, trains: false, ..TrainOptions::default() };
        let (dataset, device) = (self.dataset.clone(), self.device.clone());
        Workshop { dataset, device, training, init_seed: 0, checkpoint: None }
    }
}

/// The report in words.
fn told(report: &Report) -> String {
    let mut lines = Vec::new();
    let whose = report.hotkey.map_or_else(|| "nobody".to_owned(), |hotkey| hotkey.to_string());
    lines.push(format!(
        "log of {whose}: {} records from number {} on, {} starts",
        report.records, report.first, report.starts
    ));
    lines.push(format!(
        "{} verdicts, {} of them accept; {} skips; {} masters; weights set {} times",
        report.judged, report.accepted, report.skipped, report.published, report.weights_set
    ));
    lines.extend(report.on_chain.map(|found| match found {
        Comparison::SetAt(record) => format!("the chain has the weights of record {record}"),
        Comparison::FollowFrom(record) => {
            format!(
                "the chain has the weights that follow from record {record}; the log does not say that they were set"
            )
        }
        Comparison::NewerThanTheLog => "the chain's weights are newer than this log".to_owned(),
        Comparison::OlderThanTheLog => "the chain's weights are, or may be, older than this log".to_owned(),
        Comparison::NoneOnTheChain => {
            "the chain has no weights of this validator, or none that are revealed".to_owned()
        }
        Comparison::Others => "the chain has other weights than this log tells of".to_owned(),
    }));
    match report.trusted_until {
        Some(record) if report.first > 0 => {
            lines.push(format!("its beginning is not kept: the scores at record {record} are taken as stated"));
        }
        _ => {}
    }
    if report.anew > 0 {
        lines
            .push(format!("scores began anew {} times: under other rules, or because the state was lost", report.anew));
    }
    if report.measured_again + report.not_measured > 0 {
        lines.push(format!(
            "{} verdicts measured again, largest difference {:.6} nats a token; {} rest on what is not there any more",
            report.measured_again, report.largest_difference, report.not_measured
        ));
    }
    for difference in &report.differences {
        let what =
            serde_json::to_value(difference.what).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
        lines.push(format!(
            "record {}: {what}: states {}; what follows is {}",
            difference.record, difference.stated, difference.recomputed
        ));
    }
    if report.more_differences > 0 {
        lines.push(format!("and {} more", report.more_differences));
    }
    match &report.broken {
        Some(why) => lines.push(format!("the log breaks off: {why}")),
        None if report.holds() => lines.push("everything follows".to_owned()),
        None => {}
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use bistro_chain::Keypair;
    use bistro_core::events::{Event, Record};
    use bistro_core::ids::{Block, Hash, NetUid};
    use bistro_core::logline::{self, Place};
    use bistro_core::ports::Identity as _;
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: ReplayArgs,
    }

    /// Three records with real signatures.
    fn log() -> Vec<u8> {
        let key = Keypair::from_uri("//Bob").unwrap();
        let (mut place, mut text) = (Place::BEGIN, Vec::new());
        for n in 0..3 {
            let event = Event::Measured { seq: n, hash: Hash([1; 32]), loss: 6.5 };
            let (netuid, hotkey, Place { seq, prev }) = (NetUid(212), key.hotkey(), place);
            let line =
                logline::seal(&Record { netuid, hotkey, seq, prev, time: 9, block: Block(n), event }, |m| key.sign(m));
            place = Place { seq: seq + 1, prev: Hash::of(&line) };
            text.extend([&line[..], b"\n"].concat());
        }
        text
    }

    #[tokio::test]
    async fn a_changed_log_is_an_error_that_names_the_record() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log.jsonl");
        let path = file.to_str().unwrap();
        let args = Cli::try_parse_from(["replay", path, "--json"]).unwrap().args;
        std::fs::write(&file, log()).unwrap();
        run(&args, CancellationToken::new()).await.unwrap();
        let changed = String::from_utf8(log()).unwrap().replacen("\"block\":1", "\"block\":7", 1);
        std::fs::write(&file, changed).unwrap();
        run(&args, CancellationToken::new()).await.unwrap_err();
        let report = follow(&args).await.unwrap();
        assert_eq!(report.records, 1);
        assert!(told(&report).contains("record 1 is not signed by its hotkey"), "{}", told(&report));
        run(&Cli::try_parse_from(["replay", "/nonexistent"]).unwrap().args, CancellationToken::new())
            .await
            .unwrap_err();
    }
}
