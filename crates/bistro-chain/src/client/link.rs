//! One connection at a time to one of a network's nodes; which one can change under the client that uses it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bistro_core::ids::Block;
use subxt::backend::LegacyBackend;
use subxt::backend::utils::retry;
use subxt::config::{RpcConfigFor, SubstrateConfig};
use subxt::utils::H256;
use subxt::{OnlineClient, OnlineClientAtBlock};
use subxt_rpcs::client::reconnecting_rpc_client::{FixedInterval, PingConfig};
use subxt_rpcs::client::{RawRpcFuture, RawRpcSubscription, RawValue, ReconnectingRpcClient, RpcClient, RpcClientT};
use subxt_rpcs::methods::LegacyRpcMethods;
use subxt_rpcs::methods::legacy::NumberOrHex;

use super::Deadlines;
use crate::error::ChainError;
use crate::network::Network;

/// A client that reads at one block, with that block's metadata.
pub(super) type AtBlock = OnlineClientAtBlock<SubstrateConfig>;
/// The plain JSON-RPC methods of a node.
pub(super) type Rpc = LegacyRpcMethods<RpcConfigFor<SubstrateConfig>>;

/// How long one address may take to answer when connecting.
const DIAL: Duration = Duration::from_secs(10);
/// The largest answer: a metagraph of 4096 neurons with their identities, in hexadecimal.
const MAX_ANSWER: u32 = 32 * 1024 * 1024;

/// The connection in use, exchangeable.
struct Switch(RwLock<Arc<dyn RpcClientT>>);

impl Switch {
    fn current(&self) -> Arc<dyn RpcClientT> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// [`Switch`] as subxt wants it.
struct Switched(Arc<Switch>);

impl RpcClientT for Switched {
    fn request_raw<'a>(&'a self, method: &'a str, params: Option<Box<RawValue>>) -> RawRpcFuture<'a, Box<RawValue>> {
        let current = self.0.current();
        Box::pin(async move { current.request_raw(method, params).await })
    }

    fn subscribe_raw<'a>(
        &'a self,
        subscribe: &'a str,
        params: Option<Box<RawValue>>,
        unsubscribe: &'a str,
    ) -> RawRpcFuture<'a, RawRpcSubscription> {
        let current = self.0.current();
        Box::pin(async move { current.subscribe_raw(subscribe, params, unsubscribe).await })
    }
}

/// The way to a network: its addresses, the connection in use, and subxt's client over it.
pub(super) struct Link {
    network: Network,
    genesis: H256,
    switch: Arc<Switch>,
    /// Which endpoint is dialled next.
    turn: AtomicUsize,
    api: OnlineClient<SubstrateConfig>,
    rpc: Rpc,
    deadline: Duration,
    silence: Duration,
}

impl Link {
    /// Connects to the first endpoint that answers and has the network's genesis. `deadline` is for each later call; a connection
    /// that is silent for `silence` is given up.
    pub(super) async fn connect(network: Network, deadline: Duration, silence: Duration) -> Result<Self, ChainError> {
        let mut outcome = Err(ChainError::Unreachable { endpoint: network.name.clone(), why: "no address".into() });
        for (at, endpoint) in network.endpoints.iter().enumerate() {
            match dial(endpoint, &network, network.genesis.map(H256), silence).await {
                Ok((client, genesis)) => {
                    let link = Self::over(client, network.clone(), genesis, at + 1).await?;
                    return Ok(Self { deadline, silence, ..link });
                }
                Err(error) => {
                    tracing::warn!(endpoint, %error, "trying the next address");
                    outcome = Err(error);
                }
            }
        }
        outcome
    }

