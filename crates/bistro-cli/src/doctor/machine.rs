//! The machine: D17 to D20.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use bistro_model::{device, memory};
use fs_err as fs;

use super::Outcome;
use super::subject::{Subject, World};
use crate::connect;

/// The libtorch that this program is made for.
const LIBTORCH: &str = "2.11.0";
/// Files that a program may have open: connections, objects in pieces, pages.
const FILES: u64 = 1024;
/// State, logs and half-written files without the model's own: bytes.
const STATE: u64 = 256 << 20;

/// D17.
pub(super) fn device(subject: &Subject) -> Outcome {
    let name = &subject.common.device;
    let device = match device::parse(name) {
        Ok(device) => device,
        Err(error) => return Outcome::fail(error.to_string(), format!("{} --device cpu", subject.program())),
    };
    let (version, place) = libtorch();
    let place = place.map(|path| format!(" of {}", path.display())).unwrap_or_default();
    let Some(version) = version else { return Outcome::pass(format!("{name} ({device:?}); a libtorch{place}")) };
    let says = format!("{name} ({device:?}); libtorch {version}{place}");
    if version.split('+').next() == Some(LIBTORCH) {
        return Outcome::pass(says);
    }
    Outcome::fail(format!("{says}, and this program is made for {LIBTORCH}"), "./scripts/setup.sh, then build again")
}

/// Version and folder of the libtorch that this process has loaded, as far as they can be told.
fn libtorch() -> (Option<String>, Option<PathBuf>) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let loaded =
        maps.lines().filter_map(|line| line.split_whitespace().last()).find(|path| path.ends_with("/libtorch_cpu.so"));
    let folder = loaded.and_then(|file| Path::new(file).parent()).map(Path::to_owned);
    let root = folder.as_deref().and_then(Path::parent);
    // A downloaded libtorch says its version in a file, Python's in a module.
    let stated = root.and_then(|root| fs::read_to_string(root.join("build-version")).ok());
    let module = || {
        let text = fs::read_to_string(root?.join("version.py")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("__version__ = '")?.strip_suffix('\'').map(str::to_owned))
    };
    (stated.map(|text| text.trim().to_owned()).or_else(module), folder)
}

/// D18.
pub(super) fn memory(subject: &Subject) -> Outcome {
    let Some((config, sequence)) = &subject.model else {
        return Outcome::skip("the run's model is not known: no validator has published a master");
    };
    let Ok(device) = device::parse(&subject.common.device) else { return Outcome::skip("there is no device") };
    match memory::plan(config, &subject.options, device, *sequence) {
        Ok(plan) => Outcome::pass(plan.to_string()),
        Err(error) => {
            Outcome::fail(error.to_string(), format!("{} --micro-batch-size 1, or as it says", subject.program()))
        }
    }
}

/// D19.
pub(super) fn disk(subject: &Subject, world: &World) -> Outcome {
    let Ok(wallet) = &world.wallet else { return Outcome::skip("the folder's name needs the hotkey") };
    let folder = match connect::data_dir(&subject.common, subject.role, &wallet.hotkey().public()) {
        Ok(folder) => folder,
        Err(error) => return Outcome::fail(error.to_string(), format!("{} --data-dir DIR", subject.program())),
    };
    let Some(there) = folder.ancestors().find(|path| path.exists()) else { return Outcome::skip("no folder") };
    let elsewhere = format!("{} --data-dir DIR, on another disk", subject.program());
    if rustix::fs::access(there, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_err() || !there.is_dir()
    {
        let says =
            format!("{} cannot be made or written: {} belongs to somebody else", folder.display(), there.display());
        return Outcome::fail(says, elsewhere);
    }
    let Ok(disk) = rustix::fs::statvfs(there) else { return Outcome::skip("the disk does not tell") };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let parameters = subject.model.as_ref().and_then(|(config, _)| config.parameters()).unwrap_or(0) as u64;
    // Base and model, each beside the copy that replaces it.
    let need = STATE + 4 * 4 * parameters + (subject.common.dataset.cache_bytes());
    let says = format!("{} has {} free, of which {} may be needed", folder.display(), gib(free), gib(need));
    match free {
        ..STATE => Outcome::fail(says, elsewhere),
        free if free < need => Outcome::warn(says, elsewhere),
        _ => Outcome::pass(says),
    }
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

/// D20. `port` is to be free for the web page.
pub(super) fn limits(port: Option<SocketAddr>) -> Outcome {
    let Some(files) = files() else { return Outcome::skip("the system does not tell how many files may be open") };
    if files < FILES {
        let says = format!("{files} files may be open, {FILES} are wanted");
        return Outcome::warn(says, format!("ulimit -n {FILES}; for a service LimitNOFILE={FILES}"));
    }
    let Some(address) = port else { return Outcome::pass(format!("{files} files may be open")) };
    match TcpListener::bind(address) {
        Ok(_) => Outcome::pass(format!("{files} files may be open; {address} is free for the web page")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let says = format!(
                "{address} is taken: by this program if it runs already, and otherwise its web page has no place"
            );
            Outcome::warn(says, "--http with another port")
        }
        Err(error) => {
            Outcome::fail(format!("the web page cannot be served at {address}: {error}"), "--http with another address")
        }
    }
}

/// How many files this process may have open.
fn files() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    /// The set-up script fetches the libtorch that this check wants.
    #[test]
    fn the_version_is_that_of_the_scripts() {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/lib.sh");
        assert!(fs::read_to_string(scripts).unwrap().contains(&format!("TORCH_VERSION={LIBTORCH}\n")));
    }

    #[test]
    fn the_libtorch_in_use_is_found() {
        assert!(device::parse("cpu").is_ok());
        let (version, folder) = libtorch();
        assert!(folder.is_some(), "this test is linked with it");
        assert!(version.is_none_or(|version| version.starts_with(LIBTORCH)));
    }

    #[test]
    fn a_port_that_is_taken_is_told_and_one_that_is_no_place_of_this_machine_fails() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let outcome = limits(Some(address));
        assert_eq!(outcome.verdict, Verdict::Warn);
        assert!(outcome.says.starts_with(&format!("{address} is taken")), "{}", outcome.says);
        drop(taken);
        let outcome = limits(Some(address));
        assert_eq!(outcome.verdict, Verdict::Pass, "{}", outcome.says);
        // An address that is kept for documentation belongs to no machine.
        assert_eq!(limits(Some("192.0.2.1:9100".parse().unwrap())).verdict, Verdict::Fail);
    }
}
