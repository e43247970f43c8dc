//! What `scripts/bench/chain.sh` times of this crate: connect, read the metagraph some times, set weights once, as a process of
//! its own so that memory and processor time are the client's alone.
//!
//! Arguments: the node's address, netuid, wallet folder, wallet, hotkey, metagraphs. Prints one line of JSON, in seconds.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::path::Path;
use std::time::Instant;

use bistro_chain::{Network, SubtensorChain, Wallet};
use bistro_core::ids::NetUid;
use bistro_core::ports::Chain as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, netuid, wallets, wallet, hotkey, times] = args.as_slice() else {
        return Err("usage: chain_client URL NETUID WALLETS WALLET HOTKEY TIMES".into());
    };
    let before = peak();
    let key = Wallet::open(Some(Path::new(wallets)), wallet, hotkey)?.hotkey().clone();
    let start = Instant::now();
    let chain = SubtensorChain::connect(&Network::at(url), NetUid(netuid.parse()?), Some(key)).await?;
    let connect = start.elapsed().as_secs_f64();
    let (began_at, connected_at) = (before, peak());
    let mut reads = Vec::new();
    let mut metagraph = None;
    for _ in 0..times.parse::<usize>()? {
        let start = Instant::now();
        metagraph = Some(chain.metagraph().await?);
        reads.push(start.elapsed().as_secs_f64());
    }
    let read_at = peak();
    let metagraph = metagraph.ok_or("at least one metagraph")?;
    let weights: Vec<_> = metagraph.neurons.iter().map(|neuron| (neuron.uid, u16::MAX)).collect();
    let start = Instant::now();
    chain.set_weights(&weights).await?;
    let set = start.elapsed().as_secs_f64();
    println!(
        r#"{{"neurons":{},"connect":{connect:.6},"metagraph":{reads:?},"set_weights":{set:.6},"peaks_kib":{:?}}}"#,
        metagraph.neurons.len(),
        [began_at, connected_at, read_at, peak()]
    );
    Ok(())
}

/// The largest resident memory so far, KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
