//! Examines the set-up: every check of [`crate::doctor`].

use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::doctor::subject::{Subject, World};
use crate::doctor::{Verdict, release, run};
use crate::exit::{self, Ended};

/// How long a quick look waits for a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Flags of `doctor`; `F` are the program's own.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs<F: Args> {
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// Make only the checks that a start makes too: nothing is written into the bucket, no dataset is read.
    #[arg(long)]
    quick: bool,
    /// Ask whether there is a newer release, at GitHub's address for this project's or at another that answers as it does.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true, default_missing_value = release::LATEST, conflicts_with = "quick")]
    check_updates: Option<String>,
    /// The program's flags, as it would run.
    #[command(flatten)]
    pub flags: F,
}

/// Makes the checks and prints them.
///
/// # Errors
/// [`Ended`] with [`exit::UNHEALTHY`] if one failed.
pub async fn run<F: Args>(args: &DoctorArgs<F>, subject: Subject) -> Result<()> {
    let program = subject.program();
    let report = if args.quick {
        let world = Box::pin(World::open(&subject, PATIENCE)).await;
        Box::pin(run::quickly(subject, &world)).await
    } else {
        Box::pin(run::every(subject, args.check_updates.as_deref())).await
    };
    let text = if args.json { format!("{:#}\n", report.json(&program)) } else { report.text() };
    std::io::stdout().write_all(text.as_bytes())?;
    match report.with(Verdict::Fail).count() {
        0 => Ok(()),
        failed => {
            let message = format!("{failed} checks failed: see docs/operations/doctor.md");
            Err(Ended { status: exit::UNHEALTHY, message }.into())
        }
    }
}
