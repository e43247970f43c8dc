//! Settings as they are in force, and as a commented file.

use std::fmt::Write as _; // into a string, which never fails

use serde_json::{Map, Value, json};

use super::keys::{Key, Kind};
use super::{Settings, value};

/// Columns of a comment.
const WIDTH: usize = 110;

/// All settings as a file would have them; with `origin`, behind each where it is from.
pub fn text(settings: &Settings, origin: bool) -> String {
    let mut text = String::new();
    for key in settings.keys.iter() {
        let (values, from) = in_force(settings, key);
        let name = settings.keys.in_file(key);
        let line =
            if values.is_empty() { format!("# {name} is not set") } else { format!("{name} = {}", toml(key, &values)) };
        let _ =
            if origin && !values.is_empty() { writeln!(text, "{line:<56} # {from}") } else { writeln!(text, "{line}") };
    }
    text
}

/// The same as one document: each setting's value, or null, and where it is from.
pub fn json(settings: &Settings) -> Value {
    let one = |key: &Key| {
        let (values, origin) = in_force(settings, key);
        let value = if values.is_empty() { Value::Null } else { plain(key, &values) };
        let about =
            json!({"value": value, "origin": origin, "flag": format!("--{}", key.long), "variables": key.variables});
        (settings.keys.in_file(key), about)
    };
    let files: Vec<_> = settings.files.iter().map(|file| file.display().to_string()).collect();
    json!({"files": files, "settings": settings.keys.iter().map(one).collect::<Map<_, _>>()})
}

/// A file with every setting in it, explained and commented out, at its default.
pub fn template(settings: &Settings, program: &str) -> String {
    let intro = format!(
        "Settings of {program}. What is commented out stands at its default, or is not set. A flag wins over a variable, a \
         variable over this file; a name may be written with points, lines or underscores, as the flag is. Read from \
         `bistro.toml` in the working folder, or with --config FILE. Keys of buckets and passwords have no place here: they \
         come from AWS's and Bittensor's own variables."
    );
    let mut text = comment(&intro);
    let mut heading = None;
    for key in settings.keys.iter() {
        let group = key.arg.get_help_heading().unwrap_or("General");
        if heading.replace(group) != Some(group) {
            let _ = write!(text, "\n# ---- {group} ----\n");
        }
        let _ = write!(text, "\n{}", comment(&help(key)));
        let name = settings.keys.in_file(key);
        let default = key.default();
        let example = if default.is_empty() { vec![placeholder(key)] } else { default };
        let _ = writeln!(text, "# {name} = {}", toml(key, &example));
    }
    text
}

/// What a setting is, with the values it may have.
pub fn help(key: &Key) -> String {
    let help = key.arg.get_long_help().or_else(|| key.arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let possible: Vec<_> = key
        .arg
        .get_possible_values()
        .iter()
        .map(|value| value.get_name().to_owned())
        .filter(|_| key.kind == Kind::Text)
        .collect();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    // Clap takes the full stop away.
    let help = if help.is_empty() || help.ends_with(['.', '!', '?']) { help } else { help + "." };
    if possible.is_empty() { help } else { format!("{help} One of: {}.", possible.join(", ")) }
}

fn in_force(settings: &Settings, key: &Key) -> (Vec<String>, String) {
    match settings.set.get(&key.words) {
        Some(setting) => (setting.values.clone(), setting.origin.to_string()),
        None => (key.default(), "default".to_owned()),
    }
}

fn placeholder(key: &Key) -> String {
    let name = key.arg.get_value_names().and_then(|names| names.first()).map_or("VALUE", |name| name.as_str());
    if key.kind == Kind::Number { "0".to_owned() } else { name.to_owned() }
}

fn toml(key: &Key, values: &[String]) -> String {
    let one = |value: &String| match key.kind {
        Kind::Flag | Kind::Number => value.clone(),
        Kind::Text | Kind::Texts => toml::Value::String(value::shown(value)).to_string(),
    };
    match values {
        [single] => one(single),
        several => format!("[{}]", several.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}

fn plain(key: &Key, values: &[String]) -> Value {
    let one = |value: &String| match key.kind {
        // As they are written: no digit is lost or won.
        Kind::Flag | Kind::Number => serde_json::from_str(value).unwrap_or_else(|_| Value::from(value.as_str())),
        Kind::Text | Kind::Texts => Value::from(value::shown(value)),
    };
    match (key.kind, values) {
        (Kind::Texts, several) => several.iter().map(one).collect(),
        (_, several) => several.first().map_or(Value::Null, one),
    }
}

/// `text` as comment lines.
fn comment(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full = lines.last().is_some_and(|line| !line.is_empty() && line.len() + word.len() + 3 > WIDTH);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.iter().fold(String::new(), |all, line| all + "#" + line + "\n")
}
