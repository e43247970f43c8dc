//! The texts of the troubleshooting page.

use std::fs;
use std::path::{Path, PathBuf};

use crate::pages;

/// A piece between two `…` that is shorter says too little to be looked for.
const SHORTEST: usize = 6;

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["target", "tests", "corpus", "node_modules"].contains(&name.as_str()) {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs" || e == "sh") {
            found.push(path);
        }
    }
}

/// Sources as the compiler reads their texts: a line that ends in a backslash goes on with the next one's first word.
fn joined(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\\n") {
        out += before;
        rest = after.trim_start();
    }
    (out + rest).replace("\\\"", "\"")
}

#[test]
fn every_quoted_error_is_one_that_the_programs_print() {
    let mut files = Vec::new();
    for dir in ["crates", "bin", "scripts"] {
        sources(&pages::root().join(dir), &mut files);
    }
    let sources: Vec<String> = files.iter().map(|file| joined(&fs::read_to_string(file).unwrap())).collect();
    let page = pages::all().into_iter().find(|p| p.name == "docs/operations/troubleshooting.md").unwrap();
    let headings: Vec<&str> =
        page.text.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    assert!(headings.len() >= 30, "only {} errors are answered", headings.len());
    let unknown: Vec<&str> = headings
        .into_iter()
        .filter(|text| {
            let pieces: Vec<&str> = text.split('…').map(str::trim).filter(|piece| piece.len() >= SHORTEST).collect();
            // All of them in one file: an error's text is not spread.
            pieces.is_empty() || !sources.iter().any(|source| pieces.iter().all(|piece| source.contains(piece)))
        })
        .collect();
    assert!(unknown.is_empty(), "no program prints these any more:\n{}", unknown.join("\n"));
}

#[test]
fn a_text_over_two_lines_is_one() {
    assert_eq!(joined("\"one \\\n     two \\\"x\\\"\""), "\"one two \"x\"\"");
}
