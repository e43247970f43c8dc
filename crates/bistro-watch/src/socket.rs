//! The same answers over a socket in the data folder, for `status` from another shell: always there while the program runs, and
//! only for whom the folder's permissions let in.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::error::WatchError;
use crate::routes::Names;
use crate::server::serve;
use crate::view::{Source, View};

/// The socket's name in the data folder.
const NAME: &str = "status.sock";

/// The system's bound on the path of a socket is 108 bytes, its end included.
const MAX_PATH: usize = 100;

/// Largest status that is read, bytes.
const MAX_STATUS: usize = 16 << 20;

/// The whole of asking.
const DEADLINE: Duration = Duration::from_secs(10);

/// A path to the socket that is short enough, and what it needs to stay open: a long one goes by the folder's descriptor.
fn path(folder: &Path) -> std::io::Result<(PathBuf, Option<File>)> {
    let path = folder.join(NAME);
    if path.as_os_str().len() <= MAX_PATH {
        return Ok((path, None));
    }
    let folder: File = fs_err::File::open(folder)?.into_parts().0;
    Ok((PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd())), Some(folder)))
}

/// The socket of a running program; it is removed when this is dropped.
#[derive(Debug)]
pub struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        let _ = fs_err::remove_file(&self.path);
    }
}

impl StatusSocket {
    /// Takes the socket in `folder`; one that nobody answers at is of a process that is gone.
    ///
    /// # Errors
    /// [`WatchError::Socket`].
    pub fn bind(folder: &Path) -> Result<Self, WatchError> {
        let at = folder.join(NAME);
        let failed = |error| WatchError::Socket { path: at.clone(), error };
        let (short, _folder) = path(folder).map_err(failed)?;
        if std::os::unix::net::UnixStream::connect(&short).is_ok() {
            return Err(failed(std::io::Error::other("another program answers here")));
        }
        let _ = fs_err::remove_file(&at);
        let listener = UnixListener::bind(short).map_err(failed)?;
        fs_err::set_permissions(&at, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, path: at.clone() })
    }

    /// Answers until `stop`.
    pub async fn serve(self, source: Source, stop: CancellationToken) {
        serve(&self.listener, &source, &Names::default(), &stop).await;
    }
}

/// Asks the program that runs with the data folder `folder`.
///
/// # Errors
/// [`WatchError::NotRunning`] if none does, [`WatchError::BadAnswer`] if it does not answer as it should.
pub async fn ask(folder: &Path) -> Result<View, WatchError> {
    let not_running = |_| WatchError::NotRunning(folder.to_owned());
    let (short, _folder) = path(folder).map_err(not_running)?;
    let stream = UnixStream::connect(short).await.map_err(not_running)?;
    match tokio::time::timeout(DEADLINE, exchange(stream)).await {
        Ok(answer) => answer.map_err(|error| WatchError::BadAnswer(error.to_string())),
        Err(_) => Err(WatchError::BadAnswer(format!("nothing within {} s", DEADLINE.as_secs()))),
    }
}

async fn exchange(stream: UnixStream) -> Result<View, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/api/status").header(header::HOST, "localhost").body(Empty::<Bytes>::new())?;
    let receive = async {
        let response = sender.send_request(request).await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(
            Limited::new(response.into_body(), MAX_STATUS).collect().await?.to_bytes(),
        )
    };
    let driven = async {
        // Its end is the answer's, or an error of the receiving side.
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    let body = tokio::select! { body = receive => body?, () = driven => Bytes::new() };
    Ok(serde_json::from_slice(&body)?)
}
