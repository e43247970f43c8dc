//! Settings and keys: D01 to D03.

use std::os::unix::fs::PermissionsExt as _;

use fs_err as fs;

use super::Outcome;
use super::subject::{Subject, World};

/// D01. Whoever comes here has made no mistake that is one for certain.
pub(super) fn settings(subject: &Subject) -> Outcome {
    let files: Vec<_> = subject.files.iter().map(|file| file.display().to_string()).collect();
    let read = if files.is_empty() { "flags and variables".to_owned() } else { files.join(", ") };
    match subject.notes.first() {
        None => Outcome::pass(format!("{read}: understood")),
        Some(note) => Outcome::warn(note.clone(), format!("{} config show --origin", subject.program())),
    }
}

/// D02.
pub(super) fn hotkey(subject: &Subject, world: &World) -> Outcome {
    let list = "btcli wallet list";
    let wallet = match &world.wallet {
        Ok(wallet) => wallet,
        Err(why) => return Outcome::fail(why.clone(), list),
    };
    let (path, key) = (wallet.hotkey_path(), wallet.hotkey().public());
    let mode = fs::metadata(&path).map_or(0o600, |file| file.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        let says = format!("{} has mode {mode:o}: others on this machine can sign as {key}", path.display());
        return Outcome::warn(says, format!("chmod 600 {}", path.display()));
    }
    Outcome::pass(format!("{key}, wallet {}, hotkey {}", subject.common.wallet.name(), subject.common.wallet.hotkey))
}

/// D03.
pub(super) fn coldkey(world: &World) -> Outcome {
    let Ok(wallet) = &world.wallet else { return Outcome::skip("no wallet is open") };
    let hotkey = wallet.hotkey_path();
    let Some(folder) = hotkey.parent().and_then(|keys| keys.parent()) else { return Outcome::skip("no folder") };
    let coldkey = folder.join("coldkey");
    if coldkey.exists() {
        let says = "the coldkey, which can spend, is on this machine; neither miner nor validator needs it";
        return Outcome::warn(says, format!("keep {} elsewhere, and remove it here", coldkey.display()));
    }
    Outcome::pass("it is not on this machine")
}
