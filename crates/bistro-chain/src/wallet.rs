//! Bittensor's wallet folder: `<path>/<name>/{coldkey, coldkeypub.txt, hotkeys/<hotkey>, hotkeys/<hotkey>pub.txt}`.
//!
//! Bistro reads hotkeys, which are normally stored unencrypted. Files that it makes itself are for local networks: their
//! coldkey is unencrypted too.

use std::path::{Path, PathBuf};

use bistro_core::ids::Hotkey;

use crate::identity::{Keypair, SecretError};

mod file;
mod store;

/// Where Bittensor's tools keep wallets.
pub const DEFAULT_PATH: &str = "~/.bittensor/wallets";

/// A failure around wallet files. No message repeats a secret.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// A name that is no plain file name.
    #[error("`{0}` is no name of a wallet or hotkey: use letters, digits, `-`, `_` and `.`")]
    Name(String),
    /// `~` or `$HOME` without a home directory.
    #[error("{0}: no home directory is known for it; give the full path")]
    Home(String),
    /// The key file is not there.
    #[error("there is no key at {tried}; {existing}")]
    Missing {
        /// The path that was tried.
        tried: String,
        /// The wallets and hotkeys that exist beside it.
        existing: String,
    },
    /// The file could not be read or written.
    #[error("{0}")]
    Io(String),
    /// The file is encrypted.
    #[error("{path} is encrypted ({kind}); {mend}")]
    Encrypted {
        /// The file.
        path: String,
        /// By what.
        kind: &'static str,
        /// What to do.
        mend: &'static str,
    },
    /// The content is no key.
    #[error("{path} is no key file of Bittensor: {why}")]
    Content {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The secret belongs to another address than the file says.
    #[error("{path} says it is {stated}, but its secret is {found}'s: the file is damaged or was edited")]
    Mismatch {
        /// The file.
        path: String,
        /// The address in the file.
        stated: String,
        /// The secret's own address.
        found: Hotkey,
    },
    /// A file that would be written exists.
    #[error("{0} exists already, and keys are never overwritten: choose another name")]
    Exists(String),
    /// The secret for a new key.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// Where the secret of a new key comes from.
#[derive(Clone, Copy)]
pub enum KeySource<'a> {
    /// The system's randomness: 12 words, kept in the file.
    Random,
    /// A secret URI as [`Keypair::from_uri`] takes it (`//Alice`, `0x…` seed). The file keeps only the private key.
    Uri(&'a str),
}

/// An opened wallet: one hotkey, and the coldkey's address.
#[derive(Debug)]
pub struct Wallet {
    paths: store::Paths,
    hotkey: Keypair,
}

impl Wallet {
    /// Opens hotkey `hotkey` of wallet `name` below `path` ([`DEFAULT_PATH`] if `None`; `~` and `$HOME` are expanded). A file
    /// that others can read is opened with a warning.
    pub fn open(path: Option<&Path>, name: &str, hotkey: &str) -> Result<Self, WalletError> {
        let paths = store::Paths::new(path, name, hotkey)?;
        let hotkey = store::read_key(&paths, &paths.hotkey())?;
        Ok(Self { paths, hotkey })
    }

    /// Makes wallet `name` with one hotkey. Nothing that exists is overwritten. The coldkey is written **unencrypted**: make
    /// wallets for real networks with Bittensor's own tools.
    pub fn create(
        path: Option<&Path>,
        name: &str,
        hotkey: &str,
        coldkey_from: KeySource<'_>,
        hotkey_from: KeySource<'_>,
    ) -> Result<Self, WalletError> {
        let paths = store::Paths::new(path, name, hotkey)?;
        for taken in [paths.coldkey(), paths.coldkey_public(), paths.hotkey(), paths.hotkey_public()] {
            if taken.exists() {
                return Err(WalletError::Exists(taken.display().to_string()));
            }
        }
        tracing::warn!(path = %paths.coldkey().display(), "the new coldkey is unencrypted: for local networks only");
        store::write_key(&paths.coldkey(), &paths.coldkey_public(), coldkey_from)?;
        let hotkey = store::write_key(&paths.hotkey(), &paths.hotkey_public(), hotkey_from)?;
        Ok(Self { paths, hotkey })
    }

    /// The hotkey.
    pub fn hotkey(&self) -> &Keypair {
        &self.hotkey
    }

    /// The hotkey's file.
    pub fn hotkey_path(&self) -> PathBuf {
        self.paths.hotkey()
    }

    /// The coldkey's address, from `coldkeypub.txt`.
    pub fn coldkey_address(&self) -> Result<Hotkey, WalletError> {
        store::read_address(&self.paths.coldkey_public())
    }

    /// The coldkey itself, where its file is unencrypted: to register and stake on a local network.
    pub fn coldkey(&self) -> Result<Keypair, WalletError> {
        store::read_key(&self.paths, &self.paths.coldkey())
    }
}
