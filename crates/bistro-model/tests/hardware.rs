//! What docs/operations says of each shipped model in numbers is what the memory plan and the model's shape say.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write as _;
use std::path::Path;

use bistro_model::config::PRESETS;
use bistro_model::options::OptimizerKind;
use bistro_model::tch::Device;
use bistro_model::{LlamaConfig, TrainOptions, memory};

const BEGIN: &str = "<!-- computed by crates/bistro-model/tests/hardware.rs -->\n";
const END: &str = "<!-- end -->\n";

/// GiB that the plan counts for one sequence at a time, whatever is free.
fn gib(config: &LlamaConfig, options: &TrainOptions, device: Device) -> f64 {
    let options = TrainOptions { micro_batch: 1, ..options.clone() };
    let plan = memory::plan_within(config, &options, device, config.max_position_embeddings, u64::MAX / 2).unwrap();
    plan.needed() as f64 / f64::from(1 << 30)
}

fn memory_table() -> String {
    let mut table =
        "| `--model` | parameters | tokens a sequence | miner, CPU | miner, GPU | thrifty, CPU | thrifty, GPU \
                     | validator, CPU | validator, GPU | `--offload-base` | state folder of a miner |\n"
            .to_owned();
    table += "|---|---|---|---|---|---|---|---|---|---|---|\n";
    let trains = TrainOptions::default();
    let thrifty = TrainOptions { checkpointing: true, optimizer: OptimizerKind::Adafactor, ..trains.clone() };
    let judges = TrainOptions { trains: false, ..trains.clone() };
    let offload = TrainOptions { offload_base: true, ..judges.clone() };
    let (cpu, gpu) = (Device::Cpu, Device::Cuda(0));
    let columns = [
        (&trains, cpu),
        (&trains, gpu),
        (&thrifty, cpu),
        (&thrifty, gpu),
        (&judges, cpu),
        (&judges, gpu),
        (&offload, gpu),
    ];
    for name in PRESETS {
        let config = LlamaConfig::preset(name).unwrap();
        let parameters = config.parameters().unwrap() as f64;
        write!(table, "| `{name}` | {:.1} M | {} ", parameters / 1e6, config.max_position_embeddings).unwrap();
        for (options, device) in columns {
            write!(table, "| {:.1} ", gib(&config, options, device)).unwrap();
        }
        // Base and model, in f32.
        writeln!(table, "| {:.1} |", 8.0 * parameters / f64::from(1 << 30)).unwrap();
    }
    table
}

/// Bits a parameter, as docs/deltas.md measured them on `nano`; those of the first four follow from the format.
const BITS: [(&str, f64); 7] = [
    ("f32", 32.005),
    ("bf16", 16.005),
    ("int8", 8.067),
    ("int4", 4.067),
    ("topk", 0.633),
    ("fine", 0.888),
    ("coarse", 0.289),
];

fn delta_table() -> String {
    let parameters = PRESETS.map(|name| LlamaConfig::preset(name).unwrap().parameters().unwrap() as f64);
    let mut table = "| `--delta.encoding` | bits a parameter |".to_owned();
    for name in PRESETS {
        write!(table, " `{name}` |").unwrap();
    }
    table += "\n|---|---|---|---|---|---|---|\n";
    for (encoding, bits) in BITS {
        write!(table, "| `{encoding}` | {bits} |").unwrap();
        for n in parameters {
            write!(table, " {} |", megabytes(n * bits / 8.0)).unwrap();
        }
        table += "\n";
    }
    table
}

fn megabytes(bytes: f64) -> String {
    let mb = bytes / 1e6;
    if mb < 10.0 { format!("{mb:.1} MB") } else { format!("{mb:.0} MB") }
}

fn holds(page: &str, wanted: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations").join(page);
    let text = std::fs::read_to_string(&file).unwrap();
    let written = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).expect("the table's marks").0;
    assert!(written == wanted, "put this between the marks in {}:\n{wanted}", file.display());
}

#[test]
fn the_page_on_hardware_says_what_the_memory_plan_says() {
    holds("hardware.md", &memory_table());
}

#[test]
fn the_page_on_costs_counts_bytes_as_the_model_s_shape_does() {
    holds("costs.md", &delta_table());
}
