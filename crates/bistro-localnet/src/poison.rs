//! A miner that uploads poison: deltas that are well formed and signed, on the newest master, first full of NaN, then huge,
//! and so on in turn. It lives here and not in the miner, whose operators have no use for it.

use std::time::Duration;

use anyhow::Result;
use bistro_core::ids::Block;
use bistro_core::params::{Params, Tensor};
use bistro_core::protocol::Encoding;
use bistro_node::miner::upload::{Parcel, Statement};
use bistro_node::{Parts, leader};
use tokio_util::sync::CancellationToken;

/// Largest master that is looked at, bytes.
const MAX_MASTER_BYTES: u64 = 4 << 30;

/// What is uploaded, in turn.
const VALUES: [(&str, f32); 2] = [("not a number", f32::NAN), ("huge", 1e4)];

/// Uploads poison every `pause` until `stop`.
pub async fn run(parts: &Parts, pause: Duration, stop: CancellationToken) -> Result<()> {
    let work = async {
        parts.chain.commit(&parts.own.address().to_string()).await?;
        for (kind, value) in VALUES.into_iter().cycle() {
            match upload_one(parts, value).await {
                Ok(Some(block)) => tracing::info!(%block, kind, "poison uploaded"),
                Ok(None) => tracing::info!("no master yet"),
                Err(error) => tracing::warn!(%error, "no poison this time"),
            }
            parts.clock.sleep(pause).await;
        }
        anyhow::Ok(())
    };
    tokio::select! { () = stop.cancelled() => Ok(()), outcome = work => outcome }
}

async fn upload_one(parts: &Parts, value: f32) -> Result<Option<Block>> {
    let metagraph = parts.chain.metagraph().await?;
    let me = parts.identity.hotkey();
    let Some(uid) = metagraph.neuron(&me).map(|n| n.uid) else { anyhow::bail!("{me} is not registered") };
    let Some(leader) = leader::find(parts, &metagraph).await? else { return Ok(None) };
    let spec = leader.published_spec(parts, MAX_MASTER_BYTES).await?;
    let fill = |shape: &Vec<usize>| Tensor::new(shape.clone(), vec![value; shape.iter().product()]);
    let delta = Params { tensors: spec.tensors.iter().map(|(name, shape)| (name.clone(), fill(shape))).collect() };
    let block = parts.chain.head().await?;
    let statement = Statement {
        rules: leader.manifest.rules,
        base_seq: leader.manifest.seq,
        base: leader.manifest.hash,
        uid,
        block,
        encoding: Encoding::F32,
        steps: 1,
        tokens: 1,
        pages: Vec::new(),
    };
    Parcel::pack(parts, &statement, &delta).send(parts.clone()).await?;
    Ok(Some(block))
}
