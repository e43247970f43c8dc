//! `system_*`: the node itself.

use super::{Answer, Module, errors};
use crate::chain::{error::ChainError, runtime::AccountId};
use serde_json::json;
use sp_core::crypto::Ss58Codec;

pub(super) fn register(module: &mut Module) -> Result<(), ChainError> {
    module.register_method("system_accountNextIndex", |params, node, _| -> Answer<u32> {
        let account: String = params.sequence().next()?;
        let account = AccountId::from_ss58check(&account)
            .map_err(|e| errors::execution(&format!("{account:?} is not an ss58 address: {e:?}")))?;
        Ok(node.next_nonce(&account)?)
    })?;
    module.register_alias("account_nextIndex", "system_accountNextIndex")?;
    module.register_method("system_chain", |_, _, _| "Bistro Localnet")?;
    module.register_method("system_chainType", |_, _, _| "Local")?;
    module.register_method("system_name", |_, _, _| "bistro-localnet")?;
    module.register_method("system_version", |_, _, _| env!("CARGO_PKG_VERSION"))?;
    module.register_method("system_nodeRoles", |_, _, _| ["Authority"])?;
    module.register_method(
        "system_health",
        |_, _, _| json!({ "peers": 0, "isSyncing": false, "shouldHavePeers": false }),
    )?;
    module.register_method(
        "system_properties",
        |_, _, _| json!({ "ss58Format": 42, "tokenDecimals": 9, "tokenSymbol": "TAO" }),
    )?;
    module.register_method("system_syncState", |_, node, _| {
        let head = *sp_runtime::traits::Header::number(&node.head().header);
        json!({ "startingBlock": 0, "currentBlock": head, "highestBlock": head })
    })?;
    Ok(())
}
