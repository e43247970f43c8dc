//! A line a minute where nobody looks at a terminal: whoever reads the log of a night sees that the program lived, and how.

use std::time::Duration;

use bistro_node::status::{MinerStatus, ValidatorStatus};
use bistro_watch::{Source, View, text};
use tokio_util::sync::CancellationToken;

/// Time between two lines.
const EVERY: Duration = Duration::from_mins(1);

/// Tells how it goes, every minute until `stop`.
pub async fn tell(source: Source, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
        line(&source.view());
    }
}

fn line(view: &View) {
    match (&view.status.validator, &view.status.miner) {
        (Some(validator), _) => of_validator(view, validator),
        (_, Some(miner)) => of_miner(view, miner),
        (None, None) => tracing::info!(doing = doing(view), "alive, the loop has not begun yet"),
    }
}

fn of_validator(view: &View, v: &ValidatorStatus) {
    let block = view.status.block;
    tracing::info!(
        %block,
        master = v.master.map(|master| master.seq),
        loss = v.measured.last().and_then(|point| point.loss),
        accepted = v.counts.accepted,
        refused = v.counts.rejected,
        skipped = v.counts.skipped.values().sum::<u64>(),
        weights = text::weights(view, v),
        complaints_last_hour = view.complaints.last_hour,
        doing = doing(view),
        "alive"
    );
}

fn of_miner(view: &View, m: &MinerStatus) {
    let block = view.status.block;
    tracing::info!(
        %block,
        step = m.steps,
        loss = m.losses.last().and_then(|point| point.loss),
        tokens_per_second = m.tokens_per_second.round(),
        base = m.base.map(|base| base.seq),
        uploads = m.uploads,
        last_upload_seconds_ago = m.uploaded.last().map(|upload| view.age(upload.time).round()),
        merged = m.merges,
        complaints_last_hour = view.complaints.last_hour,
        doing = doing(view),
        "alive"
    );
}

fn doing(view: &View) -> String {
    let wait = view.status.activities.first().map(|wait| wait.what.clone());
    let beat = view.pulse.as_ref().map(|pulse| pulse.doing.clone());
    wait.or(beat).unwrap_or_else(|| "starting".to_owned())
}
