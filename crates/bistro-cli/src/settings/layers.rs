//! What each file, the environment and the command line say, laid over each other.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use bistro_flags::names;
use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use fs_err as fs;

use super::keys::{Key, Keys};
use super::{Setting, value};

/// Tables of a file that concern one of the programs alone.
const ROLES: [&str; 2] = ["miner", "validator"];
/// A configuration that is longer is something else.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Where a node is, and which chain it must be of, are one choice: half of it does not come from below the other half.
const ONE_CHOICE: [&str; 2] = ["subtensor_network", "subtensor_chain_endpoint"];

/// Who says a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    CommandLine,
    /// A variable of this name.
    Variable(String),
    /// A file.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What one origin says, by the words of each setting's name.
struct Layer {
    origin: Origin,
    /// Origins that count as one.
    rank: usize,
    values: BTreeMap<String, Vec<String>>,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let values = self.values.iter().map(|(words, texts)| (words.clone(), Value::from(texts.clone())));
        Ok(Map::from([(Profile::Default, values.collect())]))
    }
}

/// Files in their order, the environment over them, the command line over all; and every mistake in them.
pub(super) fn merge(
    role: &str,
    keys: &Keys,
    files: &[PathBuf],
    variables: &BTreeMap<String, String>,
    typed: BTreeMap<String, Vec<String>>,
) -> (BTreeMap<String, Setting>, Vec<String>) {
    let mut mistakes = Vec::new();
    let mut layers: Vec<Layer> = Vec::new();
    for path in files {
        match read(path) {
            Ok(dict) => layers.extend(of_file(role, keys, path, layers.len(), dict, &mut mistakes)),
            Err(why) => mistakes.push(why),
        }
    }
    let rank = layers.len();
    layers.extend(of_environment(keys, variables, &mut mistakes).into_iter().map(|layer| Layer { rank, ..layer }));
    layers.push(Layer { origin: Origin::CommandLine, rank: rank + 1, values: typed });
    let choice = layers.iter().filter(|layer| ONE_CHOICE.iter().any(|key| layer.values.contains_key(*key)));
    if let Some(best) = choice.map(|layer| layer.rank).max() {
        for layer in layers.iter_mut().filter(|layer| layer.rank < best) {
            layer.values.retain(|words, _| !ONE_CHOICE.contains(&words.as_str()));
        }
    }
    let merged = layers.iter().fold(Figment::new(), Figment::merge);
    let setting = |key: &Key| {
        let values = merged.extract_inner(&key.words).ok()?;
        let named = &merged.find_metadata(&key.words)?.name;
        let origin = layers.iter().rev().map(|layer| &layer.origin).find(|origin| *named == origin.to_string())?;
        Some((key.words.clone(), Setting { values, origin: origin.clone() }))
    };
    (keys.iter().filter_map(setting).collect(), mistakes)
}

fn read(path: &Path) -> Result<Dict, String> {
    let length = fs::metadata(path).map_err(|error| format!("the configuration cannot be read: {error}"))?.len();
    if length > MAX_FILE_BYTES {
        return Err(format!("{}: {length} bytes are no configuration", path.display()));
    }
    let mut profiles = Toml::file_exact(path).data().map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(profiles.remove(&Profile::Default).unwrap_or_default())
}

/// A file's own settings, and over them those in its table for this program.
fn of_file(
    role: &str,
    keys: &Keys,
    path: &Path,
    rank: usize,
    mut dict: Dict,
    mistakes: &mut Vec<String>,
) -> Vec<Layer> {
    let mut tables = Vec::new();
    for name in ROLES {
        match dict.remove(name) {
            Some(Value::Dict(_, table)) if name == role => tables.push(table),
            None | Some(Value::Dict(..)) => {}
            Some(_) => mistakes.push(format!("{}: `{name}` must be a table: [{name}]", path.display())),
        }
    }
    let layer = |(above, dict): (usize, Dict)| {
        let mut flat = Vec::new();
        flatten("", dict, &mut flat);
        let mut values = BTreeMap::new();
        for (written, found) in flat {
            match understood(role, keys, &written, &found) {
                Ok((words, texts)) => {
                    if values.insert(words, texts).is_some() {
                        mistakes.push(format!("{}: `{written}` is set twice, in two spellings", path.display()));
                    }
                }
                Err(why) => mistakes.push(format!("{}: {why}", path.display())),
            }
        }
        Layer { origin: Origin::File(path.to_owned()), rank: rank + above, values }
    };
    std::iter::once(dict).chain(tables).enumerate().map(layer).collect()
}

fn flatten(prefix: &str, dict: Dict, into: &mut Vec<(String, Value)>) {
    for (name, value) in dict {
        let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Dict(_, below) => flatten(&name, below, into),
            value => into.push((name, value)),
        }
    }
}

fn understood(role: &str, keys: &Keys, written: &str, found: &Value) -> Result<(String, Vec<String>), String> {
    let Some(key) = keys.get(written) else {
        let like = keys.like(written).map(|name| format!("; did you mean `{name}`?"));
        let list = || {
            format!(
                ": `bistro-{role} config init --out -` lists all; what the other program alone has goes into a table of its name"
            )
        };
        return Err(format!("there is no setting `{written}`{}", like.unwrap_or_else(list)));
    };
    let texts = value::texts(key, found).map_err(|why| format!("`{written}` {why}"))?;
    value::check(key, &texts).map_err(|why| format!("`{written}`: {why}"))?;
    Ok((key.words.clone(), texts))
}

/// One layer a variable, so that each is named. An empty variable counts as none.
fn of_environment(keys: &Keys, variables: &BTreeMap<String, String>, mistakes: &mut Vec<String>) -> Vec<Layer> {
    let mut layers = Vec::new();
    for key in keys.iter() {
        let set = |name: &&String| variables.get(*name).is_some_and(|value| !value.is_empty());
        let Some(name) = key.variables.iter().find(set) else { continue };
        let texts = vec![variables[name].clone()];
        match value::check(key, &texts) {
            Ok(()) => {
                let values = BTreeMap::from([(key.words.clone(), texts)]);
                layers.push(Layer { origin: Origin::Variable(name.clone()), rank: 0, values });
            }
            Err(why) => mistakes.push(format!("variable {name}: {why}")),
        }
    }
    layers
}

/// Variables that are nearly one of the settings'.
pub(super) fn misspelt(keys: &Keys, variables: &BTreeMap<String, String>) -> Vec<String> {
    let known = |name: &str| keys.iter().any(|key| key.variables.iter().any(|v| v == name));
    let names = variables.keys().filter_map(|name| Some((name, name.strip_prefix("BISTRO_")?)));
    let meant = |(name, rest): (&String, &str)| {
        let words = names::words(rest).to_lowercase();
        let alike = |key: &&Key| strsim::normalized_damerau_levenshtein(&words, &key.words);
        let best = keys.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
        let close = !known(name) && alike(&best) > 0.75;
        close.then(|| format!("the variable {name} sets nothing; did you mean {}?", best.variable()))
    };
    names.filter_map(meant).collect()
}
