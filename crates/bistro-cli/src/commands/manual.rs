//! What is made from the flags themselves: completions for shells, manual pages, and the page `docs/cli.md`.

use std::fmt::Write as _; // into a string, which never fails
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Arg, Args, Command};
use clap_complete::Shell;
use fs_err as fs;

/// Flags of `completions`.
#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Flags of `man`.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Write the page of the program and one of each command into this folder, instead of printing the program's.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print all of it as Markdown: the program's part of `docs/cli.md`.
    #[arg(long)]
    markdown: bool,
}

/// Prints what a shell wants, to be sourced or put where it looks.
pub fn completions(args: &CompletionsArgs, mut command: Command) -> Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}

/// Prints or writes the manual.
pub fn man(args: &ManArgs, command: Command) -> Result<()> {
    if args.markdown {
        return Ok(std::io::stdout().write_all(markdown(command).as_bytes())?);
    }
    if let Some(folder) = &args.out {
        fs::create_dir_all(folder)?;
        return Ok(clap_mangen::generate_to(command, folder)?);
    }
    let mut page = Vec::new();
    // As `generate_to` has it: without the command `help`.
    clap_mangen::Man::new(command.disable_help_subcommand(true)).render(&mut page)?;
    Ok(std::io::stdout().write_all(&page)?)
}

/// A program with all its commands, as Markdown.
pub fn markdown(mut command: Command) -> String {
    command.build();
    let mut text = String::new();
    let name = command.get_name().to_owned();
    one(&mut text, &mut command, &name, 2);
    text
}

fn one(text: &mut String, command: &mut Command, name: &str, depth: usize) {
    let _ = write!(text, "{} `{name}`\n\n", "#".repeat(depth));
    let about = command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string).unwrap_or_default();
    for paragraph in about.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        let _ = write!(text, "{}\n\n", words(paragraph));
    }
    let usage = command.render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let _ = write!(text, "```text\n{usage}\n```\n\n");
    // A flag that every command has stands with the program alone.
    let shown = |arg: &&Arg| !arg.is_hide_set() && (depth == 2 || !arg.is_global_set()) && arg.get_id() != "help";
    let all: Vec<&Arg> = command.get_arguments().filter(shown).filter(|arg| arg.get_id() != "version").collect();
    let mut headings: Vec<Option<&str>> = Vec::new();
    for arg in &all {
        if !headings.contains(&arg.get_help_heading()) {
            headings.push(arg.get_help_heading());
        }
    }
    for heading in headings {
        let _ = writeln!(text, "| {} | default | variable | |\n|---|---|---|---|", heading.unwrap_or("flag"));
        for arg in all.iter().filter(|arg| arg.get_help_heading() == heading) {
            row(text, arg);
        }
        text.push('\n');
    }
    let below: Vec<_> = command
        .get_subcommands()
        .filter(|c| c.get_name() != "help" && !c.is_hide_set())
        .map(|c| c.get_name().to_owned())
        .collect();
    for sub in below {
        if let Some(command) = command.find_subcommand_mut(&sub) {
            one(text, command, &format!("{name} {sub}"), depth + 1);
        }
    }
}

fn row(text: &mut String, arg: &Arg) {
    let values =
        arg.get_value_names().unwrap_or_default().iter().map(clap::builder::Str::as_str).collect::<Vec<_>>().join(" ");
    let flag = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (None, Some(long)) => format!("--{long}"),
        _ => String::new(),
    };
    let takes = arg.get_action().takes_values() && !values.is_empty();
    let flag = match (takes, arg.is_require_equals_set()) {
        (true, true) => format!("{flag}[={values}]"),
        (true, false) => format!("{flag} {values}").trim().to_owned(),
        (false, _) => flag,
    };
    let defaults = arg.get_default_values().iter().filter(|_| !arg.is_hide_default_value_set());
    let default = defaults.map(|value| format!("`{}`", value.to_string_lossy())).collect::<Vec<_>>().join(" ");
    let variable = arg.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
    let mut help = words(&arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default());
    let possible: Vec<_> = arg
        .get_possible_values()
        .iter()
        .filter(|_| !arg.is_hide_possible_values_set())
        .map(|v| format!("`{}`", v.get_name()))
        .collect();
    if takes && !possible.is_empty() {
        let _ = write!(help, ": {}", possible.join(", "));
    }
    let _ = writeln!(text, "| `{}` | {} | {variable} | {} |", cell(&flag), cell(&default), cell(&help));
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
