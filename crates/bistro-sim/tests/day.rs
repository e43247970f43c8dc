//! Hours of virtual time: what grows in them, grows for ever. `BISTRO_SIM_BLOCKS=7200` makes it a day.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bistro_sim::{Scenario, run};

/// Memory in use, KiB, and open handles.
fn sample() -> (f64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let memory = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    (memory, std::fs::read_dir("/proc/self/fd").unwrap().count() as f64)
}

fn mean(samples: &[(f64, f64)]) -> (f64, f64) {
    let n = samples.len() as f64;
    (samples.iter().map(|s| s.0).sum::<f64>() / n, samples.iter().map(|s| s.1).sum::<f64>() / n)
}

#[test]
fn memory_and_handles_stay_flat_over_hours() {
    let blocks = std::env::var("BISTRO_SIM_BLOCKS").ok().and_then(|n| n.parse().ok()).unwrap_or(1200_u64);
    let text = "faults = 0.05\nkills = 4\npage_seconds = 20.0\nvalidators = [1000, 400]\n\
                miners = [\"honest\", \"honest\", \"not_a_number\", \"replay\"]";
    let scenario = Scenario { blocks, ..Scenario::from_toml(text).unwrap() };
    let done = Arc::new(AtomicBool::new(false));
    let sampler = std::thread::spawn({
        let done = done.clone();
        move || {
            let mut samples = Vec::new();
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(50));
                samples.push(sample());
            }
            samples
        }
    });
    let outcome = run(&scenario, 1).unwrap();
    done.store(true, Ordering::Relaxed);
    let samples = sampler.join().unwrap();
    assert_eq!(outcome.broken, Vec::<String>::new());
    assert!(outcome.masters > 10, "{outcome:#?}");
    let third = samples.len() / 3;
    assert!(third > 5, "{} samples are too few to tell", samples.len());
    let (middle, end) = (mean(&samples[third..2 * third]), mean(&samples[2 * third..]));
    // Buckets are in memory here: what the masters left in them, and the logs, is a few MiB.
    assert!(end.0 < 1.25 * middle.0 + 32_768.0, "memory grew from {} to {} KiB", middle.0, end.0);
    assert!(end.1 < middle.1 + 8.0, "handles grew from {} to {}", middle.1, end.1);
}
