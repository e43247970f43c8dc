//! `bistro_*`: faults on demand. No subtensor has these; they are there where the chain's faults are on.

use super::{Answer, errors, next};
use crate::chain::{
    error::ChainError,
    faults::{Fate, Faults},
};
use jsonrpsee::{RpcModule, types::ErrorObjectOwned};
use std::{sync::Arc, time::Duration};

/// So long a fault waits until the answer to the one who asked for it is out.
const ANSWER: Duration = Duration::from_millis(50);
/// The longest fault that ends by itself, seconds.
const LONGEST: u64 = 3600;

pub(super) fn module(faults: Faults) -> Result<RpcModule<Faults>, ChainError> {
    let mut module = RpcModule::new(faults);
    module.register_method("bistro_dropConnections", |_, faults, _| faults.gate().drop_connections())?;
    module.register_async_method("bistro_stall", |params, faults, _| async move {
        let seconds = next::<u64>(&mut params.sequence())?;
        tokio::spawn(async move {
            tokio::time::sleep(ANSWER).await;
            faults.gate().stall();
            end_after(&faults, seconds);
        });
        Answer::Ok(())
    })?;
    module.register_async_method("bistro_refuseConnections", |params, faults, _| async move {
        let seconds = next::<u64>(&mut params.sequence())?;
        tokio::spawn(async move {
            tokio::time::sleep(ANSWER).await;
            faults.gate().refuse_connections().await;
            end_after(&faults, seconds);
        });
        Answer::Ok(())
    })?;
    module.register_async_method("bistro_open", |_, faults, _| async move {
        faults.gate().open().await.map_err(|e| errors::execution(&e.to_string()))
    })?;
    module.register_method("bistro_swallow", |params, faults, _| -> Answer<()> {
        faults.swallow(next(&mut params.sequence())?.unwrap_or(1));
        Ok(())
    })?;
    module.register_method("bistro_refuse", |params, faults, _| -> Answer<()> {
        let mut rest = params.sequence();
        let (code, message): (i32, String) = (rest.next()?, rest.next()?);
        faults.refuse(code, &message, next::<String>(&mut rest)?.as_deref());
        Ok(())
    })?;
    module.register_blocking_method("bistro_reorganise", |params, faults, _| -> Answer<u32> {
        let mut rest = params.sequence();
        let depth = next(&mut rest)?.unwrap_or(1);
        let fate = next(&mut rest)?.unwrap_or(Fate::Reincluded);
        faults.reorganise(depth, fate).map_err(ErrorObjectOwned::from)
    })?;
    Ok(module)
}

/// Opens the gate after this many seconds, if a number was given.
fn end_after(faults: &Arc<Faults>, seconds: Option<u64>) {
    let Some(seconds) = seconds else { return };
    let faults = faults.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(seconds.min(LONGEST))).await;
        if let Err(error) = faults.gate().open().await {
            tracing::error!(%error, "the gate does not open again");
        }
    });
}
