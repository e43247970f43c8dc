//! Every command line of the pages, held against the programs' own parsers.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use crate::pages::{self, Page};

const PROGRAMS: [&str; 3] = ["bistro-miner", "bistro-validator", "bistro-localnet"];

/// A program beside this test: `cargo nextest run --workspace` builds them all.
fn program(name: &str) -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let path = me.parent().unwrap().parent().unwrap().join(name);
    assert!(path.exists(), "{} is not built: cargo build -p {name}", path.display());
    path
}

/// The commands of a shell's block: continued lines joined, comments off, one for each part of a pipeline or list.
fn commands(block: &str) -> Vec<Vec<String>> {
    let text = block.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split(" #").next().unwrap().replace(" && ", "\n").replace(" | ", "\n").replace(" || ", "\n");
        for part in line.lines() {
            let words = words_of(part);
            // Variables before the program, and files behind it, are the shell's.
            let words = words.into_iter().skip_while(|w| w.contains('=') && !w.starts_with('-'));
            let words: Vec<String> =
                words.take_while(|w| ![">", "2>", "<", "<<END", "&"].contains(&w.as_str())).collect();
            if words.first().is_some_and(|first| PROGRAMS.contains(&first.as_str())) {
                found.push(words);
            }
        }
    }
    found
}

/// Words as a shell cuts them, quotes taken off; none if a quote stays open.
fn words_of(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() { Vec::new() } else { words }
}

/// Usage lines say what may be: `[--seed N]` may be left out and is given here, `index|verify` are two lines, and a single
/// capital letter is some number.
fn expanded(words: &[String]) -> Vec<Vec<String>> {
    let mut lines = vec![Vec::new()];
    for word in words {
        let word = word.trim_start_matches('[').trim_end_matches(']');
        let choices: Vec<&str> =
            if word.starts_with('-') || word.contains("//") { vec![word] } else { word.split('|').collect() };
        let choices = choices.into_iter().map(|choice| match choice {
            one if one.len() == 1 && one.chars().all(|c| c.is_ascii_uppercase()) => "1",
            other => other,
        });
        let choices: Vec<&str> = choices.collect();
        lines = lines
            .iter()
            .flat_map(|line| choices.iter().map(move |c| [&line[..], &[(*c).to_owned()]].concat()))
            .collect();
    }
    lines
}

/// Whether the program's parser takes the line. Nothing is run: with `--help` behind it, a sound line prints help, and an
/// unknown flag, subcommand or value before it is still an error.
fn refused(words: &[String]) -> Option<String> {
    let output = Command::new(program(&words[0])).args(&words[1..]).arg("--help").env_clear().output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn of_blocks(page: &Page) -> Vec<Vec<String>> {
    let shells =
        page.blocks().into_iter().filter(|block| ["", "sh", "bash", "console"].contains(&block.language.as_str()));
    shells.flat_map(|block| commands(&block.text)).collect()
}

/// Spans that are whole commands: the program and at least a word.
fn of_spans(page: &Page) -> Vec<Vec<String>> {
    page.spans()
        .iter()
        .filter(|span| !span.contains('…'))
        .flat_map(|span| commands(span))
        .filter(|words| words.len() > 1)
        .collect()
}

#[test]
fn every_command_of_the_pages_is_understood_by_its_program() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    // docs/cli.md is made from the parsers themselves, and its usage lines are no commands.
    for page in pages::all().iter().filter(|page| !["CHANGELOG.md", "docs/cli.md"].contains(&page.name.as_str())) {
        for words in [of_blocks(page), of_spans(page)].concat() {
            for line in expanded(&words) {
                if seen.insert(line.clone())
                    && let Some(why) = refused(&line)
                {
                    wrong.push(format!(
                        "{}: {}\n    {}",
                        page.name,
                        line.join(" "),
                        why.lines().next().unwrap_or_default()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these are refused:\n{}", wrong.join("\n"));
    assert!(seen.len() > 20, "only {} commands were found: is the reader of pages broken?", seen.len());
}

/// Names of flags in `program PATH --help`, and of those below it.
fn flags(words: &[String], found: &mut BTreeSet<String>) {
    let output = Command::new(program(&words[0])).args(&words[1..]).arg("--help").env_clear().output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let name = |word: &str| word.trim_end_matches(|c: char| !c.is_alphanumeric()).to_owned();
    found.extend(
        help.split(|c: char| c.is_whitespace() || "[,`=".contains(c)).filter(|w| w.starts_with("--")).map(name),
    );
    let commands =
        help.split_once("Commands:\n").map_or("", |(_, rest)| rest.split_once("\n\n").map_or(rest, |(c, _)| c));
    for line in commands.lines() {
        // Two spaces, then the name; deeper lines go on with the words about it.
        let Some(command) = line.strip_prefix("  ").filter(|l| !l.starts_with(' ')) else { continue };
        let command = command.split_whitespace().next().unwrap().to_owned();
        if command != "help" {
            flags(&[words, &[command]].concat(), found);
        }
    }
}

/// Whether the program's parser does not know the flag; one that it knows may still want a value.
fn is_unknown(name: &str, flag: &str) -> bool {
    let output = Command::new(program(name)).args([flag, "--help"]).env_clear().output().unwrap();
    String::from_utf8_lossy(&output.stderr).contains("unexpected argument")
}

/// Flags of other programs that the pages name alone.
const OTHERS: [&str; 4] = ["--release", "--workspace", "--cuda", "--cpu"];

#[test]
fn every_flag_that_the_pages_name_is_a_flag_of_some_program() {
    let mut known = BTreeSet::new();
    for program in PROGRAMS {
        flags(&[program.to_owned()], &mut known);
    }
    assert!(known.contains("--wallet.name") && known.contains("--block-time"), "{known:?}");
    let scripts: String = ["scripts", "scripts/bench"]
        .iter()
        .flat_map(|dir| std::fs::read_dir(pages::root().join(dir)).unwrap())
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
        .collect();
    let mut wrong = BTreeSet::new();
    for page in pages::all().iter().filter(|page| page.name != "CHANGELOG.md") {
        for span in page.spans().iter().filter(|span| span.starts_with("--")) {
            for word in span.split([' ', '=', '`', '|']).filter(|word| word.starts_with("--") && word.len() > 2) {
                let flag = word.trim_end_matches(|c: char| !c.is_alphanumeric());
                if !known.contains(flag) && !OTHERS.contains(&flag) && !scripts.contains(flag) {
                    wrong.insert((flag.to_owned(), page.name.clone()));
                }
            }
        }
    }
    // Spellings that help does not show.
    wrong.retain(|(flag, _)| PROGRAMS.iter().all(|program| is_unknown(program, flag)));
    assert!(wrong.is_empty(), "no program has these flags: {wrong:?}");
}

#[test]
fn usage_lines_become_lines_that_can_be_typed() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        expanded(&words("bistro-validator dataset index|verify [--seed N]")),
        [words("bistro-validator dataset index --seed 1"), words("bistro-validator dataset verify --seed 1")]
    );
    let block = "export A=1\nX=y bistro-miner --bucket B \\\n  --netuid 3   # why\nls && bistro-localnet up > log";
    assert_eq!(commands(block), [words("bistro-miner --bucket B --netuid 3"), words("bistro-localnet up")]);
    assert!(refused(&words("bistro-miner --no-such-flag x")).is_some());
    assert!(refused(&words("bistro-miner --netuid many")).is_some());
    assert!(refused(&words("bistro-miner --netuid 1")).is_none());
}
