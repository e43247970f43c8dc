//! Networks by name: their endpoints and genesis hashes.

use crate::error::ChainError;

/// Genesis of the main network.
const FINNEY_GENESIS: &str = "2f0555cc76fc2840a25a6ea3b9637146806f1f44b090c175ffde2a7e5ab36c03";
/// Genesis of the public test network.
const TEST_GENESIS: &str = "8f9cf856bf558a14440e75569c9e58594757048d7b3a84b5d25f6bd978263105";

/// Name, endpoints and, where it is fixed, genesis hash in hexadecimal.
const KNOWN: [(&str, &[&str], Option<&str>); 4] = [
    (
        "finney",
        &[
            "wss://entrypoint-finney.opentensor.ai:443",
            "wss://lite.chain.opentensor.ai:443",
            "wss://lite.sub.latent.to:443",
        ],
        Some(FINNEY_GENESIS),
    ),
    ("test", &["wss://test.finney.opentensor.ai:443"], Some(TEST_GENESIS)),
    ("local", &["ws://127.0.0.1:9944"], None),
    ("archive", &["wss://archive.chain.opentensor.ai:443"], Some(FINNEY_GENESIS)),
];

/// A network: where its nodes are, and how its chain began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The name in flags and messages.
    pub name: String,
    /// Addresses of nodes (`ws://` or `wss://`), tried in order.
    pub endpoints: Vec<String>,
    /// Hash of block 0 that a node must have; `None`: any.
    pub genesis: Option<[u8; 32]>,
}

impl Network {
    /// A network of Bittensor by its name: `finney`, `test`, `local` or `archive`.
    pub fn named(name: &str) -> Result<Self, ChainError> {
        let Some((name, endpoints, genesis)) = KNOWN.iter().find(|known| known.0 == name) else {
            return Err(ChainError::UnknownNetwork { name: name.to_owned(), known: names() });
        };
        Ok(Self {
            name: (*name).to_owned(),
            endpoints: endpoints.iter().map(|&e| e.to_owned()).collect(),
            genesis: genesis.and_then(hash_from_hex),
        })
    }

    /// Any node, whatever its genesis.
    pub fn at(endpoint: &str) -> Self {
        Self { name: endpoint.to_owned(), endpoints: vec![endpoint.to_owned()], genesis: None }
    }

    /// The same network, reached through other nodes; the genesis hash is still checked.
    #[must_use]
    pub fn through(mut self, endpoints: Vec<String>) -> Self {
        if !endpoints.is_empty() {
            self.endpoints = endpoints;
        }
        self
    }

    /// From the flags `--subtensor.network` and `--subtensor.chain_endpoint`: endpoints win over the name's own, and a name
    /// that was given is still checked by its genesis. A network that is an address counts as an endpoint, as in Bittensor's
    /// own tools.
    pub fn resolve(name: Option<&str>, endpoints: &[String]) -> Result<Self, ChainError> {
        match name {
            Some(address) if address.contains("://") => {
                let mut network = Self::at(address);
                network.endpoints.extend_from_slice(endpoints);
                Ok(network)
            }
            Some(name) => Ok(Self::named(name)?.through(endpoints.to_vec())),
            None => match endpoints.first() {
                Some(first) => Ok(Self::at(first).through(endpoints.to_vec())),
                None => Self::named("finney"),
            },
        }
    }

    /// The name of the known network that begins with `genesis`.
    pub(crate) fn name_of(genesis: &[u8; 32]) -> Option<&'static str> {
        KNOWN.iter().find(|known| known.2.and_then(hash_from_hex).as_ref() == Some(genesis)).map(|known| known.0)
    }
}

/// The names that [`Network::named`] knows, for messages.
fn names() -> String {
    KNOWN.map(|known| known.0).join(", ")
}

fn hash_from_hex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).ok().map(|()| hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fixed_genesis_is_read() {
        for (name, _, genesis) in KNOWN {
            assert_eq!(Network::named(name).unwrap().genesis.is_some(), genesis.is_some(), "{name}");
        }
        assert_eq!(Network::name_of(&hash_from_hex(TEST_GENESIS).unwrap()), Some("test"));
    }

    #[test]
    fn a_named_network_keeps_its_genesis_behind_another_endpoint() {
        let own = vec!["ws://10.0.0.1:9944".to_owned()];
        let network = Network::resolve(Some("test"), &own).unwrap();
        assert_eq!((network.endpoints, network.genesis), (own.clone(), hash_from_hex(TEST_GENESIS)));
        assert_eq!(Network::resolve(None, &own).unwrap().genesis, None);
        assert_eq!(Network::resolve(None, &[]).unwrap().name, "finney");
        assert_eq!(Network::resolve(Some("ws://[::1]:1"), &[]).unwrap().endpoints, ["ws://[::1]:1"]);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = Network::named("fineny").unwrap_err().to_string();
        assert!(message.contains("fineny") && message.contains("finney, test, local, archive"), "{message}");
    }
}
