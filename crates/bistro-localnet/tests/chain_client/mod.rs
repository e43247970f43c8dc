//! A client of the local chain for tests: keys, and a connection through subxt's legacy backend.
#![allow(dead_code, reason = "not every test file uses all of it")]

use bistro_localnet::chain::{GenesisNeuron, LocalChain, LocalChainConfig};
use sp_core::{Pair, sr25519};
use std::sync::Arc;
use subxt::{
    OnlineClient, SubstrateConfig,
    backend::LegacyBackend,
    config::{DefaultExtrinsicParams, RpcConfigFor},
    dynamic::{self, Value},
    ext::{
        frame_decode::storage::{IntoDecodableValues, IntoEncodableValues},
        scale_decode::DecodeAsType,
    },
    rpcs::{LegacyRpcMethods, RpcClient},
    tx::{DynamicPayload, Signer},
    utils::{AccountId32, MultiSignature},
};

/// The subnet of a default chain.
pub(crate) const NETUID: u16 = 1;

/// An sr25519 key from a derivation path.
#[derive(Clone)]
pub(crate) struct Key(sr25519::Pair);

impl Key {
    pub(crate) fn new(path: &str) -> Self {
        Self(sr25519::Pair::from_string(path, None).unwrap())
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.0.public().0
    }
}

impl Signer<SubstrateConfig> for Key {
    fn account_id(&self) -> AccountId32 {
        AccountId32(self.public())
    }

    fn sign(&self, payload: &[u8]) -> MultiSignature {
        MultiSignature::Sr25519(self.0.sign(payload).0)
    }
}

/// A chain that makes blocks only for transactions and on request, with these hotkeys and rao.
pub(crate) async fn chain_of(neurons: &[(Key, u64)], config: LocalChainConfig) -> LocalChain {
    let neurons = neurons.iter().map(|(key, stake)| GenesisNeuron {
        coldkey: [9; 32].into(),
        hotkey: key.public().into(),
        stake: *stake,
    });
    // Blocks come one at a time here, so they are final at once: nobody makes the later ones that finality waits for.
    let finality_lag = 0;
    let config = LocalChainConfig {
        neurons: neurons.collect(),
        clock: false,
        seal_on_transaction: true,
        finality_lag,
        ..config
    };
    LocalChain::start(config).await.unwrap()
}

/// A call by its name and arguments.
pub(crate) type Call = DynamicPayload<Vec<Value>>;

/// A connection.
pub(crate) struct Client {
    pub api: OnlineClient<SubstrateConfig>,
    pub rpc: LegacyRpcMethods<RpcConfigFor<SubstrateConfig>>,
}

impl Client {
    pub(crate) async fn connect(chain: &LocalChain) -> Self {
        let rpc = RpcClient::from_insecure_url(chain.url()).await.unwrap();
        let backend: LegacyBackend<SubstrateConfig> = LegacyBackend::builder().build(rpc.clone());
        let api = OnlineClient::from_backend(Arc::new(backend)).await.unwrap();
        Self { api, rpc: LegacyRpcMethods::new(rpc) }
    }

    /// Signs with the account's next nonce, submits, waits for the block, and returns the names of the events; or the error's text.
    pub(crate) async fn send(&self, call: &Call, key: &Key) -> Result<Vec<String>, String> {
        let at = self.api.at_current_block().await.unwrap();
        let progress = at.tx().sign_and_submit_then_watch_default(call, key).await.map_err(text)?;
        let events = progress.wait_for_finalized_success().await.map_err(text)?;
        Ok(events.iter().map(|e| e.unwrap()).map(|e| format!("{}.{}", e.pallet_name(), e.event_name())).collect())
    }

    /// The bytes of a signed transaction.
    pub(crate) async fn sign(
        &self,
        call: &Call,
        key: &Key,
        params: DefaultExtrinsicParams<SubstrateConfig>,
    ) -> Vec<u8> {
        let at = self.api.at_current_block().await.unwrap();
        at.tx().create_signed(call, key, params).await.unwrap().into_encoded()
    }

    /// Submits bytes and waits for the block.
    pub(crate) async fn submit(&self, bytes: Vec<u8>) -> Result<(), String> {
        let at = self.api.at_current_block().await.unwrap();
        let progress = at.tx().from_bytes(bytes).submit_and_watch().await.map_err(text)?;
        progress.wait_for_finalized_success().await.map_err(text)?;
        Ok(())
    }

    /// Submits bytes and does not wait.
    pub(crate) async fn submit_only(&self, bytes: Vec<u8>) -> Result<[u8; 32], String> {
        Ok(self.rpc.author_submit_extrinsic(&bytes).await.map_err(text)?.0)
    }

    /// The account's next nonce, as the pool sees it.
    pub(crate) async fn nonce(&self, key: &Key) -> u64 {
        self.rpc.system_account_next_index(&AccountId32(key.public())).await.unwrap()
    }
}

/// Everything an error says, causes included.
fn text<E: std::error::Error>(error: E) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    format!("{text} / {error:?}")
}

/// A storage value of the newest block.
pub(crate) async fn storage<V: DecodeAsType>(
    client: &Client,
    pallet: &str,
    entry: &str,
    keys: impl IntoEncodableValues + IntoDecodableValues,
) -> Option<V> {
    let at = client.api.at_current_block().await.unwrap();
    let address = dynamic::storage::<_, V>(pallet, entry);
    at.storage().try_fetch(address, keys).await.unwrap().map(|value| value.decode().unwrap())
}

/// Free rao of an account.
pub(crate) async fn balances(client: &Client, key: &Key) -> u64 {
    #[derive(DecodeAsType)]
    #[decode_as_type(crate_path = "subxt::ext::scale_decode")]
    struct Account {
        data: Data,
    }
    #[derive(DecodeAsType)]
    #[decode_as_type(crate_path = "subxt::ext::scale_decode")]
    struct Data {
        free: u64,
    }
    storage::<Account>(client, "System", "Account", (key.public(),)).await.unwrap().data.free
}

/// The call that commits raw bytes.
pub(crate) fn commitment(netuid: u16, bytes: &[u8]) -> Call {
    let field = Value::unnamed_variant(format!("Raw{}", bytes.len()), [Value::from_bytes(bytes)]);
    let info = Value::named_composite([("fields", Value::unnamed_composite([field]))]);
    dynamic::tx("Commitments", "set_commitment", vec![Value::u128(netuid.into()), info])
}

/// The call that sets weights.
pub(crate) fn weights(uids: &[u16], values: &[u16], version: u64) -> Call {
    let list = |values: &[u16]| Value::unnamed_composite(values.iter().map(|v| Value::u128(u128::from(*v))));
    let arguments = vec![Value::u128(NETUID.into()), list(uids), list(values), Value::u128(version.into())];
    dynamic::tx("SubtensorModule", "set_weights", arguments)
}
