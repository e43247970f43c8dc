//! The handle that starts a chain, administers it and stops it.

use super::{
    config::LocalChainConfig,
    error::ChainError,
    faults::{Faults, gate::Gate},
    node::Node,
    rpc,
    runtime::{AccountId, Balance, Balances, Drand, Runtime, SpecVersion, SubtensorModule, subtensor as pallet},
};
use frame_support::traits::fungible::Mutate;
use jsonrpsee::server::{Server, ServerHandle};
use sp_runtime::{DispatchError, ModuleError, traits::Header as _};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Largest request, bytes: a transaction of the largest block length in hexadecimal.
const MAX_REQUEST: u32 = 16 * 1024 * 1024;
/// Largest answer, bytes: metadata, or a metagraph of thousands of neurons, in hexadecimal.
const MAX_RESPONSE: u32 = 64 * 1024 * 1024;
/// Most connections.
const MAX_CONNECTIONS: u32 = 1024;

/// A running local subtensor.
///
/// What the methods here write is the chain's own doing, as by a privileged call: no signature, no fee, a block of its own at once.
/// Everything else goes through the RPC at [`LocalChain::url`], like on any subtensor.
#[derive(Debug)]
pub struct LocalChain {
    node: Arc<Node>,
    netuid: u16,
    address: SocketAddr,
    faults: Option<Faults>,
    server: ServerHandle,
    /// Ends sealing when it is dropped.
    stop: DropGuard,
    sealing: JoinHandle<()>,
}