    /// Over a connection that exists.
    async fn over(
        client: Arc<dyn RpcClientT>,
        network: Network,
        genesis: H256,
        turn: usize,
    ) -> Result<Self, ChainError> {
        let switch = Arc::new(Switch(RwLock::new(client)));
        let rpc_client = RpcClient::new(Switched(switch.clone()));
        // The legacy methods: they are what every subtensor node serves, and their refusals come through unchanged.
        let backend = Arc::new(LegacyBackend::<SubstrateConfig>::builder().build(rpc_client.clone()));
        let config = SubstrateConfig::builder().set_genesis_hash(genesis).build();
        let api = OnlineClient::from_backend_with_config(config, backend).await;
        let api = api.map_err(|e| ChainError::from_read("connecting", e))?;
        let rpc = Rpc::new(rpc_client);
        let Deadlines { call: deadline, silence, .. } = Deadlines::default();
        Ok(Self { network, genesis, switch, turn: AtomicUsize::new(turn), api, rpc, deadline, silence })
    }

    /// Connects anew, to the endpoint whose turn it is. The old connection ends with its last call.
    pub(super) async fn redial(&self) -> Result<(), ChainError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let endpoints = &self.network.endpoints;
        let Some(endpoint) = endpoints.get(turn % endpoints.len().max(1)) else {
            return Err(ChainError::Unreachable { endpoint: self.network.name.clone(), why: "no address".into() });
        };
        let (client, _) = dial(endpoint, &self.network, Some(self.genesis), self.silence).await?;
        *self.switch.0.write().unwrap_or_else(PoisonError::into_inner) = client;
        tracing::info!(endpoint, "connected to the chain again");
        Ok(())
    }

    pub(super) fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// The address in use, or the one that was in use last.
    pub(super) fn endpoint(&self) -> String {
        let endpoints = &self.network.endpoints;
        let turn = self.turn.load(Ordering::Relaxed).saturating_sub(1);
        endpoints.get(turn % endpoints.len().max(1)).cloned().unwrap_or_default()
    }

    /// Hash of the chain's first block.
    pub(super) fn genesis(&self) -> [u8; 32] {
        self.genesis.0
    }

    /// Whether this is one of Bittensor's public networks, by its genesis.
    pub(super) fn is_public(&self) -> bool {
        Network::name_of(&self.genesis.0).is_some()
    }

    /// Runs a read under the deadline of calls.
    pub(super) async fn within<T>(
        &self,
        what: &'static str,
        read: impl Future<Output = Result<T, ChainError>>,
    ) -> Result<T, ChainError> {
        let after = self.deadline;
        tokio::time::timeout(after, read).await.unwrap_or(Err(ChainError::Timeout { what, after }))
    }

    /// A client at the node's best block.
    pub(super) async fn best(&self) -> Result<AtBlock, ChainError> {
        let what = "finding the best block";
        self.within(what, async {
            let hash = retry(async || Ok(self.rpc.chain_get_block_hash(None).await?)).await;
            let hash = hash.map_err(|e| ChainError::from_read(what, e))?;
            let hash = hash.ok_or(ChainError::Malformed { what, why: "the node has no best block".into() })?;
            self.api.at_block(hash).await.map_err(|e| ChainError::from_read(what, e))
        })
        .await
    }

    /// Number and hash of the node's newest final block.
    pub(super) async fn finalized(&self) -> Result<(u64, H256), ChainError> {
        let what = "finding the final block";
        self.within(what, async {
            let hash = retry(async || Ok(self.rpc.chain_get_finalized_head().await?)).await;
            let hash = hash.map_err(|e| ChainError::from_read(what, e))?;
            let header = retry(async || Ok(self.rpc.chain_get_header(Some(hash)).await?)).await;
            let header = header.map_err(|e| ChainError::from_read(what, e))?;
            let header = header.ok_or(ChainError::Malformed { what, why: "it has no header".into() })?;
            Ok((header.number, hash))
        })
        .await
    }

    /// Whether the node's best chain has the block with this hash.
    pub(super) async fn has_block(&self, hash: H256) -> Result<bool, ChainError> {
        let what = "looking for a block";
        self.within(what, async {
            let header = retry(async || Ok(self.rpc.chain_get_header(Some(hash)).await?)).await;
            let Some(header) = header.map_err(|e| ChainError::from_read(what, e))? else { return Ok(false) };
            let number = header.number;
            let there =
                retry(async || Ok(self.rpc.chain_get_block_hash(Some(NumberOrHex::Number(number))).await?)).await;
            Ok(there.map_err(|e| ChainError::from_read(what, e))? == Some(hash))
        })
        .await
    }

    /// The number of the node's best block.
    pub(super) async fn head(&self) -> Result<Block, ChainError> {
        let what = "reading the chain's head";
        self.within(what, async {
            let header = retry(async || Ok(self.rpc.chain_get_header(None).await?)).await;
            let header = header.map_err(|e| ChainError::from_read(what, e))?;
            let header = header.ok_or(ChainError::Malformed { what, why: "the node has no best block".into() })?;
            Ok(Block(header.number))
        })
        .await
    }
}

