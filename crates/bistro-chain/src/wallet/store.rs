//! Paths of a wallet, and reading and writing its files.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bistro_core::ids::Hotkey;
use zeroize::Zeroizing;

use super::file::{self, Fault};
use super::{DEFAULT_PATH, KeySource, Password, WalletError};
use crate::identity::Keypair;

/// Names that a message lists at most.
const MAX_LISTED: usize = 20;

/// Where one wallet's files are.
#[derive(Debug)]
pub(super) struct Paths {
    root: PathBuf,
    name: String,
    hotkey: String,
}

impl Paths {
    pub(super) fn new(root: Option<&Path>, name: &str, hotkey: &str) -> Result<Self, WalletError> {
        for part in [name, hotkey] {
            if part.is_empty() || part.starts_with('.') || part.contains(['/', '\\', '\0']) {
                return Err(WalletError::Name(part.to_owned()));
            }
        }
        let root = expand(root.unwrap_or(Path::new(DEFAULT_PATH)))?;
        Ok(Self { root, name: name.to_owned(), hotkey: hotkey.to_owned() })
    }

    fn wallet(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    pub(super) fn coldkey(&self) -> PathBuf {
        self.wallet().join("coldkey")
    }

    pub(super) fn coldkey_public(&self) -> PathBuf {
        self.wallet().join("coldkeypub.txt")
    }

    pub(super) fn hotkey(&self) -> PathBuf {
        self.wallet().join("hotkeys").join(&self.hotkey)
    }

    pub(super) fn hotkey_public(&self) -> PathBuf {
        self.wallet().join("hotkeys").join(format!("{}pub.txt", self.hotkey))
    }

    /// The wallets and hotkeys that exist, in words.
    fn existing(&self) -> String {
        let wallets = names(&self.root, Path::is_dir);
        if wallets.is_empty() {
            return format!("no wallet exists in {} (make one with `btcli wallet create`)", self.root.display());
        }
        let listed: Vec<String> = wallets
            .iter()
            .map(|wallet| {
                let hotkeys = names(&self.root.join(wallet).join("hotkeys"), |path| {
                    path.is_file() && !path.to_string_lossy().ends_with("pub.txt")
                });
                format!("{wallet} (hotkeys: {})", if hotkeys.is_empty() { "none".into() } else { hotkeys.join(", ") })
            })
            .collect();
        format!("these wallets exist in {}: {}", self.root.display(), listed.join("; "))
    }
}

/// Names in `folder` in order, at most [`MAX_LISTED`]; none if it cannot be read.
fn names(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    let entries = entries.flatten().filter(|entry| wanted(&entry.path()));
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names.truncate(MAX_LISTED);
    names
}

/// `~` and `$HOME` at the beginning become the home directory.
fn expand(path: &Path) -> Result<PathBuf, WalletError> {
    let mut parts = path.components();
    match parts.next() {
        Some(first) if first.as_os_str() == "~" || first.as_os_str() == "$HOME" => {
            let home = std::env::home_dir().filter(|home| home.is_absolute());
            let home = home.ok_or_else(|| WalletError::Home(path.display().to_string()))?;
            Ok(home.join(parts.as_path()))
        }
        _ => Ok(path.to_owned()),
    }
}

/// Reads a secret key's file; `password` is asked if it is encrypted.
pub(super) fn read_key(
    paths: &Paths,
    path: &Path,
    password: impl FnOnce() -> Option<Password>,
) -> Result<Keypair, WalletError> {
    if !path.is_file() {
        return Err(WalletError::Missing { tried: path.display().to_string(), existing: paths.existing() });
    }
    let bytes = read(path)?;
    file::parse_with(&bytes, password).map_err(|fault| at(path, fault))
}

/// Reads the address in a public key's file.
pub(super) fn read_address(path: &Path) -> Result<Hotkey, WalletError> {
    let content = |why: String| WalletError::Content { path: path.display().to_string(), why };
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| content("it is not text".into()))?;
    let fields = file::fields(text).map_err(|fault| at(path, fault))?;
    let address = fields.address.as_deref().ok_or_else(|| content("it has no ss58Address".into()))?;
    address.parse().map_err(|e: bistro_core::ids::IdError| content(e.to_string()))
}

fn at(path: &Path, fault: Fault) -> WalletError {
    let path = path.display().to_string();
    match fault {
        Fault::Encrypted(kind, mend) => WalletError::Encrypted { path, kind, mend },
        Fault::WrongPassword => WalletError::Password(path),
        Fault::Content(why) => WalletError::Content { path, why },
        Fault::Mismatch { stated, found } => WalletError::Mismatch { path, stated, found },
    }
}

