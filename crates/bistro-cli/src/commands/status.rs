//! How the running program is, from another shell.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Result, bail};
use bistro_core::ports::Identity as _;
use bistro_flags::{SubtensorArgs, WalletArgs};
use bistro_watch::{WatchError, socket, text};
use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::connect::default_data_dir;
use crate::exit::{self, Ended};

/// Flags of `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Wallet and hotkey.
    #[command(flatten)]
    wallet: WalletArgs,
    /// The chain.
    #[command(flatten)]
    subtensor: SubtensorArgs,
    /// Folder of this program's state; by default one for each subnet and hotkey below `~/.bistro`.
    #[arg(long, env = "BISTRO_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print everything as one JSON document.
    #[arg(long)]
    json: bool,
}

/// Asks the program that runs with the data folder, and prints what it says.
///
/// # Errors
/// The wallet; with status 3, that no program runs or that it stands still.
pub async fn run(args: &StatusArgs, role: &str, stop: CancellationToken) -> Result<()> {
    let folder = match &args.data_dir {
        Some(folder) => folder.clone(),
        None => default_data_dir(role, args.subtensor.subnet(), &args.wallet.open()?.hotkey().hotkey().short())?,
    };
    let asked = tokio::select! {
        asked = socket::ask(&folder) => asked,
        () = stop.cancelled() => bail!("stopped"),
    };
    let view = match asked {
        Ok(view) => view,
        Err(error @ WatchError::NotRunning(_)) => {
            let message = format!("{error}; {}", left_behind(&folder, role));
            return Err(Ended { status: exit::UNHEALTHY, message }.into());
        }
        Err(error) => return Err(error.into()),
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &view)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", text::status(&view))?;
    }
    match view.stalled() {
        Some(message) => Err(Ended { status: exit::UNHEALTHY, message }.into()),
        None => Ok(()),
    }
}

/// What an earlier run left in the folder, in words.
fn left_behind(folder: &std::path::Path, role: &str) -> String {
    let file = folder.join(format!("{role}-state.json"));
    let age = fs_err::metadata(&file).and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
    match age {
        Some(age) => format!("the last one saved its state {} ago", text::span(age.as_secs_f64())),
        None => format!(
            "none has saved a state there yet: is it the right folder? (--data-dir, or --wallet.* and --netuid, must be those of the running {role})"
        ),
    }
}