/// Connects to `endpoint` and compares its genesis, if there is one to compare with.
async fn dial(
    endpoint: &str,
    network: &Network,
    wanted: Option<H256>,
    silence: Duration,
) -> Result<(Arc<dyn RpcClientT>, H256), ChainError> {
    let unreachable = |why: String| ChainError::Unreachable { endpoint: endpoint.to_owned(), why };
    let late = |_| unreachable(format!("no answer within {} s", DIAL.as_secs()));
    // A lost connection is tried again at once and twice more; after that the follower of heads redials, with its own pauses.
    let policy = FixedInterval::from_millis(300).take(2);
    let pings = PingConfig::new().ping_interval(silence / 3).inactive_limit(silence);
    let build = ReconnectingRpcClient::builder()
        .retry_policy(policy)
        .enable_ws_ping(pings)
        .connection_timeout(DIAL)
        .max_response_size(MAX_ANSWER)
        .build(endpoint);
    let client = tokio::time::timeout(DIAL, build).await.map_err(late)?.map_err(|e| unreachable(e.to_string()))?;
    let client: Arc<dyn RpcClientT> = Arc::new(client);
    let first = Rpc::new(RpcClient::new(Switched(Arc::new(Switch(RwLock::new(client.clone()))))));
    let genesis = first.chain_get_block_hash(Some(NumberOrHex::Number(0)));
    let genesis = tokio::time::timeout(DIAL, genesis).await.map_err(late)?.map_err(|e| unreachable(e.to_string()))?;
    let genesis = genesis.ok_or_else(|| unreachable("it has no block 0".into()))?;
    if let Some(wanted) = wanted.filter(|wanted| *wanted != genesis) {
        let name = Network::name_of(&genesis.0).map(|name| format!(" ({name})")).unwrap_or_default();
        return Err(ChainError::WrongGenesis {
            endpoint: endpoint.to_owned(),
            network: network.name.clone(),
            found: format!("{genesis:?}{name}"),
            wanted: format!("{wanted:?}"),
        });
    }
    Ok((client, genesis))
}

#[cfg(test)]
pub(super) mod tests {
    use subxt_rpcs::client::MockRpcClient;

    use super::*;

    /// A link over a node played by `mock`.
    pub(in crate::client) async fn link_over(mock: MockRpcClient) -> Link {
        let network = Network { name: "mock".into(), endpoints: vec![], genesis: None };
        Link::over(Arc::new(mock), network, H256::zero(), 0).await.unwrap()
    }

    #[tokio::test]
    async fn an_address_without_a_node_is_named_in_the_error() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        // A TLS address as well: that a crypto provider is compiled in is not for operators to find out.
        for endpoint in [format!("ws://{free}"), format!("wss://{free}")] {
            let Err(error) = Link::connect(Network::at(&endpoint), DIAL, DIAL).await else { panic!("{endpoint}") };
            assert!(matches!(&error, ChainError::Unreachable { endpoint: named, .. } if *named == endpoint), "{error}");
        }
    }

    #[tokio::test]
    async fn a_call_that_hangs_meets_its_deadline() {
        let mock = MockRpcClient::builder()
            .method_handler("chain_getHeader", async |_| {
                std::future::pending::<()>().await;
                subxt_rpcs::client::mock_rpc_client::Json(())
            })
            .build();
        let link = Link { deadline: Duration::from_millis(20), ..link_over(mock).await };
        assert!(matches!(link.head().await, Err(ChainError::Timeout { .. })));
    }
}
