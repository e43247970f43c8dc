//! The view as `status` prints it: for a terminal of 80 columns, and for a log.

use std::fmt::Write as _;

use bistro_core::mechanism::Evidence;
use bistro_node::status::validator::{Fate, LastDelta, MinerRow};
use bistro_node::status::{Judgement, MinerStatus, Premium, ValidatorStatus};

use crate::view::View;

/// Rows of a table at most.
const MAX_ROWS: usize = 64;

/// Complaints that are repeated.
const COMPLAINTS: usize = 5;

/// The whole of it.
pub fn status(view: &View) -> String {
    let mut text = head(view);
    match (&view.status.validator, &view.status.miner) {
        (Some(validator), _) => validator_lines(&mut text, view, validator),
        (_, Some(miner)) => miner_lines(&mut text, view, miner),
        (None, None) => line(&mut text, "loop", "has not begun yet"),
    }
    for complaint in view.complaints.newest.iter().rev().take(COMPLAINTS) {
        let age = span(view.age(complaint.time));
        line(&mut text, &complaint.level.to_lowercase(), format!("{age} ago: {}", complaint.message));
    }
    text
}

fn head(view: &View) -> String {
    let (status, about) = (&view.status, &view.status.about);
    let uid = status.uid.map(|uid| format!(", uid {uid}")).unwrap_or_default();
    let netuid = about.netuid.map(|netuid| format!(", subnet {netuid}")).unwrap_or_default();
    let hotkey = about.hotkey.map(|hotkey| hotkey.to_string()).unwrap_or_default();
    let mut text = format!("{} {} on {}{netuid}{uid}\n", about.program, about.version, about.network);
    line(&mut text, "hotkey", format!("{hotkey}, bucket {}", about.bucket));
    let doing = match (&view.pulse, status.activities.first()) {
        (Some(pulse), _) if pulse.stalled => {
            format!("STANDS STILL: {} for {}", pulse.doing, span(pulse.silent_ms as f64 / 1e3))
        }
        (_, Some(wait)) => format!("{} for {}", wait.what, span(view.age(wait.since))),
        (Some(pulse), None) => pulse.doing.clone(),
        (None, None) => "running".to_owned(),
    };
    line(&mut text, "doing", doing);
    line(&mut text, "since", format!("{} at block {}", span(view.age(about.started)), status.block));
    let (computes, waits) = (percent(status.compute_share), percent(status.page_wait_share));
    line(&mut text, "model", format!("computes {computes} of the time, waits for pages {waits}, on {}", about.device));
    text
}

fn validator_lines(text: &mut String, view: &View, v: &ValidatorStatus) {
    if let Some(master) = v.master {
        let role = if v.leads { "leads" } else { "follows" };
        let age = span(view.age(master.time));
        line(text, "master", format!("{} ({}), {age} ago, {role}", master.seq, master.hash.hash16()));
    }
    let measured: Vec<f64> = v.measured.iter().filter_map(|point| point.loss).collect();
    if let (Some(first), Some(last)) = (measured.first(), measured.last()) {
        line(text, "loss", format!("{last:.3} nats on the run's yardstick, {first:.3} when this program began"));
    }
    let skipped: u64 = v.counts.skipped.values().sum();
    let (accepted, rejected) = (v.counts.accepted, v.counts.rejected);
    line(text, "deltas", format!("{accepted} accepted, {rejected} refused, {skipped} passed over"));
    line(text, "weights", weights(view, v));
    if let Some(evidence) = &v.evidence {
        line(text, "pay", pay(evidence));
    }
    if !v.miners.is_empty() {
        let _ = writeln!(text, "\n  uid hotkey     weight  local global premium accepted  last delta");
    }
    let mut rows: Vec<&MinerRow> = v.miners.iter().collect();
    rows.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.uid.cmp(&b.uid)));
    for row in rows.iter().take(MAX_ROWS) {
        let (local, global) = (loss(row.local_average), loss(row.global_average));
        let premium = loss(row.premium.map(|premium| premium.mean));
        let last = row.last.as_ref().map(|last| fate(view, last)).unwrap_or_default();
        let accepted = format!("{} of {}", row.accepted, row.judged);
        let (hotkey, share) = (row.hotkey.short(), percent(row.share));
        let losses = format!("{local:>6} {global:>6} {premium:>7}");
        let _ = writeln!(text, "{:>5} {hotkey}… {share:>7} {losses} {accepted:>8}  {last}", row.uid);
    }
    if rows.len() > MAX_ROWS {
        let _ = writeln!(text, "      and {} more", rows.len() - MAX_ROWS);
    }
}

/// When they were set, and when they will be.
pub fn weights(view: &View, v: &ValidatorStatus) -> String {
    let set = match v.weights.last_update {
        Some(block) => format!("set {} blocks ago", view.status.block.since(block)),
        None => "never set yet".to_owned(),
    };
    match (&v.weights.refused, v.weights.due_in) {
        (Some(refused), _) => format!("refused: {} ({}); {set}", refused.name, refused.message),
        (None, Some(0)) => format!("due; {set}"),
        (None, Some(blocks)) => format!("due in {blocks} blocks; {set}"),
        (None, None) => format!("the chain takes none of this hotkey: it lacks stake or permit; {set}"),
    }
}

