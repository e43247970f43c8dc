//! The data folder: one process at a time, files replaced whole.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::NodeError;

/// Largest state file that is read, bytes.
const MAX_STATE_BYTES: u64 = 64 << 20;

/// The folder, held for this process until dropped.
pub struct DataDir {
    path: PathBuf,
    _lock: std::fs::File,
}

impl DataDir {
    /// Makes the folder if need be and takes its lock; a second process on it is refused.
    pub fn open(path: &Path) -> Result<Self, NodeError> {
        let unusable = |error: std::io::Error| NodeError::State {
            path: path.to_owned(),
            why: format!("the data folder cannot be written ({error}): mend that, or give another by --data-dir"),
        };
        fs::create_dir_all(path).map_err(unusable)?;
        let lock_path = path.join("lock");
        let mut options = fs::OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).open(&lock_path).map_err(unusable)?.into_parts().0;
        let taken = |_| NodeError::State {
            path: path.to_owned(),
            why: "another process uses this data folder; stop it, or give this one a folder of its own with --data-dir"
                .to_owned(),
        };
        lock.try_lock().map_err(taken)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The path of `name` in the folder.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Replaces the file `name`: whoever reads it sees the old content or the new one, whole, after any crash.
    pub fn replace(&self, name: &str, content: &[u8]) -> Result<(), NodeError> {
        let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(self.join(name)).map_err(|e| e.error)?;
        fs::File::open(&self.path)?.sync_all()?;
        Ok(())
    }

    /// Reads the file `name`; `None` if there is none.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, NodeError> {
        match fs::read(self.join(name)) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces the state file `name` by `state` as JSON.
    pub fn save<T: Serialize>(&self, name: &str, state: &T) -> Result<(), NodeError> {
        let json = serde_json::to_vec_pretty(state).map_err(|e| self.damaged(name, &e.to_string()))?;
        self.replace(name, &json)
    }

    /// Reads the state file `name`; one that is damaged is refused, never taken for an absent one.
    pub fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, NodeError> {
        let Some(content) = self.read(name)? else { return Ok(None) };
        if content.len() as u64 > MAX_STATE_BYTES {
            return Err(self.damaged(name, "too long"));
        }
        serde_json::from_slice(&content).map(Some).map_err(|e| self.damaged(name, &e.to_string()))
    }

    /// As [`Self::load`], of a form that has a `version`: another one's file is refused and stays as it is, for the program
    /// that wrote it can go on from it.
    pub fn load_version<T: DeserializeOwned>(&self, name: &str, version: u32) -> Result<Option<T>, NodeError> {
        match self.load(name)? {
            None => Ok(None),
            Some(Form { version: own }) if own == version => self.load(name),
            Some(Form { version: other }) => {
                Err(self.damaged(name, &format!("it has version {other}, and this program reads {version}")))
            }
        }
    }

    fn damaged(&self, name: &str, why: &str) -> NodeError {
        let why = format!(
            "not a state file of this version ({why}). Run the program that wrote it, restore it from a backup, or move it \
             away to start without it: a validator's scores and weight clock, or a miner's unmerged work, are then lost, \
             the master is not"
        );
        NodeError::State { path: self.join(name), why }
    }
}

/// What all versions of a state file have.
#[derive(Deserialize)]
struct Form {
    version: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_never_share_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        let second = DataDir::open(dir.path());
        assert!(second.is_err_and(|e| e.to_string().contains("--data-dir")));
        drop(first);
        DataDir::open(dir.path()).unwrap();
    }

    /// Not even root makes folders in /proc.
    #[test]
    fn a_folder_that_cannot_be_written_is_the_operators_to_mend() {
        let Err(error) = DataDir::open(Path::new("/proc/bistro")) else { panic!("it was written") };
        assert!(
            !error.is_temporary()
                && error.to_string().contains("/proc/bistro")
                && error.to_string().contains("--data-dir")
        );
    }

    #[test]
    fn a_damaged_state_file_is_refused_and_an_absent_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        assert_eq!(data.load::<u32>("state.json").unwrap(), None);
        data.save("state.json", &7_u32).unwrap();
        assert_eq!(data.load::<u32>("state.json").unwrap(), Some(7));
        data.replace("state.json", b"{\"torn").unwrap();
        assert!(data.load::<u32>("state.json").unwrap_err().to_string().contains("backup"));
    }
}
