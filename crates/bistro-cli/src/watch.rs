//! How a running program is seen: flags, and the tasks that show it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Result;
use bistro_node::{Parts, judgements};
use bistro_watch::complaints::Complaints;
use bistro_watch::server::{WebOptions, WebServer};
use bistro_watch::socket::StatusSocket;
use bistro_watch::{Source, WatchError};
use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::args::Common;
use crate::{heartbeat, progress};

/// How the program is watched.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Watching")]
pub struct WatchArgs {
    /// Serve a web page, JSON (/api/status) and Prometheus metrics (/metrics) here: `9100`, or `127.0.0.1:9100`. Read-only.
    #[arg(long, value_name = "[ADDRESS:]PORT")]
    pub http: Option<HttpAddress>,
    /// Serve it to other machines, too: everybody who reaches the address sees everything.
    #[arg(long = "http.public")]
    pub public: bool,
    /// A name under which the page may be asked for, such as a proxy's; addresses and `localhost` always may.
    #[arg(long = "http.host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// No bars at a terminal; a line a minute instead, as where there is none.
    #[arg(long)]
    pub no_progress: bool,
}

impl WatchArgs {
    /// Whether waits are drawn as bars.
    pub fn draws(&self) -> bool {
        progress::at_terminal() && !self.no_progress
    }
}

/// An address to serve at; a port alone is one of the loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpAddress(pub SocketAddr);

impl FromStr for HttpAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(port) = text.parse::<u16>() {
            return Ok(Self((Ipv4Addr::LOCALHOST, port).into()));
        }
        let named = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
        if let Some(port) = named {
            return Ok(Self((IpAddr::from(Ipv4Addr::LOCALHOST), port).into()));
        }
        text.parse()
            .map(Self)
            .map_err(|_| "a port as 9100, or an address with a port as 127.0.0.1:9100 is wanted".to_owned())
    }
}

/// Begins to show the program until `stop`: over the socket in its data folder, by the web server if it is asked for, and by
/// a line a minute where there is no terminal.
///
/// # Errors
/// The web server's address.
pub async fn start(common: &Common, parts: &Parts, stop: &CancellationToken) -> Result<()> {
    let args = &common.watch;
    let patience = match common.stall_after {
        0 => Duration::MAX,
        seconds => Duration::from_secs(seconds),
    };
    let source = Source::new(parts.board.clone(), complaints().clone(), parts.data_dir.clone())
        .with_pulse(parts.pulse.clone(), patience);
    if let Some(HttpAddress(address)) = args.http {
        let options = WebOptions { address, public: args.public, names: args.hosts.clone() };
        let server = WebServer::bind(options).await?;
        let address = server.address();
        tracing::info!("the web page is at http://{address}/, metrics at http://{address}/metrics");
        if !address.ip().is_loopback() {
            tracing::warn!("other machines can see the web page and everything on it");
        }
        tokio::spawn(server.serve(source.clone(), stop.clone()));
    }
    match socket(&parts.data_dir) {
        Ok(socket) => drop(tokio::spawn(socket.serve(source.clone(), stop.clone()))),
        Err(error) => tracing::warn!(%error, "`status` from another shell will not find this program"),
    }
    if !args.draws() {
        tokio::spawn(heartbeat::tell(source, stop.clone()));
    }
    Ok(())
}

/// Validators are asked so long after the loop began, when it has something in its bucket.
const ASK_FIRST: Duration = Duration::from_secs(20);

/// Longest time between two looks at what validators say; until then each is twice as long as the one before, as whoever just
/// started a miner looks more often.
const ASK_EVERY: Duration = Duration::from_mins(5);

/// Begins to show on a miner's board what validators say of it, until `stop`.
pub fn ask_validators(parts: Parts, stop: CancellationToken) {
    tokio::spawn(asking(parts, stop));
}

async fn asking(parts: Parts, stop: CancellationToken) {
    // Not the loop's own doing, and not its pulse.
    let parts = Parts { pulse: parts.pulse.unwatched(), ..parts };
    let miner = parts.identity.hotkey();
    let work = async {
        let mut pause = ASK_FIRST;
        loop {
            parts.clock.sleep(pause).await;
            pause = ASK_EVERY.min(2 * pause);
            match judgements::of(&parts, &miner).await {
                Ok(said) => parts.board.miner(|miner| {
                    (miner.judgements, miner.judgements_read) = (said, Some(parts.clock.unix_millis()));
                }),
                Err(error) => tracing::debug!(%error, "validators could not be asked what they say of this miner"),
            }
        }
    };
    tokio::select! { () = work => {} () = stop.cancelled() => {} }
}

fn socket(folder: &std::path::Path) -> Result<StatusSocket, WatchError> {
    let failed = |error| WatchError::Socket { path: folder.to_owned(), error };
    fs_err::create_dir_all(folder).map_err(failed)?;
    StatusSocket::bind(folder)
}

/// The warnings and errors of this process's log.
pub fn complaints() -> &'static Complaints {
    // The log is one for the whole process, and so is what it complained of.
    static COMPLAINTS: std::sync::LazyLock<Complaints> = std::sync::LazyLock::new(Complaints::default);
    &COMPLAINTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_one_of_the_loopback() {
        let parse = |text: &str| text.parse::<HttpAddress>().map(|HttpAddress(address)| address.to_string());
        assert_eq!(parse("9100").unwrap(), "127.0.0.1:9100");
        assert_eq!(parse("localhost:80").unwrap(), "127.0.0.1:80");
        assert_eq!(parse("0.0.0.0:9100").unwrap(), "0.0.0.0:9100");
        assert_eq!(parse("[::1]:9100").unwrap(), "[::1]:9100");
        for bad in ["", "example.com:80", "127.0.0.1", "99999", "-1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
