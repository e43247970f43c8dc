//! The ports that a loop runs on, and how it builds what depends on the run's rules.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bistro_core::ids::NetUid;
use bistro_core::ports::{Chain, Clock, Identity, Learner, OwnBucket, Pages, PortError, PublicBuckets, Retry};
use bistro_core::protocol::{ManifestError, Signed, Statement};
use bistro_core::rules::Rules;
use tokio_util::sync::CancellationToken;

use crate::Pulse;
use crate::compute::compute;
use crate::status::{Board, Wait};

/// The outside world, as both loops meet it.
#[derive(Clone)]
pub struct Parts {
    /// Subnet.
    pub netuid: NetUid,
    /// The chain.
    pub chain: Arc<dyn Chain>,
    /// The own hotkey.
    pub identity: Arc<dyn Identity>,
    /// The own bucket.
    pub own: Arc<dyn OwnBucket>,
    /// Everybody's buckets.
    pub public: Arc<dyn PublicBuckets>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The folder with this program's state.
    pub data_dir: PathBuf,
    /// Where the loop shows what it does.
    pub board: Board,
    /// What the loop is doing, for the watchdog.
    pub pulse: Pulse,
    /// Cancelled when the program is to end: by whoever runs the loop, which puts it here.
    pub stop: CancellationToken,
}

impl Parts {
    /// The same world for work beside the loop: what it does is not the loop's pulse.
    #[must_use]
    pub(crate) fn aside(&self) -> Self {
        Self { pulse: self.pulse.unwatched(), ..self.clone() }
    }

    /// What a stranger's `json` states, its signature checked.
    pub fn statement<T: Statement>(&self, json: &[u8]) -> Result<T, ManifestError> {
        let verify = |hotkey: &_, message: &[u8], signature: &_| self.identity.verify(hotkey, message, signature);
        Ok(Signed::from_json(json, verify)?.statement)
    }

    /// Shows `what` as waited for until the guard is dropped; `bytes` is how much it is about, where that is known.
    pub(crate) fn wait(&self, what: &str, bytes: Option<u64>) -> Wait {
        self.board.wait(what, self.clock.unix_millis(), bytes)
    }
}

/// Builds what depends on the run's rules, which a miner learns only from the master's publisher.
pub trait Build: Send + Sync {
    /// The dataset of the rules; an error names where the operator's own differs.
    fn pages(&self, rules: &Rules) -> Result<Arc<dyn Pages>, PortError>;

    /// The model of the rules on the operator's device, with its first weights.
    fn learner(&self, rules: &Rules) -> Result<Box<dyn Learner>, PortError>;
}

/// The dataset of the rules, shown as waited for meanwhile.
pub(crate) fn pages(parts: &Parts, build: &dyn Build, rules: &Rules) -> Result<Arc<dyn Pages>, PortError> {
    let _shown = parts.wait("opening the dataset", None);
    parts.pulse.beat("opening the dataset");
    compute(|| build.pages(rules))
}

/// The model of the rules, shown as waited for meanwhile.
pub(crate) fn learner(parts: &Parts, build: &dyn Build, rules: &Rules) -> Result<Box<dyn Learner>, PortError> {
    let _shown = parts.wait("setting up the model", None);
    parts.pulse.beat("setting up the model");
    Ok(parts.pulse.of_learner(compute(|| build.learner(rules))?))
}

/// Attempts of [`patiently`] before it gives up: with its pauses, about ten minutes.
const ATTEMPTS: u32 = 12;

/// The same for a program that is to end: somebody waits for it.
const LAST_ATTEMPTS: u32 = 3;

/// Repeats `attempt` while its failure is a passing one, with pauses from one second up to a minute; a stop ends a pause, and
/// leaves few attempts.
pub(crate) async fn patiently<T, F: Future<Output = Result<T, PortError>>>(
    parts: &Parts,
    what: &'static str,
    mut attempt: impl FnMut() -> F,
) -> Result<T, PortError> {
    let _shown = parts.wait(what, None);
    let mut pause = Duration::from_secs(1);
    for tried in 1.. {
        parts.pulse.beat(what);
        match attempt().await {
            Err(error) if error.retry == Retry::Soon && tried < attempts(parts) => {
                tracing::warn!(%error, tried, "{what} failed; again in {} s", pause.as_secs());
                let goes_on = !parts.stop.is_cancelled();
                tokio::select! {
                    biased;
                    () = parts.clock.sleep(pause) => {}
                    () = parts.stop.cancelled(), if goes_on => {}
                }
                pause = (pause * 2).min(Duration::from_mins(1));
            }
            outcome => return outcome,
        }
    }
    unreachable!("the last attempt returns")
}

fn attempts(parts: &Parts) -> u32 {
    if parts.stop.is_cancelled() { LAST_ATTEMPTS } else { ATTEMPTS }
}
