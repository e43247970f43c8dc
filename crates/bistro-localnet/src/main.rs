//! A local network for Bistro: chain, S3 server, wallets; the demo; and a miner that uploads poison.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bistro_chain::{KeySource, Keypair, Network, SubtensorChain, Wallet};
use bistro_core::ids::NetUid;
use bistro_core::ports::Identity as _;
use bistro_flags::{SubtensorArgs, WalletArgs};
use bistro_localnet::network::{FAUCET, LocalNetwork, Place, Setup};
use bistro_localnet::simulate::{self, SimulateArgs};
use bistro_localnet::{demo, poison, smoke};
use bistro_storage::S3Config;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// A local network for Bistro: a subtensor chain and an S3 server in one process, with wallets.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a whole network of separate programs on real text, and shows that it trained.
    Demo(DemoArgs),
    /// Runs chain and S3 server until Ctrl-C, with wallets that are registered and staked.
    Up(UpArgs),
    /// Makes a wallet in Bittensor's files, unencrypted: for local networks only.
    Wallet(WalletArgs),
    /// Gives a wallet's coldkey TAO of the local chain's `//Alice`.
    Fund {
        #[command(flatten)]
        chain: ChainArgs,
        /// TAO.
        #[arg(long, default_value_t = 1000)]
        amount: u64,
    },
    /// Registers a wallet's hotkey on the subnet, paid by its coldkey.
    Register(ChainArgs),
    /// Lets the subnet be staked on, by the local chain's `//Alice`: the official local node begins with one that takes no stake.
    Open(SubtensorArgs),
    /// Stakes TAO of a wallet's coldkey on its hotkey.
    Stake {
        #[command(flatten)]
        chain: ChainArgs,
        /// TAO.
        #[arg(long, default_value_t = 100)]
        amount: u64,
    },
    /// Tests any subtensor node with a registered hotkey: reads, a commitment, weights, refusals. Registers nothing.
    Smoke(SmokeArgs),
    /// Runs whole networks in virtual time, under faults, kills and attackers, and says whether every promise held.
    Simulate(SimulateArgs),
    /// Mines poison: NaN, then huge deltas, in turn. For tests of validators.
    Poison {
        #[command(flatten)]
        chain: ChainArgs,
        /// Own bucket.
        #[arg(long)]
        bucket: String,
        /// State folder.
        #[arg(long)]
        data_dir: PathBuf,
        /// Seconds between two uploads.
        #[arg(long, default_value_t = 15)]
        pause: u64,
    },
}

#[derive(Args)]
struct DemoArgs {
    /// Folder with the text: `.txt` files.
    #[arg(long, default_value = "corpus/sotu")]
    corpus: PathBuf,
    /// Seconds that the programs run.
    #[arg(long, default_value_t = 420)]
    duration: u64,
    /// Honest miners.
    #[arg(long, default_value_t = 2)]
    miners: usize,
    /// The mechanism: `recommended`, `readme`, or a file like those of `config/rules/`.
    #[arg(long, default_value = "recommended")]
    rules: String,
    /// The model: a preset or a `config.json`.
    #[arg(long, default_value = "nano")]
    model: String,
    /// Milliseconds between blocks.
    #[arg(long, default_value_t = 2000)]
    block_time: u64,
    /// Keep wallets, logs, buckets, state and the final master in this folder.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Write the report to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Global loss that the last master must get below.
    #[arg(long, default_value_t = 6.5)]
    target_loss: f64,
    /// Kill a program without warning, and start it again, this many times.
    #[arg(long, default_value_t = 0, value_name = "N")]
    kills: usize,
}

