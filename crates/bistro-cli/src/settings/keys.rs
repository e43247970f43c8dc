//! A program's settings, found in its flags.

use std::any::TypeId;

use bistro_flags::names;
use clap::{Arg, ArgAction, Command};

/// What a setting's value looks like in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A number.
    Number,
    /// A text in quotes.
    Text,
    /// One text, or several between brackets.
    Texts,
}

/// One setting.
#[derive(Clone, Debug)]
pub struct Key {
    /// The words of its name, joined by `_`.
    pub words: String,
    /// The flag, without dashes: `subtensor.chain_endpoint`.
    pub long: String,
    /// The variables that set it; the first one that is set wins.
    pub variables: Vec<String>,
    /// What it looks like.
    pub kind: Kind,
    /// The flag as it was defined.
    pub arg: Arg,
}

/// All settings of a program, in the order of its help.
#[derive(Clone, Debug)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// The settings that are flags of `command` itself.
    pub fn of(command: &Command) -> Self {
        let named = |arg: &&Arg| arg.get_long().is_some_and(|long| !["help", "version", "config"].contains(&long));
        Self(command.get_arguments().filter(named).filter_map(Key::of).collect())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }

    /// The setting of this name, in any spelling.
    pub fn get(&self, name: &str) -> Option<&Key> {
        let words = names::words(name);
        self.0.iter().find(|key| key.words == words)
    }

    /// The setting that `arg`, a flag of a subcommand, is: the same flag, or another one that shares its variable.
    pub fn same(&self, arg: &Arg) -> Option<&Key> {
        let key = self.get(arg.get_long()?)?;
        let variable = arg.get_env().and_then(|name| name.to_str());
        let shared = variable.is_some_and(|name| key.variables.iter().any(|known| known == name));
        let text = |arg: &Arg| arg.get_help().map(ToString::to_string);
        (shared || text(arg) == text(&key.arg)).then_some(key)
    }

    /// How the setting is written in a file. A name below another one's, as `dataset.index` below `dataset`, cannot be a
    /// table there.
    pub fn in_file(&self, key: &Key) -> String {
        let table = key.long.split('.').next().unwrap_or_default();
        if self.0.iter().any(|other| other.long == table) { key.long.replace('.', "-") } else { key.long.clone() }
    }

    /// The name that is most like `name`, if one is.
    pub fn like(&self, name: &str) -> Option<String> {
        let words = names::words(name);
        let alike = |key: &Key| strsim::jaro_winkler(&words, &key.words);
        let best = self.0.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
        (alike(best) > 0.8).then(|| self.in_file(best))
    }
}

impl Key {
    fn of(arg: &Arg) -> Option<Self> {
        let long = arg.get_long()?;
        let declared = arg.get_env().and_then(|name| name.to_str());
        Some(Self {
            words: names::words(long),
            long: long.to_owned(),
            variables: names::variables(long, declared),
            kind: kind(arg),
            arg: arg.clone(),
        })
    }

    /// The variable that is told to operators.
    pub fn variable(&self) -> &str {
        self.variables.first().map_or("", String::as_str)
    }

    /// Its default, where it has one.
    pub fn default(&self) -> Vec<String> {
        if self.kind == Kind::Flag {
            return vec!["false".to_owned()];
        }
        self.arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect()
    }
}

fn kind(arg: &Arg) -> Kind {
    let numbers = [
        TypeId::of::<u8>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
        TypeId::of::<i64>(),
        TypeId::of::<f32>(),
        TypeId::of::<f64>(),
    ];
    let of = arg.get_value_parser().type_id();
    match arg.get_action() {
        ArgAction::SetTrue => Kind::Flag,
        ArgAction::Append => Kind::Texts,
        _ if numbers.iter().any(|number| of == *number) => Kind::Number,
        _ => Kind::Text,
    }
}
