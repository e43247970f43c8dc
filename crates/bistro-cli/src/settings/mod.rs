//! Where a flag's value comes from: the command line, else a variable, else a file, else its default.
//!
//! The flags' own definition is all there is: adding one (a field of a struct in [`crate::args`]) makes its spellings, its
//! variable `BISTRO_…` and its key in a file. [figment] lays files and variables over each other and remembers which
//! one a value is from; clap reads what comes out as it reads a command line, so that a value is checked in one way wherever
//! it stands.
//!
//! # Layout
//! - [`keys`]: a program's settings, found in its flags.
//! - [`value`]: a value in a file or a variable, checked.
//! - `layers`: what each file, the environment and the command line say.
//! - `command`: the command line with spellings, variables and values in it.
//! - [`show`]: settings as they are in force, and as a commented file.

mod command;
pub mod keys;
mod layers;
pub mod show;
pub mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

pub use command::presented;
pub use keys::{Key, Keys};
pub use layers::Origin;

/// The file that is read without being asked for.
pub const FILE: &str = "bistro.toml";

/// Commands that say how to write a configuration must not fail because of one.
const WITHOUT_FILES: [&str; 3] = ["completions", "man", "init"];

/// A setting's value that is not its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// One text, or several where the flag may be given several times.
    pub values: Vec<String>,
    /// Who says so.
    pub origin: Origin,
}

/// All settings of a program.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What there is to set.
    pub keys: Keys,
    /// What is set, by the words of its name.
    pub set: BTreeMap<String, Setting>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// What looks like a mistake and is none for certain.
    pub notes: Vec<String>,
}

/// A command line, and what lies under it.
pub struct Loaded<C> {
    /// The flags, ready to use.
    pub cli: C,
    /// Where they are from.
    pub settings: Settings,
}

/// What a program is given from outside.
#[derive(Clone, Debug, Default)]
pub struct Given<'a> {
    /// The command line, the program's name first.
    pub arguments: Vec<OsString>,
    /// The environment.
    pub variables: BTreeMap<String, String>,
    /// The file that is read where none is named, if it is there.
    pub file: Option<&'a Path>,
}

/// Reads the command line of the program `role` (`miner`, `validator`), its environment and its files. On a mistake, or
/// after `--help`, everything is said already, and the exit status is what is left to do.
pub fn load<C: CommandFactory + FromArgMatches>(role: &str) -> Result<Loaded<C>, ExitCode> {
    let variables = std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)));
    let given =
        Given { arguments: std::env::args_os().collect(), variables: variables.collect(), file: Some(Path::new(FILE)) };
    read(role, C::command(), &given)
        .and_then(|(matches, settings)| Ok(Loaded { cli: C::from_arg_matches(&matches)?, settings }))
        .map_err(|error| {
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(crate::exit::REFUSED))
        })
}

/// A program's command line as it is shown: for completions and manuals.
pub fn command<C: CommandFactory>() -> Command {
    let command = C::command();
    let keys = Keys::of(&command);
    presented(command, &keys)
}

/// As [`load`], of any command, with what is given.
///
/// # Errors
/// Help that was asked for, or every mistake with the place where it was made.
pub fn read(role: &str, command: Command, given: &Given<'_>) -> Result<(ArgMatches, Settings), clap::Error> {
    let keys = Keys::of(&command);
    let command = presented(command, &keys);
    // Once to see what was typed and which files are named; what is missing or wrong is said the second time.
    let seen = command.clone().ignore_errors(true).try_get_matches_from(&given.arguments)?;
    let typed = command::typed(&command, &keys, &seen)?;
    let mut files: Vec<PathBuf> = seen.get_many("config").unwrap_or_default().cloned().collect();
    if files.is_empty() {
        let named = given.variables.get("BISTRO_CONFIG").filter(|named| !named.is_empty());
        files = named.map(|named| std::env::split_paths(named).collect()).unwrap_or_default();
    }
    if files.is_empty() {
        files.extend(given.file.filter(|file| file.is_file()).map(Into::into));
    }
    if command::path(&seen).iter().any(|name| WITHOUT_FILES.contains(name)) {
        files.clear();
    }
    let (set, mistakes) = layers::merge(role, &keys, &files, &given.variables, typed);
    if !mistakes.is_empty() {
        return Err(clap::Error::raw(ErrorKind::ValueValidation, mistakes.join("\n") + "\n"));
    }
    let notes = layers::misspelt(&keys, &given.variables);
    let matches = command::with_values(command, &keys, &set).try_get_matches_from(&given.arguments)?;
    Ok((matches, Settings { keys, set, files, notes }))
}

#[cfg(test)]
mod tests;
