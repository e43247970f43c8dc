//! Wallet and hotkey, as `btcli` names them.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use bistro_chain::wallet::{Password, password};
use bistro_chain::{Wallet, WalletError};
use clap::Args;

/// Wallet and hotkey.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Wallet")]
pub struct WalletArgs {
    /// Name of the wallet; `default` by default.
    #[arg(long = "wallet.name", alias = "wallet", env = "BT_WALLET_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// Name of the hotkey.
    #[arg(
        long = "wallet.hotkey",
        alias = "hotkey",
        env = "BT_WALLET_HOTKEY",
        default_value = "default",
        value_name = "HOTKEY"
    )]
    pub hotkey: String,
    /// Folder of the wallets; `~/.bittensor/wallets` by default.
    #[arg(long = "wallet.path", env = "BT_WALLET_PATH", value_name = "DIR")]
    pub path: Option<PathBuf>,
}

impl WalletArgs {
    /// Opens the wallet. The password of an encrypted hotkey comes from the environment, or from whoever sits at the terminal.
    ///
    /// # Errors
    /// [`WalletError`] says which file is missing, broken or of another address, or that no password opens it.
    pub fn open(&self) -> Result<Wallet, WalletError> {
        Wallet::open_with(self.path.as_deref(), &self.name(), &self.hotkey, password_of)
    }

    /// The wallet's name: of the flag, or of the variable `BT_WALLET` of Bittensor's tools of version 11.
    pub fn name(&self) -> String {
        self.name.clone().or_else(|| crate::variable("BT_WALLET")).unwrap_or_else(|| "default".to_owned())
    }
}

/// The password of the key at `file`: from `BT_WALLET_PASSWORD`, `BT_WALLET_PASSWORD_FILE` or Bittensor's own `BT_PW_…`, or asked for.
pub fn password_of(file: &Path) -> Option<Password> {
    password::from_environment(file, |name| std::env::var(name).ok()).or_else(|| ask(file))
}

/// Asks for a password where somebody can answer.
fn ask(file: &Path) -> Option<Password> {
    let answered = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let prompt = format!("Password of {}: ", file.display());
    answered.then(|| rpassword::prompt_password(prompt).ok().map(Password::new)).flatten()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _, Parser};

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        wallet: WalletArgs,
    }

    #[test]
    fn every_spelling_of_a_flag_means_the_same() {
        let parse = |flag: &str| {
            let matches = crate::spelled(Program::command()).try_get_matches_from(["p", flag, "w"]).unwrap();
            Program::from_arg_matches(&matches).unwrap().wallet
        };
        for flag in ["--wallet.name", "--wallet-name", "--wallet_name", "--wallet"] {
            assert_eq!(parse(flag).name(), "w", "{flag}");
        }
        for flag in ["--wallet.hotkey", "--wallet-hotkey", "--wallet_hotkey", "--hotkey"] {
            assert_eq!(parse(flag).hotkey, "w", "{flag}");
        }
        for flag in ["--wallet.path", "--wallet-path", "--wallet_path"] {
            assert_eq!(parse(flag).path.as_deref(), Some(Path::new("w")), "{flag}");
        }
    }
}
