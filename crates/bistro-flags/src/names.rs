//! One name, many spellings: of a flag on the command line, of its variable, of its key in a file.
//!
//! `--wallet.name`, `--wallet-name` and `--wallet_name` are the same flag, and so are `wallet.name`, `wallet-name` and
//! `[wallet] name` in a file: what separates the words says nothing.

use std::collections::HashSet;

use clap::Command;

/// Flags whose variables Bittensor's own tools have too, as `BT_…`.
const BITTENSOR: [&str; 3] = ["wallet_", "subtensor_", "logging_"];

/// Variables of Bittensor's tools that are not named after the flag.
const OTHERS: [(&str, &str); 3] = [
    ("wallet_name", "BT_WALLET"),
    ("subtensor_network", "BT_NETWORK"),
    ("subtensor_chain_endpoint", "BT_CHAIN_ENDPOINT"),
];

/// The words of a name, joined by `_`: equal for all its spellings.
pub fn words(name: &str) -> String {
    name.replace(['.', '-'], "_")
}

/// The variables that set a flag, the first one that is set wins: `BISTRO_…`, then what it `declared`, then Bittensor's own.
pub fn variables(long: &str, declared: Option<&str>) -> Vec<String> {
    let words = words(long);
    let mut all = vec![format!("BISTRO_{}", words.to_uppercase())];
    all.extend(declared.map(Into::into));
    all.extend(
        BITTENSOR.iter().any(|prefix| words.starts_with(prefix)).then(|| format!("BT_{}", words.to_uppercase())),
    );
    all.extend(OTHERS.iter().filter(|(of, _)| *of == words).map(|(_, name)| (*name).to_owned()));
    let mut seen = HashSet::new();
    all.retain(|name| seen.insert(name.clone()));
    all
}

/// All ways to write a flag: a point may be a line, and a line of either kind the other.
pub fn spellings(long: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for letter in long.chars() {
        let forms = match letter {
            '.' => vec!['.', '-', '_'],
            '-' | '_' => vec!['-', '_'],
            other => vec![other],
        };
        all = all.iter().flat_map(|begun| forms.iter().map(move |form| format!("{begun}{form}"))).collect();
    }
    all
}

/// The same command, each of whose flags, and each of whose subcommands' flags, is understood in every spelling.
pub fn spelled(command: Command) -> Command {
    let longs = |arg: &clap::Arg| -> Vec<String> {
        let also = arg.get_all_aliases().unwrap_or_default();
        arg.get_long().into_iter().chain(also).map(Into::into).collect()
    };
    let mut taken: HashSet<String> = command.get_arguments().flat_map(longs).collect();
    let command = command.mut_args(|arg| {
        let more: Vec<_> =
            longs(&arg).iter().flat_map(|long| spellings(long)).filter(|s| taken.insert(s.clone())).collect();
        arg.aliases(more)
    });
    command.mut_subcommands(spelled)
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction};

    use super::*;

    #[test]
    fn a_flag_has_its_spellings_and_no_others_do() {
        let command = Command::new("p").subcommand(Command::new("sub").arg(Arg::new("s").long("cache.mb")));
        let command = spelled(command.arg(Arg::new("a").long("a.b_c").alias("other-name").action(ArgAction::SetTrue)));
        for flag in ["a.b_c", "a.b-c", "a-b_c", "a-b-c", "a_b_c", "a_b-c", "other_name"] {
            let given = command.clone().try_get_matches_from(["p", &format!("--{flag}")]).unwrap();
            assert!(given.get_flag("a"), "{flag}");
        }
        assert!(command.clone().try_get_matches_from(["p", "--a.b.c"]).is_err(), "no table lies there");
        assert!(command.clone().try_get_matches_from(["p", "sub", "--cache-mb", "1"]).is_ok());
    }

    #[test]
    fn bistro_s_own_variable_comes_before_bittensor_s() {
        assert_eq!(
            variables("wallet.name", Some("BT_WALLET_NAME")),
            ["BISTRO_WALLET_NAME", "BT_WALLET_NAME", "BT_WALLET"]
        );
        assert_eq!(variables("batch-size", None), ["BISTRO_BATCH_SIZE"]);
        assert_eq!(variables("bucket", Some("BISTRO_BUCKET")), ["BISTRO_BUCKET"]);
        assert_eq!(variables("logging.debug", None), ["BISTRO_LOGGING_DEBUG", "BT_LOGGING_DEBUG"]);
    }
}
