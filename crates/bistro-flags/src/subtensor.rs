//! The chain, as `btcli` names it.

use bistro_chain::{ChainError, Network};
use bistro_core::ids::NetUid;
use clap::Args;

/// Network, endpoints and subnet.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Chain")]
pub struct SubtensorArgs {
    /// Network: `finney`, `test`, `local` or `archive`.
    #[arg(
        long = "subtensor.network",
        aliases = ["network", "chain"],
        env = "BT_SUBTENSOR_NETWORK",
        value_name = "NETWORK"
    )]
    pub network: Option<String>,
    /// A node's address, `ws://` or `wss://`; may be given several times, tried in order.
    #[arg(
        long = "subtensor.chain_endpoint",
        alias = "chain_endpoint",
        env = "BT_SUBTENSOR_CHAIN_ENDPOINT",
        value_delimiter = ',',
        value_name = "URL"
    )]
    pub chain_endpoint: Vec<String>,
    /// Subnet.
    #[arg(long, env = "BISTRO_NETUID", default_value_t = 212)]
    pub netuid: u16,
}

impl SubtensorArgs {
    /// The network of these flags, or of the variables `BT_NETWORK` and `BT_CHAIN_ENDPOINT` of Bittensor's tools of version 11;
    /// `None` where nothing names one.
    ///
    /// # Errors
    /// [`ChainError::UnknownNetwork`].
    pub fn network(&self) -> Result<Option<Network>, ChainError> {
        self.with(crate::variable)
    }

    /// The same, with a default.
    ///
    /// # Errors
    /// [`ChainError::UnknownNetwork`].
    pub fn network_or(&self, default: &str) -> Result<Network, ChainError> {
        self.network()?.map_or_else(|| Network::named(default), Ok)
    }

    /// The subnet.
    pub fn subnet(&self) -> NetUid {
        NetUid(self.netuid)
    }

    fn with(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Network>, ChainError> {
        let mut name = self.network.clone();
        let mut endpoints = self.chain_endpoint.clone();
        // The flags are one choice: half of it does not come from elsewhere.
        if name.is_none() && endpoints.is_empty() {
            name = variable("BT_NETWORK");
            endpoints.extend(variable("BT_CHAIN_ENDPOINT"));
        }
        if name.is_none() && endpoints.is_empty() {
            return Ok(None);
        }
        Network::resolve(name.as_deref(), &endpoints).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _, Parser};

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        subtensor: SubtensorArgs,
    }

    fn parse(args: &[&str]) -> SubtensorArgs {
        let matches = crate::spelled(Program::command()).try_get_matches_from(["p"].iter().chain(args)).unwrap();
        Program::from_arg_matches(&matches).unwrap().subtensor
    }

    #[test]
    fn every_spelling_of_a_flag_means_the_same() {
        for flag in ["--subtensor.network", "--subtensor-network", "--subtensor_network", "--network", "--chain"] {
            assert_eq!(parse(&[flag, "test"]).network.as_deref(), Some("test"), "{flag}");
        }
        for flag in ["--subtensor.chain_endpoint", "--subtensor-chain-endpoint", "--chain-endpoint"] {
            assert_eq!(parse(&[flag, "ws://a", flag, "ws://b,ws://c"]).chain_endpoint.len(), 3, "{flag}");
        }
    }

    #[test]
    fn flags_win_over_the_other_variables_and_a_network_can_be_an_address() {
        let variables = |name: &str| (name == "BT_NETWORK").then(|| "test".to_owned());
        let named = |args: &[&str]| parse(args).with(variables).unwrap().unwrap().name;
        assert_eq!(named(&[]), "test");
        assert_eq!(named(&["--network", "local"]), "local");
        assert_eq!(named(&["--chain", "ws://10.0.0.1:9944"]), "ws://10.0.0.1:9944");
        assert_eq!(named(&["--chain-endpoint", "ws://10.0.0.1:9944"]), "ws://10.0.0.1:9944");
        assert!(parse(&[]).with(|_| None).unwrap().is_none());
        let error = parse(&["--network", "fineny"]).with(|_| None).unwrap_err();
        assert!(matches!(error, ChainError::UnknownNetwork { .. }), "{error}");
    }
}
