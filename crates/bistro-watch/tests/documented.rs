//! The documentation, the dashboard and the alerts name the metrics that are exported, and no others.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::path::Path;

use bistro_core::events::Event;
use bistro_core::ids::{Block, Hash, Hotkey, Uid};
use bistro_core::mechanism::Evidence;
use bistro_core::skip::{Reason, Skip};
use bistro_node::status::miner::{BaseStatus, Upload};
use bistro_node::status::validator::VerdictPoint;
use bistro_node::status::{Activity, Status};
use bistro_watch::View;
use bistro_watch::metrics::{Kind, METRICS, Metric, Program, exposition};
use bistro_watch::view::PulseView;

fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

/// Words of a text that look like a metric's name.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metric = |word: &&str| word.starts_with("bistro_") || word.starts_with("process_");
    words.filter(metric).map(str::to_owned).collect()
}

fn exported() -> BTreeSet<String> {
    METRICS.iter().map(|metric| metric.name.to_owned()).collect()
}

/// A status of both programs in which everything has happened.
fn everything() -> View {
    let mut view = View { now: 100_000, ..View::default() };
    let status: &mut Status = &mut view.status;
    status.activities.push(Activity { what: "reading a page".into(), since: 1, bytes: None });
    let validator = status.validator.get_or_insert_default();
    let verdict = VerdictPoint { time: 1, uid: Uid(1), loss: Some(6.1), master_loss: Some(6.2), accepted: true };
    validator.verdicts.push(verdict);
    let skip = Skip::new(Reason::NoDelta, "none");
    for event in [
        Event::Skipped { uid: Uid(1), hotkey: Hotkey([1; 32]), object: None, skip },
        Event::Measured { seq: 1, hash: Hash([1; 32]), loss: 6.0 },
        Event::Followed { hotkey: Hotkey([2; 32]), seq: 1, hash: Hash([1; 32]) },
        Event::WeightsRefused { name: "NeuronNoValidatorPermit".into(), message: "no permit".into() },
    ] {
        validator.record(1, Block(1), &event);
    }
    (validator.weights.due_in, validator.weights.last_update) = (Some(1), Some(Block(1)));
    validator.evidence = Some(Evidence { found: 1.0, asked: 4.5, verdicts: 2 });
    validator.refresh(|_| Some(Uid(1)), |_| (Some(6.0), Some(6.1)), |_| 1.0);
    let miner = status.miner.get_or_insert_default();
    miner.base = Some(BaseStatus { seq: 1, hash: Hash([1; 32]), time: 1 });
    miner.trained(1, 6.0, 1);
    miner.uploaded(Upload { time: 1, block: Block(1), base_seq: 1, object: Hash([1; 32]), bytes: 1, millis: 1 });
    view.machine.disk_free = Some(1);
    view.machine.disk_size = Some(1);
    view.machine.resident = Some(1);
    view.machine.open_files = Some(1);
    view.pulse = Some(PulseView { doing: "training".into(), silent_ms: 1, stalled: false });
    view
}

/// What is exported is what [`METRICS`] says: names, kinds and labels.
#[test]
fn the_exposition_holds_every_metric_under_its_name_kind_and_labels() {
    let text = exposition(&everything());
    for Metric { name, kind, labels, .. } in METRICS {
        let kind = if *kind == Kind::Counter { "counter" } else { "gauge" };
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} is not exported as a {kind}:\n{text}");
        let sample = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        let sample = sample.unwrap_or_else(|| panic!("{name} has no sample"));
        let found: Vec<&str> = match sample.split_once('{') {
            None => Vec::new(),
            Some((_, rest)) => rest.split("\",").filter_map(|label| label.split('=').next()).collect(),
        };
        let wanted: Vec<&str> = labels.split(',').filter(|label| !label.is_empty()).collect();
        assert_eq!(found, wanted, "{sample}");
    }
    let types: BTreeSet<String> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned)).collect();
    assert_eq!(types, exported());
}

#[test]
fn the_documentation_names_the_metrics_that_are_exported_as_they_are() {
    let text = file("docs/operations/monitoring.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `bistro_") || line.starts_with("| `process_"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let documented: Vec<String> = rows.iter().map(|row| row[..4].join(" ") + " " + row[5]).collect();
    let program = |program| match program {
        Program::Both => "both",
        Program::Validator => "validator",
        Program::Miner => "miner",
    };
    let exported = METRICS.iter().map(|m| {
        let kind = if m.kind == Kind::Counter { "counter" } else { "gauge" };
        format!("`{}` {kind} {} {} {}", m.name, program(m.program), m.labels.replace(',', ", "), m.help)
    });
    assert_eq!(documented, exported.collect::<Vec<_>>(), "docs/operations/monitoring.md is not what METRICS says");
    for row in &rows {
        let name = row[0].trim_matches('`').trim_end_matches("_total");
        let units = [
            ("_seconds", "seconds"),
            ("_bytes", "bytes"),
            ("_blocks", "blocks"),
            ("_nats", "nats a token"),
            ("_ratio", "0 to 1"),
        ];
        let unit = units.iter().find(|(suffix, _)| name.ends_with(suffix)).map_or("", |(_, unit)| unit);
        assert_eq!(row[4], unit, "{name}");
    }
}

#[test]
fn dashboard_and_alerts_ask_only_for_metrics_that_are_exported() {
    for path in ["config/grafana/bistro.json", "config/prometheus/alerts.yml", "docs/operations/monitoring.md"] {
        let named = named(&file(path));
        let unknown: Vec<_> = named.difference(&exported()).cloned().collect();
        assert!(unknown.is_empty(), "{path}: {unknown:?}");
        assert!(named.len() > 8, "{path} names {}", named.len());
    }
    let dashboard: serde_json::Value = serde_json::from_str(&file("config/grafana/bistro.json")).unwrap();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have one id");
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{}", panel["title"]);
    }
}

/// Every alert is in the documentation, with what to do.
#[test]
fn every_alert_is_documented() {
    let (rules, text) = (file("config/prometheus/alerts.yml"), file("docs/operations/monitoring.md"));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10);
    let described = rules.lines().filter_map(|line| line.trim().strip_prefix("description: \"")?.strip_suffix('"'));
    for (alert, what) in alerts.iter().zip(described) {
        let row = text.lines().find(|line| line.starts_with(&format!("| `{alert}` |")));
        assert!(row.is_some_and(|row| row.contains(what)), "{alert}: {what}");
    }
}
