//! Shows, checks and begins a configuration.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use fs_err as fs;

use crate::settings::{FILE, Settings, show};

/// Flags of `config`; `F` are the program's own.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs<F: Args> {
    #[command(subcommand)]
    what: What<F>,
}

#[derive(Subcommand, Clone, Debug)]
enum What<F: Args> {
    /// Prints every setting as it is in force, as a file would have it. Flags, variables and files count as when the program runs.
    Show(Box<ShowArgs<F>>),
    /// Checks the file, the variables and the flags: names, kinds and values. Exit status: 0, or 2 with every mistake.
    Check(Box<CheckArgs<F>>),
    /// Writes a file with every setting in it, explained and commented out.
    Init(InitArgs),
}

#[derive(Args, Clone, Debug)]
struct ShowArgs<F: Args> {
    /// Name behind each value where it is from.
    #[arg(long)]
    origin: bool,
    /// Print one JSON document, with origins.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: F,
}

#[derive(Args, Clone, Debug)]
struct CheckArgs<F: Args> {
    #[command(flatten)]
    flags: F,
}

#[derive(Args, Clone, Debug)]
struct InitArgs {
    /// The file to write; `-` prints it. One that exists is left alone.
    #[arg(long, default_value = FILE, value_name = "FILE")]
    out: PathBuf,
}

/// Runs the command.
pub fn run<F: Args>(args: &ConfigArgs<F>, settings: &Settings, program: &str) -> Result<()> {
    match &args.what {
        What::Show(args) if args.json => print(&format!("{:#}\n", show::json(settings))),
        What::Show(args) => print(&show::text(settings, args.origin)),
        What::Check(_) => print(&checked(settings)),
        What::Init(args) if args.out.as_os_str() == "-" => print(&show::template(settings, program)),
        What::Init(args) => {
            let mut options = fs::OpenOptions::new();
            match options.write(true).create_new(true).open(&args.out) {
                Ok(mut file) => file.write_all(show::template(settings, program).as_bytes())?,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    bail!(
                        "{} exists, and is left as it is: move it away, or choose another name with --out",
                        args.out.display()
                    )
                }
                Err(error) => return Err(error.into()),
            }
            print(&format!("wrote {}; next: edit it, then `{program} config check`\n", args.out.display()))
        }
    }
}

/// What was read, with the mistakes that are none for certain. Whoever comes here has made no other.
fn checked(settings: &Settings) -> String {
    use std::fmt::Write as _; // into a string, which never fails

    let files: Vec<_> = settings.files.iter().map(|file| file.display().to_string()).collect();
    let read = if files.is_empty() { "no file".to_owned() } else { files.join(", ") };
    let mut text = format!(
        "{read}: {} of {} settings are set, and all are understood\n",
        settings.set.len(),
        settings.keys.iter().count()
    );
    for note in &settings.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

fn print(text: &str) -> Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
