//! Ends a process whose loop stands still, so that whoever supervises it (systemd, a container's restart policy) starts it
//! again. Every call has a deadline, so this is for what nobody thought of: a deadlock, a hung driver, a disk that is gone.

use std::time::Duration;

use bistro_node::Pulse;

use crate::exit::TEMPORARY;

/// Time between two looks at the pulse.
const LOOK: Duration = Duration::from_millis(500);

/// A process that was stopped as a whole (SIGSTOP, a suspended machine) finds an old beat when it wakes: the loop gets this
/// long to beat again.
const WAKING: Duration = Duration::from_secs(2);

/// How long libraries may take to tidy up at exit; a thread that hangs may keep them from it for ever.
const TIDYING: Duration = Duration::from_secs(10);

/// Watches `pulse` until the process ends: with status 75 once the loop has not beaten for `patience`. A thread of its own,
/// which runs even if every thread of the async runtime hangs.
pub fn start(pulse: Pulse, patience: Duration) -> std::io::Result<()> {
    std::thread::Builder::new().name("watchdog".into()).spawn(move || watch(&pulse, patience)).map(|_| ())
}

fn watch(pulse: &Pulse, patience: Duration) {
    loop {
        std::thread::sleep(LOOK);
        let number = pulse.last().number;
        if pulse.stalled(patience).is_none() {
            continue;
        }
        std::thread::sleep(WAKING);
        if let Some((doing, silent)) = pulse.stalled(patience).filter(|_| pulse.last().number == number) {
            end(doing, silent);
        }
    }
}

fn end(doing: &str, silent: Duration) {
    tracing::error!(
        "the loop stands still: for {} s it has been {doing}. Ending, to be started again. If that is no fault but takes so \
         long here, allow more by --stall-after",
        silent.as_secs()
    );
    std::thread::spawn(|| {
        std::thread::sleep(TIDYING);
        std::process::abort();
    });
    #[expect(clippy::exit, reason = "the loop cannot be asked to end: it stands still")]
    std::process::exit(i32::from(TEMPORARY));
}