impl LocalChain {
    /// Starts a chain with its genesis and block 1, and listens for JSON-RPC over WebSocket and HTTP.
    ///
    /// # Errors
    /// [`ChainError::Listen`] when the address is taken.
    pub async fn start(config: LocalChainConfig) -> Result<Self, ChainError> {
        let node = Arc::new(Node::new(&config)?);
        node.seal()?;
        let addr = config.listen;
        let listen = |source| ChainError::Listen { addr, source };
        // Faulty connections lead to a server behind them.
        let behind = if config.faults { SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) } else { addr };
        let server = Server::builder()
            .max_request_body_size(MAX_REQUEST)
            .max_response_body_size(MAX_RESPONSE)
            .max_connections(MAX_CONNECTIONS)
            .build(behind)
            .await
            .map_err(listen)?;
        let mut address = server.local_addr().map_err(listen)?;
        let mut faults = None;
        if config.faults {
            let gate = Gate::open_at(addr, address).await.map_err(listen)?;
            address = gate.address();
            faults = Some(Faults::new(node.clone(), gate));
        }
        let server = server.start(rpc::module(node.clone(), faults.clone())?);
        let stop = CancellationToken::new();
        let sealing = tokio::spawn(node.clone().run(config.clock.then_some(config.block_time), stop.clone()));
        tracing::info!(%address, genesis = ?node.genesis_hash(), "the local chain is up");
        Ok(Self { node, netuid: config.netuid, address, faults, server, stop: stop.drop_guard(), sealing })
    }

    /// Where clients connect, as `ws://host:port`.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Faults on demand, where the configuration lets them be.
    pub fn faults(&self) -> Option<&Faults> {
        self.faults.as_ref()
    }

    /// Ends sealing and closes all connections.
    pub async fn stop(self) {
        drop(self.stop);
        // An error says that it has stopped already.
        let _ = self.server.stop();
        self.server.stopped().await;
        let _ = self.sealing.await;
    }

    /// Height of the newest block.
    pub fn block(&self) -> u32 {
        *self.node.head().header.number()
    }

    /// Hash of block 0.
    pub fn genesis_hash(&self) -> [u8; 32] {
        self.node.genesis_hash().0
    }

    /// Makes a block now, besides the clock, and says its number.
    ///
    /// # Errors
    /// [`ChainError::Panicked`] when the runtime did.
    pub async fn seal(&self) -> Result<u32, ChainError> {
        self.root(|| Ok(())).await?;
        Ok(self.block())
    }

    /// Gives `hotkey` of `coldkey` a uid; its own if it is registered already.
    ///
    /// # Errors
    /// [`ChainError::Refused`] when another coldkey owns it or no uid can be freed.
    pub async fn register(
        &self,
        coldkey: impl Into<AccountId>,
        hotkey: impl Into<AccountId>,
    ) -> Result<u16, ChainError> {
        let (coldkey, hotkey, netuid) = (coldkey.into(), hotkey.into(), self.netuid);
        self.root(move || Ok(SubtensorModule::register(&coldkey, &hotkey, netuid)?)).await
    }

    /// Adds `amount` rao of stake to a hotkey, and permits validators anew without waiting for the epoch.
    ///
    /// # Errors
    /// [`ChainError::Panicked`] when the runtime did.
    pub async fn stake(&self, hotkey: impl Into<AccountId>, amount: Balance) -> Result<(), ChainError> {
        let (hotkey, netuid) = (hotkey.into(), self.netuid);
        self.root(move || {
            SubtensorModule::credit_stake(&hotkey, netuid, amount);
            SubtensorModule::recompute_permits(netuid);
            Ok(())
        })
        .await
    }

    /// Gives an account `amount` rao, out of nothing.
    ///
    /// # Errors
    /// [`ChainError::Refused`] below the existential deposit.
    pub async fn endow(&self, account: impl Into<AccountId>, amount: Balance) -> Result<(), ChainError> {
        let account = account.into();
        self.root(move || Balances::mint_into(&account, amount).map(drop)).await
    }

    /// Publishes a round of the chain's [`super::beacon`] now, be it due or not, so that commitments for it open at their epoch.
    ///
    /// # Errors
    /// [`ChainError::Panicked`] when the runtime did.
    pub async fn publish_round(&self, round: u64) -> Result<(), ChainError> {
        self.root(move || {
            Drand::publish(round);
            Ok(())
        })
        .await
    }

    /// Upgrades the runtime: from the next block on it has this spec version, and transactions signed for the old one are refused.
    ///
    /// # Errors
    /// [`ChainError::Panicked`] when the runtime did.
    pub async fn upgrade(&self, spec_version: u32) -> Result<(), ChainError> {
        self.root(move || {
            SpecVersion::set(&spec_version);
            Ok(())
        })
        .await
    }

    /// Runs `f` inside the runtime, with every pallet of [`crate::chain::runtime`] at hand, in a block of its own. What it wrote is undone
    /// when it fails.
    ///
    /// # Errors
    /// [`ChainError::Refused`] with the name of the error that `f` gave.
    pub async fn root<R: Send + 'static>(
        &self,
        f: impl FnOnce() -> Result<R, DispatchError> + Send + 'static,
    ) -> Result<R, ChainError> {
        let node = self.node.clone();
        let sealed = tokio::task::spawn_blocking(move || node.seal_with(|block| block.attempt(f)));
        let (_, result) = sealed.await.map_err(|_| ChainError::Stopped)??;
        result?.map_err(|error| ChainError::Refused(name(error)))
    }

    /// Runs `f` inside the runtime on the newest state; what it writes is dropped.
    ///
    /// # Errors
    /// [`ChainError::Panicked`] when the runtime did.
    pub fn read<R>(&self, f: impl FnOnce() -> R) -> Result<R, ChainError> {
        self.node.query(&self.node.head(), f)
    }

    /// Weights of the newest block: for each uid that set any, the uids it weighs and their weights of 65535.
    ///
    /// # Errors
    /// [`ChainError::Panicked`] when the runtime did.
    pub fn weights(&self) -> Result<BTreeMap<u16, Vec<(u16, u16)>>, ChainError> {
        self.read(|| pallet::Weights::<Runtime>::iter_prefix(self.netuid).collect())
    }

    /// Hotkeys of the newest block, by uid.
    ///
    /// # Errors
    /// [`ChainError::Panicked`] when the runtime did.
    pub fn hotkeys(&self) -> Result<Vec<[u8; 32]>, ChainError> {
        let netuid = self.netuid;
        self.read(|| {
            let neurons = pallet::SubnetworkN::<Runtime>::get(netuid);
            (0..neurons).map(|uid| pallet::Keys::<Runtime>::get(netuid, uid).into()).collect()
        })
    }
}

/// The error's name, as a client reads it from metadata.
fn name(error: DispatchError) -> String {
    match error {
        DispatchError::Module(ModuleError { message: Some(message), .. }) => message.to_owned(),
        other => <&'static str>::from(other).to_owned(),
    }
}