#[derive(Args)]
struct UpArgs {
    /// Folder of wallets, buckets and state.
    #[arg(long, default_value = ".bistro-local")]
    dir: PathBuf,
    /// Miners' wallets.
    #[arg(long, default_value_t = 2)]
    miners: usize,
    /// Port of the chain.
    #[arg(long, default_value_t = 9944)]
    chain_port: u16,
    /// Port of the S3 server.
    #[arg(long, default_value_t = 9000)]
    s3_port: u16,
    /// Subnet.
    #[arg(long, default_value_t = 212)]
    netuid: u16,
    /// Milliseconds between blocks.
    #[arg(long, default_value_t = 12_000)]
    block_time: u64,
    /// Make blocks only when a transaction arrives, by no clock.
    #[arg(long)]
    seal_on_transaction: bool,
    /// Take weights by commit-reveal only, as most public subnets do.
    #[arg(long)]
    commit_reveal: bool,
    /// Folder of text that the printed lines name as the dataset; without it they leave it to the programs.
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Offer faults on demand: the JSON-RPC methods `bistro_dropConnections`, `bistro_stall [seconds]`, `bistro_refuseConnections
    /// [seconds]`, `bistro_open`, `bistro_swallow [count]`, `bistro_refuse code message [data]` and `bistro_reorganise [depth,
    /// "reincluded" or "lost"]`.
    #[arg(long)]
    faults: bool,
}

#[derive(Args)]
struct ChainArgs {
    #[command(flatten)]
    wallet: WalletArgs,
    #[command(flatten)]
    subtensor: SubtensorArgs,
}

#[derive(Args)]
struct SmokeArgs {
    #[command(flatten)]
    chain: ChainArgs,
    /// Seconds to wait until weights are due.
    #[arg(long, default_value_t = 300)]
    wait: u64,
}

fn main() -> ExitCode {
    let cli =
        match bistro_flags::spelled(Cli::command()).try_get_matches().and_then(|given| Cli::from_arg_matches(&given)) {
            Ok(cli) => cli,
            Err(error) => error.exit(),
        };
    let quiet = match cli.command {
        // Their own lines go to standard output; what the demo's programs log goes to their files.
        Command::Demo(_) | Command::Smoke(_) => "error",
        // Of hundreds of programs in virtual time, each with troubles made for it, no line is news.
        Command::Simulate(_) => "error,bistro_localnet=info",
        _ => "warn,bistro_localnet=info,bistro_node=info",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(quiet));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    let outcome = tokio::runtime::Runtime::new().context("no runtime").and_then(|runtime| {
        runtime.block_on(async {
            let stop = CancellationToken::new();
            tokio::spawn(stop_on_signal(stop.clone()));
            run(cli.command, stop).await
        })
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(2)
        }
    }
}

async fn stop_on_signal(stop: CancellationToken) {
    let _ = tokio::signal::ctrl_c().await;
    stop.cancel();
}

async fn run(command: Command, stop: CancellationToken) -> Result<bool> {
    match command {
        Command::Demo(args) => return demo::run(&demo_options(args), &mut std::io::stdout(), stop).await,
        Command::Up(args) => up(args, &mut std::io::stdout(), stop).await?,
        // Its runtimes are its own: one for each seed, in virtual time.
        Command::Simulate(args) => {
            return tokio::task::spawn_blocking(move || simulate::run(&args, &mut std::io::stdout())).await?;
        }
        Command::Smoke(args) => return smoke::run(&smoke_options(&args)?, &mut std::io::stdout()).await,
        Command::Wallet(args) => {
            let wallet =
                Wallet::create(args.path.as_deref(), &args.name(), &args.hotkey, KeySource::Random, KeySource::Random)?;
            tracing::info!(hotkey = %wallet.hotkey().hotkey(), coldkey = %wallet.coldkey_address()?, "made");
            tracing::warn!("the new coldkey is unencrypted: for local networks only");
        }
        Command::Fund { chain: args, amount } => {
            let (wallet, chain) = connect(&args).await?;
            let rao = amount.saturating_mul(bistro_localnet::chain::TAO);
            chain.transfer(&Keypair::from_uri(FAUCET)?, &wallet.coldkey_address()?, rao).await?;
            tracing::info!(amount, "funded");
        }
        Command::Register(args) => {
            let (wallet, chain) = connect(&args).await?;
            let uid = chain.burned_register(&wallet.coldkey()?, &wallet.hotkey().hotkey()).await?;
            tracing::info!(%uid, "registered");
        }
        Command::Open(args) => {
            let chain = SubtensorChain::connect(&private(&args)?, args.subnet(), None).await?;
            let needed = chain.enable_stake(&Keypair::from_uri(FAUCET)?).await?;
            tracing::info!(netuid = %args.subnet(), needed, "takes stake");
        }
        Command::Stake { chain: args, amount } => {
            let (wallet, chain) = connect(&args).await?;
            let rao = amount.saturating_mul(bistro_localnet::chain::TAO);
            chain.add_stake(&wallet.coldkey()?, &wallet.hotkey().hotkey(), rao).await?;
            tracing::info!(amount, "staked");
        }
        Command::Poison { chain: args, bucket, data_dir, pause } => {
            let place = Place {
                wallet: args.wallet.open()?,
                network: private(&args.subtensor)?,
                netuid: args.subtensor.subnet(),
                bucket,
                data_dir,
            };
            let parts = place.parts(&S3Config::from_environment().await).await?;
            poison::run(&parts, Duration::from_secs(pause), stop).await?;
        }
    }
    Ok(true)
}

