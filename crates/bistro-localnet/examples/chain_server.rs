//! A local subtensor of as many neurons as asked for, for `scripts/bench/chain.sh`. Blocks come from transactions alone, so
//! that no block is made while something is timed.
//!
//! Arguments: a folder for the wallets `ours` and `peer` (both validators), the number of neurons. Prints its address.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::path::Path;
use std::time::Duration;

use bistro_chain::{KeySource, Wallet};
use bistro_core::ports::Identity as _;
use bistro_localnet::chain::{GenesisNeuron, LocalChain, LocalChainConfig, TAO};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, count] = args.as_slice() else { return Err("usage: chain_server WALLETS NEURONS".into()) };
    let count: u16 = count.parse()?;
    let mut neurons = Vec::new();
    for name in ["ours", "peer"] {
        let wallet = Wallet::create(Some(Path::new(dir)), name, "default", KeySource::Random, KeySource::Random)?;
        let (coldkey, hotkey) = (wallet.coldkey_address()?.0.into(), wallet.hotkey().hotkey().0.into());
        neurons.push(GenesisNeuron { coldkey, hotkey, stake: 1_000 * TAO });
    }
    for n in 2..count {
        let account = |kind: u8| {
            let mut bytes = [kind; 32];
            bytes[..2].copy_from_slice(&n.to_le_bytes());
            bytes.into()
        };
        neurons.push(GenesisNeuron { coldkey: account(1), hotkey: account(2), stake: u64::from(n) * TAO / 10 });
    }
    let config = LocalChainConfig {
        block_time: Duration::from_hours(1),
        seal_on_transaction: true,
        finality_lag: 0,
        // No waiting between two submissions: each client submits some times.
        weights_rate_limit: 0,
        max_uids: count,
        max_validators: 64,
        neurons,
        ..LocalChainConfig::default()
    };
    let chain = LocalChain::start(config).await?;
    println!("{}", chain.url());
    tokio::signal::ctrl_c().await?;
    Ok(())
}
