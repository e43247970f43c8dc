//! Disk, memory and open files, as far as the system tells.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// What the program uses, and what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Free bytes where the data folder lies, for this user.
    pub disk_free: Option<u64>,
    /// All bytes there.
    pub disk_size: Option<u64>,
    /// Resident memory of this process, bytes.
    pub resident: Option<u64>,
    /// Open file descriptors of this process.
    pub open_files: Option<u64>,
}

impl Machine {
    /// Looks; `data_dir` need not exist.
    pub fn look(data_dir: &Path) -> Self {
        let disk = rustix::fs::statvfs(data_dir).ok();
        Self {
            disk_free: disk.as_ref().map(|disk| disk.f_bavail * disk.f_frsize),
            disk_size: disk.as_ref().map(|disk| disk.f_blocks * disk.f_frsize),
            resident: resident(),
            open_files: fs_err::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
        }
    }
}

/// Linux tells, in KiB; elsewhere this is unknown.
fn resident() -> Option<u64> {
    let text = fs_err::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_and_memory_are_those_of_this_process() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::look(dir.path());
        assert!(machine.disk_free.unwrap() <= machine.disk_size.unwrap());
        assert!(machine.resident.unwrap() > 1 << 20);
        assert!(machine.open_files.unwrap() >= 3);
        assert_eq!(Machine::look(Path::new("/nonexistent")).disk_free, None);
    }
}
