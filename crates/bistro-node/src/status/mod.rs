//! What the program is doing, as one typed snapshot that the loops keep up to date and that everything which shows it is drawn
//! from: heartbeat, progress, `status`, web page, metrics. No IO, no clock: times are arguments, milliseconds since the Unix
//! epoch. Everything in it is bounded, whatever strangers do, for a program that runs for months.
//!
//! - this file: the board, and what both programs have in common.
//! - [`validator`]: masters, verdicts, miners, weights.
//! - [`miner`]: losses, uploads, what was merged.
//! - [`judgement`]: what a validator says of one miner.
//! - [`series`]: numbers over time, thinned out as they grow.

pub mod judgement;
pub mod miner;
pub mod series;
pub mod validator;

use std::sync::{Arc, Mutex, PoisonError};

use bistro_core::events::{Event, Judged};
use bistro_core::ids::{Block, Hotkey, NetUid, Uid};
use serde::{Deserialize, Serialize};

pub use judgement::Judgement;
pub use miner::MinerStatus;
pub use series::Series;
pub use validator::ValidatorStatus;

/// Waits that are shown at a time at most.
const MAX_ACTIVITIES: usize = 16;

/// Where the loops write and everybody else reads. Clones share one status.
#[derive(Clone, Debug, Default)]
pub struct Board {
    // A std mutex: held for one change or one copy, never across an await.
    status: Arc<Mutex<Status>>,
}

/// Everything there is to see of a program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Who runs, where, and since when.
    pub about: About,
    /// The chain's newest block that the loop has seen.
    pub block: Block,
    /// The own slot, once it is known.
    pub uid: Option<Uid>,
    /// What is waited for, the longest wait first.
    pub activities: Vec<Activity>,
    /// Share of the time with work in which the model computed, 0 to 1.
    pub compute_share: f64,
    /// Share of that time in which it waited for pages.
    pub page_wait_share: f64,
    /// What only a validator has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validator: Option<ValidatorStatus>,
    /// What only a miner has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub miner: Option<MinerStatus>,
}

/// Who runs, where, and since when: does not change while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// `bistro-miner` or `bistro-validator`.
    pub program: String,
    /// Its version.
    pub version: String,
    /// Version of libtorch.
    pub libtorch: String,
    /// Where the model computes.
    pub device: String,
    /// The chain's name or endpoint.
    pub network: String,
    /// Subnet.
    pub netuid: Option<NetUid>,
    /// The own hotkey.
    pub hotkey: Option<Hotkey>,
    /// The own bucket.
    pub bucket: String,
    /// Folder of the state.
    pub data_dir: String,
    /// When the program began.
    pub started: u64,
}

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// What, in words for an operator.
    pub what: String,
    /// Since when.
    pub since: u64,
    /// Bytes that it is about, where that is known.
    pub bytes: Option<u64>,
}

impl Board {
    /// Changes the status.
    pub fn change(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Changes what only a validator has.
    pub fn validator(&self, change: impl FnOnce(&mut ValidatorStatus)) {
        self.change(|status| change(status.validator.get_or_insert_default()));
    }

    /// Changes what only a miner has.
    pub fn miner(&self, change: impl FnOnce(&mut MinerStatus)) {
        self.change(|status| change(status.miner.get_or_insert_default()));
    }

    /// Takes in what the validator's log says happened at `time` and `block`.
    pub fn record(&self, time: u64, block: Block, event: &Event) {
        self.validator(|validator| validator.record(time, block, event));
    }

    /// Shows a wait for as long as the guard lives. `since` is now. Of waits for the same thing only the first is shown.
    pub fn wait(&self, what: impl Into<String>, since: u64, bytes: Option<u64>) -> Wait {
        let activity = Activity { what: what.into(), since, bytes };
        self.change(|status| {
            let shown = status.activities.iter().any(|other| other.what == activity.what);
            if !shown && status.activities.len() < MAX_ACTIVITIES {
                status.activities.push(activity.clone());
            }
        });
        Wait { board: self.clone(), activity }
    }

    /// A copy of everything.
    pub fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A wait that is shown until this is dropped.
#[derive(Debug)]
#[must_use = "the wait is shown for as long as this lives"]
pub struct Wait {
    board: Board,
    activity: Activity,
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.board.change(|status| {
            if let Some(at) = status.activities.iter().position(|other| *other == self.activity) {
                status.activities.remove(at);
            }
        });
    }
}

/// Keeps the newest `most` of a list.
fn keep_last<T>(list: &mut Vec<T>, most: usize) {
    let surplus = list.len().saturating_sub(most);
    list.drain(..surplus);
}

/// JSON has no infinities and no NaN.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// The mean premium (see [`bistro_core::mechanism::work`]) on pages that a miner says it trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Premium {
    /// Nats a token.
    pub mean: f64,
    /// Accepted deltas that it is the mean of.
    pub of: u64,
}

impl Premium {
    fn take(premium: &mut Option<Self>, judged: &Judged) {
        if let Some(new) = judged.premium().filter(|new| new.is_finite() && !judged.trained.is_empty()) {
            let Self { mean, of } = premium.get_or_insert_default();
            *of += 1;
            *mean += (new - *mean) / *of as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_shown_until_it_is_over_however_it_ends() {
        let board = Board::default();
        let first = board.wait("uploading the delta", 1, Some(7));
        {
            let _second = board.wait("reading a page", 2, None);
            let _inner = board.wait("uploading the delta", 3, None);
            assert_eq!(board.status().activities.len(), 2);
        }
        let left = board.status().activities;
        assert_eq!(left, [Activity { what: "uploading the delta".into(), since: 1, bytes: Some(7) }]);
        drop(first);
        assert!(board.status().activities.is_empty());
    }

    #[test]
    fn waits_without_end_are_bounded() {
        let board = Board::default();
        let waits: Vec<Wait> = (0..100).map(|i| board.wait(format!("page {i}"), 1, None)).collect();
        assert_eq!(board.status().activities.len(), MAX_ACTIVITIES);
        drop(waits);
        assert!(board.status().activities.is_empty());
    }
}
