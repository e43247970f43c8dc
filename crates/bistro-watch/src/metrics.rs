//! The view as Prometheus reads it. Each metric is one entry of [`METRICS`], from which the exposition is made and with which
//! `docs/operations/monitoring.md`, the dashboard and the alerts are compared.
//!
//! How long ago something happened is told as an age in seconds, counted from the program's start where it has not happened yet:
//! an alert then needs one comparison, and stands while the loop stands.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use bistro_node::status::{MinerStatus, ValidatorStatus};

use crate::view::View;

pub use prometheus_text::CONTENT_TYPE;

/// Whether a metric only rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only rises, until the program starts again.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// Which program has a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Both.
    Both,
    /// The validator.
    Validator,
    /// The miner.
    Miner,
}

/// A value with its labels.
pub type Sample = (Vec<(&'static str, String)>, f64);

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name as exported, with unit and `_total`.
    pub name: &'static str,
    /// Whether it only rises.
    pub kind: Kind,
    /// Who has it.
    pub program: Program,
    /// Names of its labels, joined by commas.
    pub labels: &'static str,
    /// What it tells.
    pub help: &'static str,
    samples: fn(&View) -> Vec<Sample>,
}

/// A metric of one value, or of none while there is nothing to tell.
fn one(value: Option<f64>) -> Vec<Sample> {
    value.map(|value| (Vec::new(), value)).into_iter().collect()
}

fn count(value: u64) -> Vec<Sample> {
    one(Some(value as f64))
}

fn validator(view: &View, value: impl FnOnce(&ValidatorStatus) -> Vec<Sample>) -> Vec<Sample> {
    view.status.validator.as_ref().map(value).unwrap_or_default()
}

fn miner(view: &View, value: impl FnOnce(&MinerStatus) -> Vec<Sample>) -> Vec<Sample> {
    view.status.miner.as_ref().map(value).unwrap_or_default()
}

/// A value of each miner that a validator knows.
fn of_miners(view: &View, value: fn(&bistro_node::status::validator::MinerRow) -> Option<f64>) -> Vec<Sample> {
    let labels = |row: &bistro_node::status::validator::MinerRow| {
        vec![("uid", row.uid.to_string()), ("hotkey", row.hotkey.to_string())]
    };
    validator(view, |v| v.miners.iter().filter_map(|row| Some((labels(row), value(row)?))).collect())
}

macro_rules! metrics {
    ($($name:literal $kind:ident $program:ident $labels:literal $help:literal $samples:expr;)*) => {
        /// All metrics, in the order of the documentation.
        pub const METRICS: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            program: Program::$program,
            labels: $labels,
            help: $help,
            samples: $samples,
        }),*];
    };
}

