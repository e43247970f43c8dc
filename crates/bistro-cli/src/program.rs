//! From `main` to the loop and back: runtime, logs, Ctrl-C.

use std::process::ExitCode;

use anyhow::Result;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::args::{Colour, LogFormat, LoggingArgs};
use crate::exit;
use crate::progress::{self, AboveBars};
use crate::{service, watch};

/// Runs `work` to its end, with logs on standard error. The token is cancelled by Ctrl-C or SIGTERM; a second one ends the
/// process at once.
pub fn run(logging: &LoggingArgs, work: impl AsyncFnOnce(CancellationToken) -> Result<()>) -> ExitCode {
    bistro_model::heap::share();
    start_logs(logging);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let stop = CancellationToken::new();
    let outcome = runtime.block_on(async {
        tokio::spawn(watch_signals(stop.clone()));
        work(stop).await
    });
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    tracing::error!("{}", in_words(error));
    ExitCode::from(exit::status(error))
}

/// The error and its causes, each once: some libraries' errors say their cause themselves.
fn in_words(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        _ if told.ends_with(&cause) => told,
        _ => format!("{told}: {cause}"),
    })
}

fn start_logs(args: &LoggingArgs) {
    let level = level(args);
    // The libraries below are told to be quiet: their details bury what an operator looks for.
    let ours = format!(
        "warn,bistro={level},bistro_chain={level},bistro_cli={level},bistro_model={level},bistro_node={level},bistro_pages={level},bistro_storage={level},bistro_watch={level},bistro_miner={level},bistro_validator={level}"
    );
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(ours));
    let colour = match args.color {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => progress::at_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(AboveBars).with_target(false);
    let lines = match args.log_format {
        LogFormat::Pretty => lines.with_ansi(colour).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).with(watch::complaints().clone()).init();
}

/// How much this project's own crates tell.
fn level(args: &LoggingArgs) -> &'static str {
    match args {
        LoggingArgs { trace: true, .. } => "trace",
        LoggingArgs { debug: true, .. } => "debug",
        LoggingArgs { quiet: true, .. } => "warn",
        _ => "info",
    }
}

async fn watch_signals(stop: CancellationToken) {
    signal().await;
    tracing::info!("stopping; once more ends at once");
    service::stopping();
    stop.cancel();
    signal().await;
    #[expect(clippy::exit, reason = "the operator asked twice")]
    std::process::exit(exit::INTERRUPTED);
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! { _ = tokio::signal::ctrl_c() => {} _ = terminate.recv() => {} }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

#[cfg(not(unix))]
async fn signal() {
    let _ = tokio::signal::ctrl_c().await;
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn an_error_says_each_of_its_causes_once() {
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let model: anyhow::Error = bistro_model::ModelError::Io(missing()).into();
        assert_eq!(in_words(&model.context("model m")), "model m: model folder: entity not found");
        let plain = Err::<(), _>(missing()).context("reading a").unwrap_err();
        assert_eq!(in_words(&plain), "reading a: entity not found");
    }
}
