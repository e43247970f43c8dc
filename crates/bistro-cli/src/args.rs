//! The flags. Each is a setting: it has a variable `BISTRO_…` and a key in a file, and is understood in all of Bittensor's
//! spellings, without more being said here than its name ([`crate::settings`]). Credentials and endpoints of buckets come from AWS's own
//! variables (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`, `AWS_REGION`), never from flags, which
//! `ps` shows to everybody.

use std::path::PathBuf;

use bistro_core::protocol::Encoding;
pub use bistro_flags::{SubtensorArgs, WalletArgs};

pub use crate::training::TrainingArgs;
pub use crate::watch::WatchArgs;
use bistro_core::tokens::Packing;
use bistro_model::TrainOptions;
use clap::{Args, ValueEnum};

use crate::data::DataArgs;

/// All flags of the miner.
#[derive(Args, Clone, Debug)]
pub struct MinerFlags {
    /// Those of both programs.
    #[command(flatten)]
    pub common: Common,
    /// Its own.
    #[command(flatten)]
    pub miner: MinerArgs,
}

/// All flags of the validator.
#[derive(Args, Clone, Debug)]
pub struct ValidatorFlags {
    /// Those of both programs.
    #[command(flatten)]
    pub common: Common,
    /// Its own.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Flags that every command of both programs has.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// A file with settings (`config init` writes one); `bistro.toml` of the working folder, if it is there. Given several
    /// times, the later files win. Variable: `BISTRO_CONFIG`, with `:` between files.
    #[arg(long, short, global = true, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Logs.
    #[command(flatten)]
    pub logging: LoggingArgs,
}

/// Heading of the flags that say where a program works. A heading goes on to whatever follows, so each of them names it.
const PLACE: &str = "Place";

/// Flags of both programs.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Wallet and hotkey.
    #[command(flatten)]
    pub wallet: WalletArgs,
    /// The chain.
    #[command(flatten)]
    pub subtensor: SubtensorArgs,
    /// Your bucket: `NAME`, or `NAME@REGION` where the region is not the default. It is committed on the chain.
    /// Needed, but not with a subcommand that has no use for it.
    #[arg(long, env = "BISTRO_BUCKET", value_name = "BUCKET", help_heading = PLACE)]
    pub bucket: Option<String>,
    /// Where the model computes: `cpu`, `cuda` or `cuda:N`.
    #[arg(long, env = "BISTRO_DEVICE", default_value = "cpu", help_heading = PLACE)]
    pub device: String,
    /// The dataset.
    #[command(flatten)]
    pub dataset: DataArgs,
    /// Folder of this program's state; by default one for each subnet and hotkey below `~/.bistro`.
    #[arg(long, env = "BISTRO_DATA_DIR", value_name = "DIR", help_heading = PLACE)]
    pub data_dir: Option<PathBuf>,
    /// Threads on which the model computes; all cores by default.
    #[arg(long, env = "BISTRO_THREADS", value_name = "N", help_heading = PLACE)]
    pub threads: Option<usize>,
    /// End with status 75, to be started again, once the loop has stood still for this many seconds; 0 never does. The
    /// longest single thing that it does must fit: a step of training, a loss, a request's deadline.
    #[arg(long, env = "BISTRO_STALL_AFTER", default_value_t = 900, value_name = "SECONDS", help_heading = PLACE)]
    pub stall_after: u64,
    /// How the program is watched.
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// What is logged, to standard error.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logs")]
pub struct LoggingArgs {
    /// Form of the log lines.
    #[arg(long, global = true, env = "BISTRO_LOG_FORMAT", default_value = "pretty")]
    pub log_format: LogFormat,
    /// More detail (as `-v`).
    #[arg(long = "logging.debug", global = true, short = 'v')]
    pub debug: bool,
    /// All detail.
    #[arg(long = "logging.trace", global = true)]
    pub trace: bool,
    /// Only warnings and errors, unless more detail is asked for.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Colours in the log: `auto` is at a terminal, unless `NO_COLOR` is set.
    #[arg(long, global = true, env = "BISTRO_COLOR", default_value = "auto", value_name = "WHEN")]
    pub color: Colour,
}

