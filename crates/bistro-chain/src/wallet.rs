//! Bittensor's wallet folder: `<path>/<name>/{coldkey, coldkeypub.txt, hotkeys/<hotkey>, hotkeys/<hotkey>pub.txt}`.
//!
//! Bistro reads hotkeys, which are normally stored unencrypted; those that Bittensor's tools encrypted want their
//! [`password`]. Files that it makes itself are for local networks: their coldkey is unencrypted too.

use std::path::{Path, PathBuf};

use bistro_core::ids::Hotkey;

use crate::identity::{Keypair, SecretError};

mod file;
pub mod password;
mod sealed;
mod store;

pub use password::Password;

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
    /// The file is encrypted, and there is no password, or in a way that is not read.
    #[error("{path} is encrypted ({kind}); {mend}")]
    Encrypted {
        /// The file.
        path: String,
        /// By what.
        kind: &'static str,
        /// What to do.
        mend: &'static str,
    },
    /// The password does not open the file.
    #[error("the password does not open {0}: it is another one, or the file is damaged")]
    Password(String),
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
        Self::open_with(path, name, hotkey, |_| None)
    }

    /// The same for a hotkey that may be encrypted. `password` is called with the file's path if it is, and only then; to decrypt
    /// takes seconds and half a gibibyte of memory.
    pub fn open_with(
        path: Option<&Path>,
        name: &str,
        hotkey: &str,
        password: impl FnOnce(&Path) -> Option<Password>,
    ) -> Result<Self, WalletError> {
        let paths = store::Paths::new(path, name, hotkey)?;
        let file = paths.hotkey();
        let hotkey = store::read_key(&paths, &file, || password(&file))?;
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
        self.coldkey_with(|_| None)
    }

    /// The coldkey itself, with a password as in [`Wallet::open_with`].
    pub fn coldkey_with(&self, password: impl FnOnce(&Path) -> Option<Password>) -> Result<Keypair, WalletError> {
        let file = self.paths.coldkey();
        store::read_key(&self.paths, &file, || password(&file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";
    /// Alice's key file, encrypted by bittensor-wallet 4.1.1 with "Not a g00d one!", behind `$NACL`.
    const SEALED: &str = "f702a7a74923ab9b1a34ee2fb23479452bae36c21b8f6e68f13a1a351434ea399240b1553f0d179791aee2a186861cb90e3a\
         51c46e871051b117b3dcd6930b44b4cae5e6de4db4558cd0601194114245f4956dba9831a9affbb74cb13ab341e47568a755\
         621b57a7ce97cbe4819deb6d8eb3776971d80737e37504ac1278617bbb914fdc95e96b9527e55c24d12a61ef0db8c484d015\
         b4be78423a461a7f2806ce43b555bb1459b37ac2f37e706f2d243579a3acdd1f732adcedfedd120fbe99143fb92400117475\
         9fa76340889b97d415c17d5d298774ac70df5b6aff27fc10b9ec4fda37c0324d00bc342c6d0aac1a69756b7c5bd913d0f11c\
         69da";

    #[test]
    fn a_key_that_bittensors_wallet_encrypted_opens_with_its_password() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("w/hotkeys");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("h"), [b"$NACL", &*hex::decode(SEALED).unwrap()].concat()).unwrap();
        let open = |password: Option<&str>| {
            let given = |path: &Path| {
                assert_eq!(path, folder.join("h"));
                password.map(|text| Password::new(text.to_owned()))
            };
            Wallet::open_with(Some(root.path()), "w", "h", given)
        };
        assert_eq!(open(Some("Not a g00d one!")).unwrap().hotkey().public().ss58(), ALICE);
        let wrong = open(Some("Not a good one!")).unwrap_err();
        assert!(matches!(wrong, WalletError::Password(_)), "{wrong}");
        let none = open(None).unwrap_err().to_string();
        assert!(none.contains("BT_WALLET_PASSWORD"), "{none}");
        let unasked = Wallet::open(Some(root.path()), "w", "h").unwrap_err();
        assert!(matches!(unasked, WalletError::Encrypted { .. }), "{unasked}");
    }
}
