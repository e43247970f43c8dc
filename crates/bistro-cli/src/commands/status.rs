//! How the running program is, from another shell.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use bistro_core::ids::Hotkey;
use bistro_core::ports::Identity as _;
use bistro_flags::{SubtensorArgs, WalletArgs};
use bistro_node::status::Judgement;
use bistro_watch::{View, WatchError, socket, text};
use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::connect::{default_data_dir, now};
use crate::exit::{self, Ended};
use crate::observer;

/// The whole of asking validators.
const ASKING: Duration = Duration::from_mins(1);

/// Flags of `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    // Before the groups, whose headings would go on over them.
    /// Folder of this program's state; by default one for each subnet and hotkey below `~/.bistro`.
    #[arg(long, env = "BISTRO_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print everything as one JSON document.
    #[arg(long)]
    json: bool,
    /// Wallet and hotkey.
    #[command(flatten)]
    wallet: WalletArgs,
    /// The chain.
    #[command(flatten)]
    subtensor: SubtensorArgs,
}

/// Asks the program that runs with the data folder, and prints what it says; of a miner also what validators say in their
/// published logs, whether it runs or not. One that runs has read them itself, over the network and from the storage that it
/// was set up for: of those this shell need not know.
///
/// # Errors
/// The wallet; with status 3, that no program runs or that it stands still.
pub async fn run(args: &StatusArgs, role: &str, stop: CancellationToken) -> Result<()> {
    tokio::select! {
        outcome = tell(args, role) => outcome,
        () = stop.cancelled() => bail!("stopped"),
    }
}

async fn tell(args: &StatusArgs, role: &str) -> Result<()> {
    let wallet = || Ok::<_, anyhow::Error>(args.wallet.open()?.hotkey().hotkey());
    let folder = match &args.data_dir {
        Some(folder) => folder.clone(),
        None => default_data_dir(role, args.subtensor.subnet(), &wallet()?.short())?,
    };
    let asked = socket::ask(&folder).await;
    let said = match (role, &asked) {
        ("miner", Ok(view)) => Said::by(view),
        ("miner", Err(_)) => Said { of: judgements(args, wallet()).await, read: Some(now()) },
        _ => Said::default(),
    };
    print(args.json, asked.as_ref().ok(), &said)?;
    let message = match asked {
        Ok(view) => view.stalled(),
        Err(error @ WatchError::NotRunning(_)) => Some(format!("{error}; {}", left_behind(&folder, role))),
        Err(error) => return Err(error.into()),
    };
    match message {
        Some(message) => Err(Ended { status: exit::UNHEALTHY, message }.into()),
        None => Ok(()),
    }
}

/// What validators say of a miner, and when that was read.
#[derive(Default)]
struct Said {
    of: Vec<Judgement>,
    read: Option<u64>,
}

impl Said {
    /// What the running miner has read.
    fn by(view: &View) -> Self {
        let Some(miner) = &view.status.miner else { return Self::default() };
        Self { of: miner.judgements.clone(), read: miner.judgements_read }
    }
}

/// What validators say, read now; if the wallet or the chain cannot be read, only that.
async fn judgements(args: &StatusArgs, wallet: Result<Hotkey>) -> Vec<Judgement> {
    let asked = async {
        let hotkey = wallet?;
        let network = args.subtensor.network_or("finney")?;
        let parts = observer::connect(&network, args.subtensor.subnet()).await?;
        Ok::<_, anyhow::Error>(bistro_node::judgements::of(&parts, &hotkey).await?)
    };
    match tokio::time::timeout(ASKING, asked).await {
        Ok(Ok(said)) => said,
        Ok(Err(error)) => vec![Judgement::trouble(&format!("{error:#}"))],
        Err(_) => vec![Judgement::trouble(&format!("no answer within {} s", ASKING.as_secs()))],
    }
}

fn print(json: bool, view: Option<&View>, said: &Said) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        let all = serde_json::json!({
            "running": view.is_some(), "program": view, "judgements": said.of, "judgements_read": said.read
        });
        serde_json::to_writer_pretty(&mut out, &all)?;
        writeln!(out)?;
    } else {
        let own = view.map(text::status).unwrap_or_default();
        write!(out, "{own}{}", text::judgements(now(), &said.of))?;
    }
    Ok(())
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