/// When the log is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// Where somebody looks at it.
    Auto,
    /// Even into a file or a pipe.
    Always,
    /// Not at all.
    Never,
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Flags of the miner alone.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Mining")]
pub struct MinerArgs {
    /// Your own idea of the rules (a name or a file of `config/rules/`): if the run's differ, you are told and nothing runs.
    #[arg(long, value_name = "NAME|FILE")]
    pub rules: Option<String>,
    /// How deltas are stored.
    #[arg(long = "delta.encoding", env = "BISTRO_DELTA_ENCODING", default_value = "fine", value_name = "ENCODING")]
    pub encoding: EncodingArg,
    /// Sequences of one optimizer step.
    #[arg(long, alias = "desired_batch_size", default_value_t = 2, value_name = "N")]
    pub batch_size: usize,
    /// How training goes.
    #[command(flatten)]
    pub training: TrainingArgs,
}

/// Encodings by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EncodingArg {
    /// 32-bit floats.
    F32,
    /// bfloat16: half the size.
    Bf16,
    /// 8 bits a value, blocks of 256: a quarter.
    Int8,
    /// 4 bits a value, blocks of 256: an eighth.
    Int4,
    /// The largest 128 of each 4096 values.
    #[value(name = "topk")]
    TopK,
    /// Low rank and entropy-coded, in fine steps.
    Fine,
    /// Low rank and entropy-coded, in coarse steps: what is left goes with later deltas.
    Coarse,
}

impl From<EncodingArg> for Encoding {
    fn from(arg: EncodingArg) -> Self {
        match arg {
            EncodingArg::F32 => Self::F32,
            EncodingArg::Bf16 => Self::Bf16,
            EncodingArg::Int8 => Self::Int8,
            EncodingArg::Int4 => Self::Int4,
            EncodingArg::TopK => Self::TopK,
            EncodingArg::Fine => Self::Fine,
            EncodingArg::Coarse => Self::Coarse,
        }
    }
}

/// Ways of packing by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PackingArg {
    /// Joined with end-of-text and cut: no padding.
    Join,
    /// Each document begins a sequence, which is filled up: the original's.
    Pad,
}

impl From<PackingArg> for Packing {
    fn from(arg: PackingArg) -> Self {
        match arg {
            PackingArg::Join => Self::Join,
            PackingArg::Pad => Self::Pad,
        }
    }
}

/// Flags of the validator alone: the rules with which it begins a run. A run that exists keeps its rules, and these must
/// agree with them.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The run's rules")]
pub struct RunArgs {
    /// The mechanism: `recommended`, `readme`, or a file like those of `config/rules/`.
    #[arg(long, env = "BISTRO_RULES", default_value = "recommended", value_name = "NAME|FILE")]
    pub rules: String,
    /// The model: `nano`, `135m`, `small`, `1b`, `7b`, a `config.json` of a Llama, or a model folder, whose weights a new run
    /// begins with.
    #[arg(long, env = "BISTRO_MODEL", default_value = "nano", value_name = "PRESET|FILE|DIR")]
    pub model: String,
    /// Tokens of a sequence; the model's own length by default.
    #[arg(long, value_name = "N")]
    pub sequence_length: Option<usize>,
    /// Rows of the dataset in a page.
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub rows_per_page: u64,
    /// Most bytes of a row where rows are cut out of text files; 2048 by default.
    #[arg(long, value_name = "N")]
    pub row_bytes: Option<u64>,
    /// How documents become sequences.
    #[arg(long = "pack", default_value = "join", value_name = "HOW")]
    pub packing: PackingArg,
    /// Seed of the first master's weights.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub init_seed: u64,
    /// Sequences evaluated at once at most; as many as memory and speed suggest by default.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    pub batch_size: usize,
    /// Keep the copy of the master that trials start from in host memory, not in the device's.
    #[arg(long)]
    pub offload_base: bool,
}

impl RunArgs {
    /// How a validator's model computes.
    pub fn options(&self, threads: Option<usize>) -> TrainOptions {
        TrainOptions {
            micro_batch: self.batch_size,
            threads,
            trains: false,
            offload_base: self.offload_base,
            ..TrainOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Miner {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        miner: MinerArgs,
    }

    /// The original README's command lines, word for word behind the program's name.
    #[test]
    fn the_readme_line_is_understood() {
        let line = "bistro-miner --wallet.name alice --wallet.hotkey h1 --subtensor.network test --netuid 212 \
                    --bucket decis --device cuda:1";
        let args = Miner::try_parse_from(line.split_whitespace()).unwrap();
        assert_eq!((args.common.wallet.name().as_str(), args.common.wallet.hotkey.as_str()), ("alice", "h1"));
        assert_eq!((args.common.subtensor.network.as_deref(), args.common.subtensor.netuid), (Some("test"), 212));
        assert_eq!((args.common.bucket.as_deref(), args.common.device.as_str()), (Some("decis"), "cuda:1"));
        assert_eq!(args.miner.encoding, EncodingArg::Fine);
    }
}