fn smoke_options(args: &SmokeArgs) -> Result<smoke::Options> {
    let ChainArgs { wallet, subtensor } = &args.chain;
    // Unlike miner and validator it has no network by default: what it writes should meet no subnet by oversight.
    let network = subtensor.network()?;
    let network = network.context("which node? --subtensor.chain_endpoint ws://... or --subtensor.network test")?;
    Ok(smoke::Options {
        network,
        netuid: subtensor.subnet(),
        key: wallet.open()?.hotkey().clone(),
        wait: Duration::from_secs(args.wait),
    })
}

fn demo_options(args: DemoArgs) -> demo::Options {
    demo::Options {
        corpus: args.corpus,
        duration: Duration::from_secs(args.duration),
        miners: args.miners,
        rules: args.rules,
        model: args.model,
        block_time: Duration::from_millis(args.block_time),
        keep: args.keep,
        json: args.json,
        target_loss: args.target_loss,
        kills: args.kills,
    }
}

async fn connect(args: &ChainArgs) -> Result<(Wallet, SubtensorChain)> {
    let chain = SubtensorChain::connect(&private(&args.subtensor)?, args.subtensor.subnet(), None).await?;
    Ok((args.wallet.open()?, chain))
}

/// A chain of one's own. A variable that names a public network must not lead this program's payments and poison there.
fn private(args: &SubtensorArgs) -> Result<Network> {
    let network = args.network_or("local")?;
    anyhow::ensure!(
        network.genesis.is_none(),
        "{} is a public network, and this command is for local ones: use btcli, or --subtensor.network local",
        network.name
    );
    Ok(network)
}

async fn up(args: UpArgs, out: &mut impl std::io::Write, stop: CancellationToken) -> Result<()> {
    let miners = (1..=args.miners).map(|n| format!("miner-{n}"));
    let network = LocalNetwork::start(Setup {
        dir: std::path::absolute(&args.dir)?,
        netuid: NetUid(args.netuid),
        block_time: Duration::from_millis(args.block_time),
        seal_on_transaction: args.seal_on_transaction,
        commit_reveal: args.commit_reveal,
        faults: args.faults,
        chain_port: args.chain_port,
        s3_port: args.s3_port,
        names: std::iter::once("validator".to_owned()).chain(miners).collect(),
    })
    .await?;
    writeln!(
        out,
        "chain {}  S3 {}\nstart each of these in a shell of its own:",
        network.chain.url(),
        network.s3.endpoint()
    )?;
    let corpus = args.corpus.map(std::path::absolute).transpose()?;
    for (i, member) in network.members.iter().enumerate() {
        let program = if i == 0 { "bistro-validator" } else { "bistro-miner" };
        let mut words = vec![beside_this(program)];
        words.extend(network.flags(member));
        words.extend(corpus.iter().flat_map(|dir| ["--dataset".to_owned(), format!("dir:{}", dir.display())]));
        let environment: Vec<String> =
            network.environment(member).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        writeln!(out, "\n{} {}", environment.join(" "), shlex::try_join(words.iter().map(String::as_str))?)?;
    }
    stop.cancelled().await;
    network.stop().await;
    Ok(())
}

/// A program's path, if it lies where this one does, so that its line works in any shell; else its name.
fn beside_this(program: &str) -> String {
    let here = std::env::current_exe().ok().and_then(|me| Some(me.parent()?.join(program)));
    here.filter(|path| path.exists()).map_or_else(|| program.to_owned(), |path| path.display().to_string())
}