metrics! {
    "bistro_build_info" Gauge Both "program,version,libtorch,device" "Always 1; the labels say what runs"
        |view| {
            let about = &view.status.about;
            let labels = [("program", &about.program), ("version", &about.version), ("libtorch", &about.libtorch), ("device", &about.device)];
            vec![(labels.map(|(name, value)| (name, value.clone())).into(), 1.0)]
        };
    "bistro_uptime_seconds" Gauge Both "" "Time since the program began"
        |view| one(Some(view.age(view.status.about.started)));
    "bistro_block" Gauge Both "" "The chain's newest block that the loop has seen"
        |view| count(view.status.block.0);
    "bistro_beat_age_seconds" Gauge Both "" "Time since the loop last showed that it moves"
        |view| one(view.beat_age());
    "bistro_wait_age_seconds" Gauge Both "what" "How long something has been waited for; absent when nothing is"
        |view| view.status.activities.iter().map(|wait| (vec![("what", wait.what.clone())], view.age(wait.since))).collect();
    "bistro_compute_ratio" Gauge Both "" "Share of the time with work in which the model computed"
        |view| one(Some(view.status.compute_share));
    "bistro_page_wait_ratio" Gauge Both "" "Share of the time with work in which the model waited for pages"
        |view| one(Some(view.status.page_wait_share));
    "bistro_warnings_total" Counter Both "" "Warnings in the log"
        |view| count(view.complaints.warnings);
    "bistro_errors_total" Counter Both "" "Errors in the log"
        |view| count(view.complaints.errors);
    "bistro_data_disk_free_bytes" Gauge Both "" "Free space where the data folder lies"
        |view| one(view.machine.disk_free.map(|bytes| bytes as f64));
    "bistro_data_disk_size_bytes" Gauge Both "" "All space there"
        |view| one(view.machine.disk_size.map(|bytes| bytes as f64));
    "process_resident_memory_bytes" Gauge Both "" "Resident memory"
        |view| one(view.machine.resident.map(|bytes| bytes as f64));
    "process_open_fds" Gauge Both "" "Open file descriptors"
        |view| one(view.machine.open_files.map(|files| files as f64));

    "bistro_validator_leads" Gauge Validator "" "1 if everybody follows this validator's master"
        |view| validator(view, |v| count(u64::from(v.leads)));
    "bistro_validator_neurons" Gauge Validator "" "Neurons of the subnet"
        |view| validator(view, |v| count(v.neurons as u64));
    "bistro_validator_master_sequence" Gauge Validator "" "Number of the newest master"
        |view| validator(view, |v| one(v.master.map(|master| master.seq as f64)));
    "bistro_validator_master_age_seconds" Gauge Validator "" "Time since the newest master was published or followed"
        |view| validator(view, |v| one(Some(view.age_or_uptime(v.master.map(|master| master.time)))));
    "bistro_validator_master_loss_nats" Gauge Validator "" "Loss of the last measured master on the run's yardstick; NaN if not finite"
        |view| validator(view, |v| one(v.measured.last().map(|point| point.loss.unwrap_or(f64::NAN))));
    "bistro_validator_verdict_loss_nats" Gauge Validator "" "Global loss of the last verdict"
        |view| validator(view, |v| one(v.verdicts.last().and_then(|point| point.loss)));
    "bistro_validator_verdict_age_seconds" Gauge Validator "" "Time since a delta was last judged"
        |view| validator(view, |v| one(Some(view.age_or_uptime(v.verdicts.last().map(|point| point.time)))));
    "bistro_validator_verdicts_total" Counter Validator "verdict" "Deltas judged, `accepted` or `rejected`"
        |view| validator(view, |v| {
            let label = |name: &str| vec![("verdict", name.to_owned())];
            vec![(label("accepted"), v.counts.accepted as f64), (label("rejected"), v.counts.rejected as f64)]
        });
    "bistro_validator_skips_total" Counter Validator "reason" "Deltas passed over, by reason; one that repeats counts once"
        |view| validator(view, |v| {
            v.counts.skipped.iter().map(|(reason, count)| (vec![("reason", reason.name())], *count as f64)).collect()
        });
    "bistro_validator_losses_not_finite_total" Counter Validator "" "Losses that were NaN or infinite, of a master or with a delta"
        |view| validator(view, |v| count(v.counts.losses_not_finite));
    "bistro_validator_weights_set_total" Counter Validator "" "Weights that the chain took"
        |view| validator(view, |v| count(v.counts.weights_set));
    "bistro_validator_weights_refused_total" Counter Validator "" "Weights that the chain refused, or that could not be sent"
        |view| validator(view, |v| count(v.counts.weights_refused));
    "bistro_validator_weights_due_blocks" Gauge Validator "" "Blocks until the chain takes weights again; absent if it takes none of this hotkey"
        |view| validator(view, |v| one(v.weights.due_in.map(|blocks| blocks as f64)));
    "bistro_validator_weights_age_blocks" Gauge Validator "" "Blocks since this hotkey's weights were last set, by the chain's word; absent if never"
        |view| validator(view, |v| one(v.weights.last_update.map(|set| view.status.block.since(set) as f64)));
    "bistro_validator_weights_blocked" Gauge Validator "name" "1 while the last attempt was refused, with the chain's name of the refusal"
        |view| validator(view, |v| v.weights.refused.iter().map(|refused| (vec![("name", refused.name.clone())], 1.0)).collect());
    "bistro_validator_evidence" Gauge Validator "" "What premiums show of who trained, in what it takes to tell it: from 1 on shown pages are paid; absent where the rules do not ask for them"
        |view| validator(view, |v| one(v.evidence.map(|evidence| evidence.found / evidence.asked)));
    "bistro_validator_miner_weight_ratio" Gauge Validator "uid,hotkey" "A miner's share of the weights that are offered to the chain"
        |view| of_miners(view, |row| Some(row.share));
    "bistro_validator_miner_local_loss_nats" Gauge Validator "uid,hotkey" "Moving average of a miner's losses on its local pages"
        |view| of_miners(view, |row| row.local_average);
    "bistro_validator_miner_global_loss_nats" Gauge Validator "uid,hotkey" "Moving average of a miner's losses on global pages"
        |view| of_miners(view, |row| row.global_average);

    "bistro_miner_steps_total" Counter Miner "" "Optimizer steps"
        |view| miner(view, |m| count(m.steps));
    "bistro_miner_tokens_total" Counter Miner "" "Tokens trained on"
        |view| miner(view, |m| count(m.tokens));
    "bistro_miner_tokens_per_second" Gauge Miner "" "Tokens a second while the model trains"
        |view| miner(view, |m| one(Some(m.tokens_per_second)));
    "bistro_miner_loss_nats" Gauge Miner "" "Mean training loss of the last epoch; NaN if not finite"
        |view| miner(view, |m| one(m.losses.last().map(|point| point.loss.unwrap_or(f64::NAN))));
    "bistro_miner_epoch_age_seconds" Gauge Miner "" "Time since an epoch of training last ended"
        |view| miner(view, |m| one(Some(view.age_or_uptime(m.losses.last().map(|point| point.time)))));
    "bistro_miner_unmerged_steps" Gauge Miner "" "Optimizer steps whose work no master holds yet"
        |view| miner(view, |m| count(m.unmerged_steps));
    "bistro_miner_base_sequence" Gauge Miner "" "Number of the master that the work is based on"
        |view| miner(view, |m| one(m.base.map(|base| base.seq as f64)));
    "bistro_miner_base_age_seconds" Gauge Miner "" "Time since that master was taken"
        |view| miner(view, |m| one(Some(view.age_or_uptime(m.base.map(|base| base.time)))));
    "bistro_miner_uploads_total" Counter Miner "" "Deltas uploaded"
        |view| miner(view, |m| count(m.uploads));
    "bistro_miner_uploaded_bytes_total" Counter Miner "" "Bytes of them"
        |view| miner(view, |m| count(m.uploaded_bytes));
    "bistro_miner_uploads_delayed_total" Counter Miner "" "Epochs whose work went with a later upload, the one before being still under way"
        |view| miner(view, |m| count(m.uploads_delayed));
    "bistro_miner_upload_age_seconds" Gauge Miner "" "Time since a delta was last uploaded"
        |view| miner(view, |m| one(Some(view.age_or_uptime(m.uploaded.last().map(|upload| upload.time)))));
    "bistro_miner_upload_duration_seconds" Gauge Miner "" "How long the last upload took"
        |view| miner(view, |m| one(m.uploaded.last().map(|upload| upload.millis as f64 / 1e3)));
    "bistro_miner_merges_total" Counter Miner "" "Own deltas that masters took, as far as this program has seen"
        |view| miner(view, |m| count(m.merges));
}

type Labels = Vec<(&'static str, String)>;

/// What Prometheus gets: the metrics of the program that the view is of.
pub fn exposition(view: &View) -> String {
    let mut registry = Registry::default();
    for metric in METRICS {
        let samples = (metric.samples)(view);
        if samples.is_empty() {
            continue;
        }
        match metric.kind {
            Kind::Gauge => {
                let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
                for (labels, value) in samples {
                    family.get_or_create(&labels).set(value);
                }
                registry.register(metric.name, metric.help, family);
            }
            Kind::Counter => {
                let family = Family::<Labels, Counter<f64, AtomicU64>>::default();
                for (labels, value) in samples {
                    family.get_or_create(&labels).inc_by(value);
                }
                // The library appends it.
                registry.register(metric.name.trim_end_matches("_total"), metric.help, family);
            }
        }
    }
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = prometheus_text::encode(&mut text, &registry);
    text
}
