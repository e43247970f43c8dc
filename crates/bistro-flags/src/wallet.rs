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
    /// Name of the wallet.
    #[arg(
        long = "wallet.name",
        visible_alias = "wallet-name",
        aliases = ["wallet_name", "wallet"],
        env = "BT_WALLET_NAME",
        // Bittensor's tools of version 11 have another variable.
        default_value_t = crate::variable("BT_WALLET").unwrap_or_else(|| "default".to_owned()),
        value_name = "NAME"
    )]
    pub name: String,
    /// Name of the hotkey.
    #[arg(
        long = "wallet.hotkey",
        visible_alias = "wallet-hotkey",
        aliases = ["wallet_hotkey", "hotkey"],
        env = "BT_WALLET_HOTKEY",
        default_value = "default",
        value_name = "HOTKEY"
    )]
    pub hotkey: String,
    /// Folder of the wallets; `~/.bittensor/wallets` by default.
    #[arg(
        long = "wallet.path",
        visible_alias = "wallet-path",
        aliases = ["wallet_path"],
        env = "BT_WALLET_PATH",
        value_name = "DIR"
    )]
    pub path: Option<PathBuf>,
}

impl WalletArgs {
    /// Opens the wallet. The password of an encrypted hotkey comes from the environment, or from whoever sits at the terminal.
    ///
    /// # Errors
    /// [`WalletError`] says which file is missing, broken or of another address, or that no password opens it.
    pub fn open(&self) -> Result<Wallet, WalletError> {
        Wallet::open_with(self.path.as_deref(), &self.name, &self.hotkey, password_of)
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
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        wallet: WalletArgs,
    }

    #[test]
    fn every_spelling_of_a_flag_means_the_same() {
        let parse = |flag: &str| Program::try_parse_from(["p", flag, "w"]).unwrap().wallet;
        for flag in ["--wallet.name", "--wallet-name", "--wallet_name", "--wallet"] {
            assert_eq!(parse(flag).name, "w", "{flag}");
        }
        for flag in ["--wallet.hotkey", "--wallet-hotkey", "--wallet_hotkey", "--hotkey"] {
            assert_eq!(parse(flag).hotkey, "w", "{flag}");
        }
        for flag in ["--wallet.path", "--wallet-path", "--wallet_path"] {
            assert_eq!(parse(flag).path.as_deref(), Some(Path::new("w")), "{flag}");
        }
    }
}
