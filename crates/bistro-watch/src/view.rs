//! What is shown of a program at one moment.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bistro_node::Pulse;
use bistro_node::status::{Board, Status};
use serde::{Deserialize, Serialize};

use crate::complaints::{Complaints, Summary, now};
use crate::machine::Machine;

/// Everything that is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// The program's clock, milliseconds since the Unix epoch: what ages are told by.
    pub now: u64,
    /// What the loop does.
    pub status: Status,
    /// Whether the loop moves.
    pub pulse: Option<PulseView>,
    /// Warnings and errors.
    pub complaints: Summary,
    /// Disk, memory and open files.
    pub machine: Machine,
}

/// The loop's newest beat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PulseView {
    /// What the loop has begun to do.
    pub doing: String,
    /// Milliseconds since.
    pub silent_ms: u64,
    /// Whether that is longer than it may take by right.
    pub stalled: bool,
}

/// Where views come from.
#[derive(Clone)]
pub struct Source {
    board: Board,
    pulse: Option<(Pulse, Duration)>,
    complaints: Complaints,
    data_dir: Arc<PathBuf>,
}

impl Source {
    /// Views of this board and these complaints.
    pub fn new(board: Board, complaints: Complaints, data_dir: PathBuf) -> Self {
        Self { board, pulse: None, complaints, data_dir: data_dir.into() }
    }

    /// And of this pulse, with the patience of whoever ends a program that stands still.
    #[must_use]
    pub fn with_pulse(self, pulse: Pulse, patience: Duration) -> Self {
        Self { pulse: Some((pulse, patience)), ..self }
    }

    /// The view now.
    pub fn view(&self) -> View {
        let now = now();
        View {
            now,
            status: self.board.status(),
            pulse: self.pulse.as_ref().map(|(pulse, patience)| PulseView::of(pulse, *patience)),
            complaints: self.complaints.summary(now),
            machine: Machine::look(&self.data_dir),
        }
    }
}

impl PulseView {
    fn of(pulse: &Pulse, patience: Duration) -> Self {
        Self {
            doing: pulse.last().doing.to_owned(),
            silent_ms: u64::try_from(pulse.silent().as_millis()).unwrap_or(u64::MAX),
            stalled: pulse.stalled(patience).is_some(),
        }
    }
}

impl View {
    /// Seconds since the loop last showed that it moves.
    pub fn beat_age(&self) -> Option<f64> {
        self.pulse.as_ref().map(|pulse| pulse.silent_ms as f64 / 1e3)
    }

    /// Why the program counts as standing still, if it does.
    pub fn stalled(&self) -> Option<String> {
        let pulse = self.pulse.as_ref().filter(|pulse| pulse.stalled)?;
        Some(format!("standing still for {} s: it was {}", pulse.silent_ms / 1000, pulse.doing))
    }

    /// Seconds since `time` (milliseconds since the Unix epoch).
    pub fn age(&self, time: u64) -> f64 {
        self.now.saturating_sub(time) as f64 / 1e3
    }

    /// Seconds since `time`, or without one since the program began: how long something has not happened.
    pub fn age_or_uptime(&self, time: Option<u64>) -> f64 {
        self.age(time.unwrap_or(self.status.about.started))
    }
}
