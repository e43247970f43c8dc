//! A value in a file or a variable, checked as on the command line.

use clap::Command;
use figment::value::Value;

use super::keys::{Key, Kind};

/// What a file's value is on a command line: one text, or several.
///
/// # Errors
/// What is wanted and what is there, where it is of another kind.
pub fn texts(key: &Key, value: &Value) -> Result<Vec<String>, String> {
    let one = |value: &Value| match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Char(_, letter) => Some(letter.to_string()),
        _ => None,
    };
    let found = match (key.kind, value) {
        (Kind::Flag, Value::Bool(_, set)) => Some(vec![set.to_string()]),
        (Kind::Number, Value::Num(..)) => number(value).map(|text| vec![text]),
        (Kind::Texts, Value::Array(_, all)) => all.iter().map(one).collect(),
        (Kind::Text | Kind::Texts, value) => one(value).map(|text| vec![text]),
        _ => None,
    };
    found.ok_or_else(|| {
        let wanted = match key.kind {
            Kind::Flag => "true or false",
            Kind::Number => "a number",
            Kind::Text => "a text in quotes",
            Kind::Texts => "a text in quotes, or several between brackets",
        };
        format!("wants {wanted}, and is {}", value.to_actual())
    })
}

fn number(value: &Value) -> Option<String> {
    let whole = value.to_i128().map(|n| n.to_string()).or_else(|| value.to_u128().map(|n| n.to_string()));
    whole.or_else(|| value.to_f64().map(|n| n.to_string()))
}

/// Reads the texts as the flag reads them.
///
/// # Errors
/// Clap's own words, with the values that are possible.
pub fn check(key: &Key, values: &[String]) -> Result<(), String> {
    let flag = super::command::layered(key.arg.clone(), key).required(false).global(false).env(None::<&str>);
    let alone = Command::new("").no_binary_name(true).disable_help_flag(true).arg(flag);
    let line = values.iter().map(|value| format!("--{}={value}", key.long));
    let Err(error) = alone.try_get_matches_from(line) else { return Ok(()) };
    let said = error.to_string();
    // Clap goes on about usage and help.
    let said = said.strip_prefix("error: ").unwrap_or(&said).split("\n\nUsage").next().unwrap_or_default();
    let lines =
        said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    Err(lines.collect::<Vec<_>>().join("; "))
}

/// A value as it may be shown: an address without the name, password and query that could let others in.
pub fn shown(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let (address, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let (host, path) = address.split_at(address.find('/').unwrap_or(address.len()));
    let host = host.rsplit_once('@').map_or_else(|| host.to_owned(), |(_, host)| format!("***@{host}"));
    let hidden = if query.is_empty() { "" } else { "?***" };
    format!("{scheme}://{host}{path}{hidden}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_lets_others_in() {
        assert_eq!(shown("wss://me:hush@node.example:443/v1?key=hush"), "wss://***@node.example:443/v1?***");
        assert_eq!(shown("ws://127.0.0.1:9944"), "ws://127.0.0.1:9944");
        assert_eq!(shown("dir:corpus/a@b"), "dir:corpus/a@b");
        assert_eq!(shown("parquet:https://h/p#hush"), "parquet:https://h/p?***");
    }
}
