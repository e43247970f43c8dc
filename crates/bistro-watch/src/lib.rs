//! Seeing a program run: a web page, JSON, Prometheus metrics, and the same over a socket in the data folder. Everything is
//! drawn from one [`view::View`]; nothing here can change what the program does.
//!
//! # Layout
//! - [`view`]: what is shown: the loop's board, complaints, and the machine.
//! - [`complaints`]: warnings and errors of the log, counted, the newest kept.
//! - [`machine`]: disk, memory and open files.
//! - [`metrics`]: the view as Prometheus reads it.
//! - [`routes`]: what each address answers.
//! - [`server`]: connections, bounded in number, size and time.
//! - [`socket`]: the same answers for `status` from another shell.
//! - [`text`]: the view as `status` prints it.
//! - [`error`]: what can go wrong.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod complaints;
pub mod error;
pub mod machine;
pub mod metrics;
pub mod routes;
pub mod server;
pub mod socket;
pub mod text;
pub mod view;

pub use error::WatchError;
pub use view::{Source, View};
