//! The programs as child processes, each with a log of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;
use tokio::process::{Child, Command};

use super::Options;
use crate::network::LocalNetwork;

/// How long a program may take to end after it was asked to.
const FAREWELL: Duration = Duration::from_mins(1);

/// Rows of a page: about 1700 tokens of the speeches, so that a verdict takes seconds on one core.
const ROWS_PER_PAGE: &str = "4";

/// All programs of the demo.
pub struct Processes {
    programs: Vec<Program>,
}

/// One program, and how it is started.
struct Program {
    name: String,
    path: PathBuf,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Child,
}

impl Processes {
    /// Starts the validator, the honest miners and the poisoner.
    pub fn start(network: &LocalNetwork, options: &Options) -> Result<Self> {
        let here = std::env::current_exe()?;
        let folder = here.parent().context("this program lies in no folder")?;
        let logs = network.setup.dir.join("logs");
        fs::create_dir_all(&logs)?;
        let corpus = std::path::absolute(&options.corpus)?;
        let model_flags = [
            "--dataset".to_owned(),
            format!("dir:{}", corpus.display()),
            "--device".to_owned(),
            "cpu".to_owned(),
            "--threads".to_owned(),
            "1".to_owned(),
        ];
        let run_flags =
            ["--rules", &options.rules, "--model", &options.model, "--rows-per-page", ROWS_PER_PAGE].map(str::to_owned);
        let mut programs = Vec::new();
        for (i, member) in network.members.iter().enumerate() {
            let (program, mut flags) = match i {
                0 => ("bistro-validator", [&model_flags[..], &run_flags].concat()),
                _ if i == network.members.len() - 1 => ("bistro-localnet", Vec::new()),
                _ => ("bistro-miner", model_flags.to_vec()),
            };
            if program == "bistro-localnet" {
                flags.insert(0, "poison".to_owned());
            }
            flags.extend(network.flags(member));
            let (path, environment) = (folder.join(program), network.environment(member));
            let log = logs.join(format!("{}.log", member.name));
            let child = spawn(&path, &flags, &environment, &log)?;
            programs.push(Program { name: member.name.clone(), path, flags, environment, log, child });
        }
        Ok(Self { programs })
    }

    /// How many programs there are.
    pub fn count(&self) -> usize {
        self.programs.len()
    }

    /// Ends program `n` without warning, as a power cut would, and starts it again; its name.
    pub async fn kill(&mut self, n: usize) -> Result<&str> {
        let program = &mut self.programs[n];
        program.child.kill().await?;
        program.child = spawn(&program.path, &program.flags, &program.environment, &program.log)?;
        Ok(&program.name)
    }

    /// Fails if a program has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        for Program { name, child, log, .. } in &mut self.programs {
            if let Some(status) = child.try_wait()? {
                bail!("{name} ended by itself ({status}):\n{}", tail(log));
            }
        }
        Ok(())
    }

    /// Ends the miners, then the validator, as Ctrl-C would.
    pub async fn stop(&mut self) -> Result<()> {
        // The validator last: what the miners uploaded is judged by somebody who still runs.
        let (validator, miners) = self.programs.split_at_mut(1);
        for group in [miners, validator] {
            for program in &*group {
                interrupt(&program.child).await?;
            }
            for Program { name, child, log, .. } in group {
                let Ok(status) = tokio::time::timeout(FAREWELL, child.wait()).await else {
                    child.kill().await?;
                    bail!("{name} did not end within {} s:\n{}", FAREWELL.as_secs(), tail(log));
                };
                let status = status?;
                if !status.success() {
                    bail!("{name} ended with {status}:\n{}", tail(log));
                }
            }
        }
        Ok(())
    }
}

fn spawn(program: &Path, flags: &[String], environment: &[(String, String)], log: &Path) -> Result<Child> {
    if !program.exists() {
        bail!("{} is not built: run scripts/demo.sh, which builds all three programs", program.display());
    }
    // Appended to: a program that is started again goes on in the log of its earlier life.
    let log_file = fs::OpenOptions::new().create(true).append(true).open(log)?.into_parts().0;
    let child = Command::new(program)
        .args(flags)
        .envs(environment.iter().cloned())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(log_file.try_clone()?)
        .stderr(log_file)
        .kill_on_drop(true)
        // Its own process group: Ctrl-C in the terminal reaches the demo, which ends its programs in order.
        .process_group(0)
        .spawn()
        .with_context(|| format!("{} does not start", program.display()))?;
    Ok(child)
}

/// SIGINT by the system's own `kill`: no unsafe code for one signal.
async fn interrupt(child: &Child) -> Result<()> {
    let Some(id) = child.id() else { return Ok(()) };
    Command::new("kill").args(["-INT", &id.to_string()]).stderr(Stdio::null()).status().await?;
    Ok(())
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
