//! The units of systemd.

use std::fs;

use crate::pages;

fn unit(program: &str) -> String {
    fs::read_to_string(pages::root().join(format!("config/systemd/bistro-{program}@.service"))).unwrap()
}

/// The two are one but for the names, and for how long a stop may take: whoever mends one mends both.
#[test]
fn both_units_are_the_same_but_for_names_and_the_time_to_stop() {
    let plain = |text: String, program: &str| -> Vec<String> {
        let words = text.replace(program, "PROGRAM");
        let lines = words.lines().filter(|line| !line.starts_with("TimeoutStopSec=")).map(str::to_owned);
        // Comments may differ.
        lines.filter(|line| !line.starts_with('#')).collect()
    };
    assert_eq!(plain(unit("miner"), "miner"), plain(unit("validator"), "validator"));
}

#[test]
fn what_only_an_operator_can_mend_is_not_started_again_and_what_is_temporary_is() {
    for program in ["miner", "validator"] {
        let unit = unit(program);
        let line = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        assert_eq!((line("Type="), line("Restart=")), ("notify".into(), "on-failure".into()));
        assert_eq!(line("RestartPreventExitStatus="), "2 3 4");
        assert_eq!(line("StartLimitIntervalSec="), "0", "a limit would give up after five temporary failures");
        assert!(!line("WatchdogSec=").is_empty());
        assert!(!unit.contains("AWS_SECRET_ACCESS_KEY"), "keys come as credentials");
    }
}