/// What is paid for at present, and why.
pub fn pay(evidence: &Evidence) -> String {
    let Evidence { found, asked, verdicts } = evidence;
    if evidence.is_clear() {
        return format!("by the pages that deltas know: evidence {found:.1}, where {asked:.1} tells who trained");
    }
    let told = format!("evidence {found:.1} of the {asked:.1} that tells who trained");
    if evidence.is_early() {
        return format!("nobody yet: {told}, after {verdicts} verdicts of at most {:.0}", evidence.patience().ceil());
    }
    format!("by gains alone: {told}, after {verdicts} verdicts")
}

fn fate(view: &View, last: &LastDelta) -> String {
    let age = span(view.age(last.time));
    match &last.fate {
        Fate::Accepted(scale) => format!("accepted × {scale}, {age} ago"),
        Fate::Rejected => format!("refused, {age} ago"),
        Fate::Skipped(skip) => format!("{}, {age} ago", skip.reason.name()),
    }
}

fn miner_lines(text: &mut String, view: &View, m: &MinerStatus) {
    let last = m.losses.last().and_then(|point| point.loss);
    line(text, "loss", format!("{} nats, mean of the last epoch", loss(last)));
    line(text, "speed", format!("{:.0} tokens/s", m.tokens_per_second));
    line(text, "steps", format!("{}, of which {} are not merged yet", m.steps, m.unmerged_steps));
    if let Some(base) = m.base {
        let age = span(view.age(base.time));
        line(text, "base", format!("master {} ({}), taken {age} ago", base.seq, base.hash.hash16()));
    }
    let upload = m.uploaded.last().map(|upload| {
        let (age, size) = (span(view.age(upload.time)), bytes(upload.bytes));
        format!(", the last {age} ago ({size}, on master {})", upload.base_seq)
    });
    line(text, "uploads", format!("{}{}", m.uploads, upload.unwrap_or_default()));
    let merge = m.merged.last().map(|merge| format!(", the last into master {} with scale {}", merge.seq, merge.scale));
    line(text, "merged", format!("{}{}", m.merges, merge.unwrap_or_default()));
    let read = match m.judgements_read {
        Some(time) => format!("their logs were last read {} ago", span(view.age(time))),
        None => "their logs have not been read yet: soon after the start, then every five minutes".to_owned(),
    };
    line(text, "judges", read);
}

/// What validators say of a miner, in their published logs.
pub fn judgements(view_now: u64, judgements: &[Judgement]) -> String {
    let mut text = String::new();
    for said in judgements {
        let who = said.validator.map(|hotkey| hotkey.short()).unwrap_or_default();
        let uid = said.uid.map(|uid| format!("uid {uid} ")).unwrap_or_default();
        let _ = writeln!(text, "\nvalidator {uid}{who}…");
        if let Some(why) = &said.trouble {
            line(&mut text, "says", format!("nothing: {why}"));
            continue;
        }
        let blocks = format!("in its log of blocks {} to {}", said.from, said.to);
        line(&mut text, "judged", format!("{} deltas, {} accepted, {blocks}", said.judged, said.accepted));
        if let Some(last) = &said.last {
            let ago = span(view_now.saturating_sub(last.time) as f64 / 1e3);
            let why = match &last.fate {
                Fate::Accepted(scale) => format!("accepted × {scale}"),
                Fate::Rejected => "judged and refused: it did not improve the global loss".to_owned(),
                Fate::Skipped(skip) => format!("passed over: {skip}"),
            };
            line(&mut text, "last", format!("{ago} ago, {why}"));
        } else {
            line(&mut text, "last", "never met: it has not drawn this hotkey, or finds nothing of it");
        }
        if let Some((place, of)) = said.rank {
            let (local, global) = (loss(said.local), loss(said.global));
            line(&mut text, "losses", format!("local {local}, global {global}, place {place} of {of}"));
        }
        if let Some(Premium { mean, of }) = said.premium {
            let on = format!("on pages that they were trained on, the mean of {of} deltas");
            line(&mut text, "premium", format!("{mean:.3} nats more {on}"));
        }
        if !said.skips.is_empty() {
            let skips: Vec<_> = said.skips.iter().map(|(reason, n)| format!("{} {n}", reason.name())).collect();
            line(&mut text, "skips", skips.join(", "));
        }
        let weight = said.weight.map_or_else(|| "none set in these blocks".to_owned(), percent);
        line(&mut text, "weight", weight);
    }
    text
}

fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    // Writing into a string does not fail.
    let _ = writeln!(text, "  {name:<9}{value}");
}

fn loss(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A time in the unit that suits it.
pub fn span(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s if s < 129_600.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86400.0),
    }
}

/// A size in the unit that suits it.
pub fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut size, mut unit) = (n as f64, 0);
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{size:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paid_for_and_why_is_told() {
        let told = |found, verdicts| pay(&Evidence { found, asked: 6.66, verdicts });
        assert_eq!(told(7.0, 9), "by the pages that deltas know: evidence 7.0, where 6.7 tells who trained");
        assert_eq!(
            told(3.0, 9),
            "nobody yet: evidence 3.0 of the 6.7 that tells who trained, after 9 verdicts of at most 27"
        );
        assert_eq!(told(3.0, 27), "by gains alone: evidence 3.0 of the 6.7 that tells who trained, after 27 verdicts");
    }

    #[test]
    fn sizes_and_times_are_told_in_units_that_suit_them() {
        assert_eq!([0, 1023, 1024, 5 << 20, 3 << 40].map(bytes), ["0 B", "1023 B", "1.0 KiB", "5.0 MiB", "3.0 TiB"]);
        assert_eq!([3.2, 120.0, 7200.0, 864_000.0].map(span), ["3 s", "2 min", "2.0 h", "10.0 days"]);
    }
}