/// Reads a small file into memory that is wiped, and warns if others may read it too.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, WalletError> {
    let io = |e: std::io::Error| WalletError::Io(e.to_string());
    let file = fs_err::File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 && !path.to_string_lossy().ends_with("pub.txt") {
        tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), "others can read this key: chmod 600 it");
    }
    // Room for the whole file at once: a vector that grows leaves copies of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len().min(file::MAX_BYTES) as usize + 64));
    file.take(file::MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > file::MAX_BYTES {
        let why = format!("it is longer than {} bytes", file::MAX_BYTES);
        return Err(WalletError::Content { path: path.display().to_string(), why });
    }
    Ok(bytes)
}

/// Makes a key and writes its secret and its public file.
pub(super) fn write_key(secret: &Path, public: &Path, source: KeySource<'_>) -> Result<Keypair, WalletError> {
    let made = file::make(source)?;
    write(secret, &made.secret)?;
    write(public, &made.public)?;
    Ok(made.key)
}

/// Writes a file of mode 600 that appears whole or not at all, and never in the place of another.
fn write(path: &Path, bytes: &[u8]) -> Result<(), WalletError> {
    let io = |e: std::io::Error| WalletError::Io(format!("{}: {e}", path.display()));
    let folder = path.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder).map_err(io)?;
    let mut file = tempfile::Builder::new()
        .prefix(".new-key-")
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)
        .map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(WalletError::Exists(path.display().to_string()))
        }
        Err(e) => Err(io(e.error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wallet::Wallet;

    fn create(root: &Path, name: &str, hotkey: &str) -> Result<Wallet, WalletError> {
        Wallet::create(Some(root), name, hotkey, KeySource::Random, KeySource::Uri("//Alice"))
    }

    #[test]
    fn a_created_wallet_opens_and_is_private() {
        let root = tempfile::tempdir().unwrap();
        let made = create(root.path(), "w", "h").unwrap();
        let opened = Wallet::open(Some(root.path()), "w", "h").unwrap();
        assert_eq!(opened.hotkey().public(), made.hotkey().public());
        assert_eq!(opened.coldkey().unwrap().public(), opened.coldkey_address().unwrap());
        assert_ne!(opened.coldkey_address().unwrap(), opened.hotkey().public());
        for file in ["coldkey", "coldkeypub.txt", "hotkeys/h", "hotkeys/hpub.txt"] {
            let mode = std::fs::metadata(root.path().join("w").join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        let left: Vec<_> = names(&root.path().join("w/hotkeys"), |_| true);
        assert_eq!(left, ["h", "hpub.txt"], "no temporary file stays");
    }

    #[test]
    fn nothing_is_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let first = create(root.path(), "w", "h").unwrap();
        let before = std::fs::read(first.hotkey_path()).unwrap();
        assert!(matches!(create(root.path(), "w", "h"), Err(WalletError::Exists(_))));
        assert!(matches!(create(root.path(), "w", "other"), Err(WalletError::Exists(_))), "the coldkey stays");
        assert!(matches!(write(&first.hotkey_path(), b"x"), Err(WalletError::Exists(_))), "also in a race");
        assert_eq!(std::fs::read(first.hotkey_path()).unwrap(), before);
    }

    #[test]
    fn a_missing_key_lists_what_exists() {
        let root = tempfile::tempdir().unwrap();
        let empty = Wallet::open(Some(root.path()), "w", "h").unwrap_err().to_string();
        assert!(empty.contains("no wallet exists"), "{empty}");
        create(root.path(), "one", "first").unwrap();
        create(root.path(), "two", "second").unwrap();
        let message = Wallet::open(Some(root.path()), "one", "secnd").unwrap_err().to_string();
        assert!(message.contains("one/hotkeys/secnd"), "{message}");
        assert!(message.contains("one (hotkeys: first); two (hotkeys: second)"), "{message}");
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        for bad in ["", "..", "a/b", ".hidden", "a\\b"] {
            assert!(matches!(Wallet::open(Some(Path::new("x")), bad, "h"), Err(WalletError::Name(_))), "{bad:?}");
            assert!(matches!(Wallet::open(Some(Path::new("x")), "w", bad), Err(WalletError::Name(_))), "{bad:?}");
        }
    }

    #[test]
    fn home_is_expanded_at_the_beginning_only() {
        let home = std::env::home_dir().unwrap();
        assert_eq!(expand(Path::new("~/.bittensor/wallets")).unwrap(), home.join(".bittensor/wallets"));
        assert_eq!(expand(Path::new("$HOME/w")).unwrap(), home.join("w"));
        assert_eq!(expand(Path::new("/a/~")).unwrap(), Path::new("/a/~"));
        assert_eq!(expand(Path::new("~x/w")).unwrap(), Path::new("~x/w"));
    }

    #[test]
    fn a_key_that_others_can_read_still_opens() {
        let root = tempfile::tempdir().unwrap();
        let path = create(root.path(), "w", "h").unwrap().hotkey_path();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Wallet::open(Some(root.path()), "w", "h").is_ok());
        std::fs::write(&path, vec![b' '; file::MAX_BYTES as usize + 1]).unwrap();
        assert!(matches!(Wallet::open(Some(root.path()), "w", "h"), Err(WalletError::Content { .. })));
    }
}
