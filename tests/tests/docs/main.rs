//! What the pages say is so: commands parse, links lead somewhere, quoted errors are printed by the programs.
//!
//! - [`pages`]: the pages, their blocks and spans.
//! - [`commands`]: every `bistro-…` line, held against the real program's parser.
//! - [`errors`]: every error text of the troubleshooting page, held against the sources.
//! - [`links`]: every link to a file or a heading.
//! - [`services`]: the units of systemd, and what they say about status and paths.
#![allow(clippy::unwrap_used, missing_docs)]

mod commands;
mod errors;
mod links;
mod pages;
mod services;
