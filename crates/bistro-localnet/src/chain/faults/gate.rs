//! A way to the node over which connections break, stall or are refused.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

/// Bytes that travel at once.
const BUFFER: usize = 64 * 1024;

/// Carries bytes between clients and one node, as long as it pleases.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// The task that accepts; none while connections are refused.
    accepting: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    node: SocketAddr,
    stalled: watch::Sender<bool>,
    cut: broadcast::Sender<()>,
    trap: Mutex<Option<&'static str>>,
    sprung: AtomicUsize,
    accepted: AtomicUsize,
}

impl Gate {
    /// Listens on `listen` for clients of the node at `node`.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn open_at(listen: SocketAddr, node: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            node,
            stalled: watch::Sender::new(false),
            cut: broadcast::channel(1).0,
            trap: Mutex::default(),
            sprung: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
        });
        let accepting = tokio::spawn(shared.clone().accept(listener));
        Ok(Self { address, shared, accepting: tokio::sync::Mutex::new(Some(accepting)) })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Breaks all connections; new ones are accepted.
    pub fn drop_connections(&self) {
        let _ = self.shared.cut.send(());
    }

    /// Carries nothing any more, in either direction: connections, new ones too, stay open and silent, until [`Gate::open`].
    pub fn stall(&self) {
        self.shared.stalled.send_replace(true);
    }

    /// Breaks all connections and refuses new ones, until [`Gate::open`].
    pub async fn refuse_connections(&self) {
        if let Some(accepting) = self.accepting.lock().await.take() {
            accepting.abort();
            // The listener is closed when the task is gone.
            let _ = accepting.await;
        }
        self.drop_connections();
    }

    /// Accepts and carries again; what was held back in a stall goes on its way.
    ///
    /// # Errors
    /// When somebody else took the address meanwhile.
    pub async fn open(&self) -> io::Result<()> {
        let mut accepting = self.accepting.lock().await;
        if accepting.is_none() {
            let listener = TcpListener::bind(self.address).await?;
            *accepting = Some(tokio::spawn(self.shared.clone().accept(listener)));
        }
        self.shared.stalled.send_replace(false);
        Ok(())
    }

    /// Breaks the connection over which the node is about to say `words`, once, and swallows them.
    pub fn cut_at(&self, words: &'static str) {
        *self.shared.trap.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
    }

    /// How often [`Gate::cut_at`] struck.
    pub fn cuts(&self) -> usize {
        self.shared.sprung.load(Ordering::Relaxed)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.get_mut().take() {
            accepting.abort();
        }
        self.drop_connections();
    }
}

impl Shared {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        while let Ok((client, _)) = listener.accept().await {
            self.accepted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(self.clone().carry(client));
        }
    }

    async fn carry(self: Arc<Self>, client: TcpStream) {
        let mut cut = self.cut.subscribe();
        let Ok(node) = TcpStream::connect(self.node).await else { return };
        let _ = (client.set_nodelay(true), node.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_node, to_node) = node.into_split();
        tokio::select! {
            _ = self.pump(from_client, to_node, false) => {}
            _ = self.pump(from_node, to_client, true) => {}
            _ = cut.recv() => {}
        }
    }

    async fn pump(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, trapped: bool) -> io::Result<()> {
        let mut stalled = self.stalled.subscribe();
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = from.read(&mut buffer).await?;
            // Not even the end of a connection gets through.
            if stalled.wait_for(|stalled| !stalled).await.is_err() {
                return Ok(());
            }
            if n == 0 || trapped && self.springs(&buffer[..n]) {
                return Ok(());
            }
            to.write_all(&buffer[..n]).await?;
        }
    }

    fn springs(&self, bytes: &[u8]) -> bool {
        let mut trap = self.trap.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(words) = *trap else { return false };
        let found = bytes.windows(words.len()).any(|part| part == words.as_bytes());
        if found {
            *trap = None;
            self.sprung.fetch_add(1, Ordering::Relaxed);
        }
        found
    }
}
