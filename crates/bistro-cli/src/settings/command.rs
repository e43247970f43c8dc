//! The command line with all spellings and variables, and then with the values of files and environment in it.

use std::collections::BTreeMap;

use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::Setting;
use super::keys::{Key, Keys, Kind};

/// `command` as it is shown and read: flags in every spelling, each setting with its variable.
pub fn presented(command: Command, keys: &Keys) -> Command {
    let own = |arg: Arg| match keys.same(&arg) {
        Some(key) => layered(arg, key),
        None => arg,
    };
    bistro_flags::spelled(everywhere(command, &own))
}

/// A setting's flag: it has a variable, and one that is given without a value can also be told to be off, or a file would
/// have the last word.
pub(super) fn layered(arg: Arg, key: &Key) -> Arg {
    let arg = arg.env(key.variable().to_owned()).hide_env_values(true);
    if key.kind != Kind::Flag {
        return arg;
    }
    arg.action(ArgAction::Set)
        .value_parser(BoolishValueParser::new())
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value("false")
        .hide_default_value(true)
        .hide_possible_values(true)
        .value_name("false")
}

/// The values that are set become the defaults of their flags, of the program and of each subcommand.
pub(super) fn with_values(command: Command, keys: &Keys, set: &BTreeMap<String, Setting>) -> Command {
    let filled = |arg: Arg| {
        let Some(key) = keys.same(&arg) else { return arg };
        // The environment has been looked at, every name of each variable in its turn.
        let arg = arg.env(None::<&str>);
        match set.get(&key.words) {
            Some(setting) => arg.default_values(setting.values.clone()).required(false),
            None => arg,
        }
    };
    everywhere(command, &filled)
}

fn everywhere(command: Command, change: &dyn Fn(Arg) -> Arg) -> Command {
    command.mut_args(change).mut_subcommands(|below| everywhere(below, change))
}

/// The names of the subcommands that were called.
pub(super) fn path(matches: &ArgMatches) -> Vec<&str> {
    let (mut names, mut at) = (Vec::new(), matches);
    while let Some((name, below)) = at.subcommand() {
        names.push(name);
        at = below;
    }
    names
}

/// What was typed, before the subcommand or behind it: `bistro-miner --netuid 3 doctor` is a line to which one word was added.
///
/// # Errors
/// A flag before a subcommand that has no such flag.
pub(super) fn typed(
    command: &Command,
    keys: &Keys,
    seen: &ArgMatches,
) -> Result<BTreeMap<String, Vec<String>>, clap::Error> {
    let mut typed = collect(command, keys, seen);
    let (mut command, mut seen) = (command, seen);
    let before = typed.clone();
    while let Some((name, below)) = seen.subcommand() {
        let Some(found) = command.find_subcommand(name) else { break };
        (command, seen) = (found, below);
        typed.extend(collect(command, keys, seen));
    }
    if seen.subcommand_name().is_none() {
        for key in before.keys().filter_map(|words| keys.get(words)).filter(|key| !key.arg.is_global_set()) {
            let known = command.get_arguments().any(|arg| keys.same(arg).is_some_and(|same| same.words == key.words));
            if !known {
                let why = format!("`{}` has no flag `--{}`: leave it out\n", command.get_name(), key.long);
                return Err(clap::Error::raw(ErrorKind::ArgumentConflict, why));
            }
        }
    }
    Ok(typed)
}

fn collect(command: &Command, keys: &Keys, seen: &ArgMatches) -> BTreeMap<String, Vec<String>> {
    let given = |arg: &Arg| {
        let key = keys.same(arg)?;
        let id = arg.get_id().as_str();
        let typed = seen.value_source(id) == Some(ValueSource::CommandLine);
        let values = seen.get_raw(id).filter(|_| typed)?.map(|value| value.to_string_lossy().into_owned());
        Some((key.words.clone(), values.collect()))
    };
    command.get_arguments().filter_map(given).collect()
}
