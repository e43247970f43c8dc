use std::path::Path;

use clap::{CommandFactory as _, Parser};
use fs_err as fs;

use super::*;
use crate::args::{Global, MinerFlags, ValidatorFlags};
use crate::settings::keys::Kind;

#[derive(Parser)]
struct Miner {
    #[command(flatten)]
    global: Global,
    #[command(flatten)]
    flags: MinerFlags,
    #[command(subcommand)]
    command: Option<Below>,
}

#[derive(Parser)]
struct Validator {
    #[command(flatten)]
    global: Global,
    #[command(flatten)]
    flags: ValidatorFlags,
}

#[derive(clap::Subcommand)]
enum Below {
    /// As without a command.
    Run(Box<MinerFlags>),
    /// A command with a bucket, and another model than the program's.
    Check {
        #[arg(long, env = "BISTRO_BUCKET")]
        bucket: String,
        /// A folder.
        #[arg(long)]
        device: Option<String>,
    },
}

fn programs() -> [(&'static str, Command); 2] {
    [("miner", Miner::command()), ("validator", Validator::command())]
}

/// What a program is given: flags, variables, and a file's content.
fn settings(
    role: &str,
    line: &[&str],
    variables: &[(&str, &str)],
    file: &str,
) -> Result<(ArgMatches, Settings), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bistro.toml");
    fs::write(&path, file).unwrap();
    let given = Given {
        arguments: std::iter::once("p").chain(line.iter().copied()).map(Into::into).collect(),
        variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        file: Some(&path),
    };
    let command = programs().into_iter().find(|(name, _)| *name == role).unwrap().1;
    let place = format!("{}/", folder.path().display());
    read(role, command, &given).map_err(|error| error.to_string().replace(&place, ""))
}

fn value(matches: &ArgMatches, key: &Key) -> Vec<String> {
    let raw = matches.get_raw(key.arg.get_id().as_str()).unwrap_or_default();
    raw.map(|value| value.to_string_lossy().into_owned()).collect()
}

/// Three values of a setting, no two neighbours equal, and the first not its default.
fn samples(key: &Key) -> [String; 3] {
    let possible: Vec<_> = key.arg.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect();
    let pick = |at: usize| match key.kind {
        Kind::Flag => at.is_multiple_of(2).to_string(),
        Kind::Number => (at + 31).to_string(),
        Kind::Text if !possible.is_empty() => possible[at % possible.len()].clone(),
        // What wants to be an address takes a port.
        Kind::Text | Kind::Texts if value::check(key, &["sample".to_owned()]).is_err() => (9100 + at).to_string(),
        Kind::Text | Kind::Texts => format!("sample-{at}"),
    };
    let from = usize::from(key.kind == Kind::Text && key.default() == [pick(0)]);
    [pick(from), pick(from + 1), pick(from + 2)]
}

fn in_toml(key: &Key, value: &str) -> String {
    if matches!(key.kind, Kind::Flag | Kind::Number) { value.to_owned() } else { format!("{value:?}") }
}

/// Command line over variable over file over default, for every flag of both programs.
#[test]
fn every_flag_is_laid_over_its_variable_its_key_and_its_default() {
    for (role, command) in programs() {
        let keys = Keys::of(&command);
        assert!(keys.iter().count() > 25);
        for key in keys.iter() {
            let [file, variable, flag] = samples(key);
            let file_text = format!("{} = {}", keys.in_file(key), in_toml(key, &file));
            let flag_text = format!("--{}={flag}", key.long);
            let line = [flag_text.as_str()];
            let env = [(key.variable(), variable.as_str())];
            // How many of flag, variable and file say something, from the file up.
            let cases = [
                (3, vec![flag], "command line"),
                (2, vec![variable.clone()], key.variable()),
                (1, vec![file], "bistro.toml"),
                (0, key.default(), ""),
            ];
            for (said_by, wanted, origin) in cases {
                let line: &[&str] = if said_by > 2 { &line } else { &[] };
                let env: &[(&str, &str)] = if said_by > 1 { &env } else { &[] };
                let file = if said_by > 0 { file_text.as_str() } else { "" };
                let (matches, settings) =
                    settings(role, line, env, file).unwrap_or_else(|e| panic!("{}: {e}", key.long));
                assert_eq!(value(&matches, key), wanted, "{} of {role}, {origin}", key.long);
                let said = settings.set.get(&key.words).map(|s| s.origin.to_string()).unwrap_or_default();
                assert!(said.ends_with(origin), "{}: {said} instead of {origin}", key.long);
            }
        }
    }
}

#[test]
fn every_spelling_means_the_same_as_a_flag_and_in_a_file() {
    for (role, command) in programs() {
        for key in Keys::of(&command).iter() {
            let [sample, ..] = samples(key);
            for spelling in bistro_flags::names::spellings(&key.long) {
                let typed = settings(role, &[&format!("--{spelling}={sample}")], &[], "").unwrap();
                let filed = settings(role, &[], &[], &format!("{spelling} = {}", in_toml(key, &sample))).unwrap();
                for (matches, settings) in [typed, filed] {
                    assert_eq!(value(&matches, key), std::slice::from_ref(&sample), "{spelling} of {role}");
                    assert_eq!(settings.set.len(), 1, "{spelling} of {role}");
                }
            }
        }
    }
}

#[test]
fn names_of_settings_differ_in_more_than_their_separators() {
    for (role, command) in programs() {
        let mut words: Vec<_> = Keys::of(&command).iter().map(|key| key.words.clone()).collect();
        words.sort_unstable();
        let before = words.len();
        words.dedup();
        assert_eq!(words.len(), before, "{role}: {words:?}");
    }
}

#[test]
fn mistakes_in_a_file_are_named_with_file_and_key_all_at_once() {
    let file =
        "walet.name = \"x\"\nnetuid = \"two\"\nbucket = 5\n[logging]\ndebug = \"yes\"\n[delta]\nencoding = \"fien\"\n";
    let said = settings("miner", &[], &[], file).unwrap_err();
    for wanted in [
        "bistro.toml: there is no setting `walet.name`; did you mean `wallet.name`?",
        "bistro.toml: `netuid` wants a number, and is string \"two\"",
        "bistro.toml: `bucket` wants a text in quotes, and is",
        "bistro.toml: `logging.debug` wants true or false",
        "bistro.toml: `delta.encoding`: invalid value 'fien'",
        "fine",
    ] {
        assert!(said.contains(wanted), "{wanted} is not in {said}");
    }
    let said = settings("miner", &[], &[], "netuid = 70000").unwrap_err();
    assert!(said.contains("`netuid`") && said.contains("70000"), "{said}");
    let said = settings("miner", &[], &[], "bucket = \"a\nnetuid = 1").unwrap_err();
    assert!(said.contains("bistro.toml") && said.contains("line 1"), "{said}");
    let said = settings("miner", &[], &[], "batch-size = 1\nbatch_size = 2").unwrap_err();
    assert!(said.contains("twice"), "{said}");
    let said = settings("miner", &["--config", "/nowhere/b.toml"], &[], "").unwrap_err();
    assert!(said.contains("/nowhere/b.toml"), "{said}");
}

#[test]
fn mistakes_in_a_variable_name_it() {
    let said = settings("miner", &[], &[("BISTRO_NETUID", "two")], "").unwrap_err();
    assert!(said.contains("variable BISTRO_NETUID") && said.contains("invalid digit"), "{said}");
    let (_, found) = settings("miner", &[], &[("BISTRO_BUKET", "b"), ("BISTRO_CACHE", "c")], "").unwrap();
    assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
    assert!(found.notes[0].contains("BISTRO_BUKET") && found.notes[0].contains("BISTRO_BUCKET"), "{:?}", found.notes);
    let (_, empty) = settings("miner", &[], &[("BISTRO_NETUID", "")], "netuid = 3").unwrap();
    assert_eq!(empty.set["netuid"].values, ["3"], "an empty variable counts as none");
}

#[test]
fn a_program_s_own_table_is_laid_over_what_both_share() {
    let file =
        "batch-size = 3\nbucket = \"both\"\n[miner]\nbatch-size = 5\n[validator]\nbatch-size = 7\nmodel = \"135m\"\n";
    for (role, batch) in [("miner", "5"), ("validator", "7")] {
        let (_, settings) = settings(role, &[], &[], file).unwrap();
        assert_eq!((&settings.set["batch_size"].values[0][..], &settings.set["bucket"].values[0][..]), (batch, "both"));
    }
}

#[test]
fn later_files_win_and_bistro_config_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a.toml", "b.toml"].map(|name| folder.path().join(name).display().to_string());
    fs::write(&a, "netuid = 1\nbucket = \"of-a\"").unwrap();
    fs::write(&b, "netuid = 2").unwrap();
    let both = format!("{a}:{b}");
    for (line, env) in [(vec!["-c", &a, "--config", &b], vec![]), (vec![], vec![("BISTRO_CONFIG", both.as_str())])] {
        let (_, found) = settings("validator", &line, &env, "device = \"cuda\"").unwrap();
        assert_eq!((&found.set["netuid"].values[0][..], &found.set["bucket"].values[0][..]), ("2", "of-a"));
        assert_eq!(found.set["netuid"].origin, Origin::File(b.clone().into()));
        assert!(!found.set.contains_key("device"), "the file of the working folder is read where no other is named");
    }
}

#[test]
fn bittensor_s_variables_count_below_bistro_s() {
    let env = [("BT_WALLET_NAME", "old"), ("BT_WALLET", "older"), ("BT_LOGGING_DEBUG", "1"), ("BT_NETWORK", "test")];
    let (matches, found) = settings("miner", &[], &env, "wallet.name = \"file\"").unwrap();
    assert_eq!(found.set["wallet_name"].values, ["old"]);
    assert!(matches.get_flag("debug"), "1 is as good as true");
    assert_eq!(found.set["subtensor_network"].origin, Origin::Variable("BT_NETWORK".into()));
    let both = [("BT_WALLET_NAME", "old"), ("BISTRO_WALLET_NAME", "new")];
    assert_eq!(settings("miner", &[], &both, "").unwrap().1.set["wallet_name"].values, ["new"]);
}

/// Half of a choice from the file would be a node of another chain than the one asked for.
#[test]
fn a_network_that_is_asked_for_does_not_get_the_file_s_endpoint() {
    let file = "subtensor.network = \"local\"\nsubtensor.chain_endpoint = \"ws://10.0.0.1:9944\"";
    let (_, found) = settings("miner", &["--subtensor.network", "test"], &[], file).unwrap();
    assert_eq!(found.set["subtensor_network"].values, ["test"]);
    assert!(!found.set.contains_key("subtensor_chain_endpoint"));
    let (_, found) = settings("miner", &[], &[("BT_CHAIN_ENDPOINT", "ws://h")], file).unwrap();
    assert!(!found.set.contains_key("subtensor_network"));
    assert_eq!(settings("miner", &[], &[], file).unwrap().1.set.len(), 2);
}

#[test]
fn a_command_behind_the_line_has_the_line_s_flags() {
    let line = ["--netuid", "3", "--bucket", "mine", "run", "--netuid", "4"];
    let (matches, found) = settings("miner", &line, &[], "device = \"cuda\"").unwrap();
    let (name, below) = matches.subcommand().unwrap();
    assert_eq!((name, below.get_one::<u16>("netuid")), ("run", Some(&4)), "what stands last counts");
    assert_eq!(below.get_one::<String>("bucket").unwrap(), "mine");
    assert_eq!(below.get_one::<String>("device").unwrap(), "cuda");
    assert_eq!(found.set["netuid"].values, ["4"]);
}

#[test]
fn a_command_takes_what_it_shares_and_nothing_of_the_same_name() {
    let (matches, _) = settings("miner", &["check"], &[], "bucket = \"mine\"\ndevice = \"cuda\"").unwrap();
    let below = matches.subcommand().unwrap().1;
    assert_eq!(below.get_one::<String>("bucket").unwrap(), "mine", "one that is needed can come from a file");
    assert_eq!(below.get_one::<String>("device"), None, "it is another flag");
    let said = settings("miner", &["--netuid", "3", "check"], &[], "").unwrap_err();
    assert!(said.contains("`check` has no flag `--netuid`"), "{said}");
}

#[test]
fn what_is_shown_can_be_read_again_and_means_the_same() {
    for (role, _) in programs() {
        let line = ["--bucket", "a \"quoted\" one", "--chain-endpoint", "ws://a,ws://b", "--logging.debug"];
        let (_, found) = settings(role, &line, &[("BISTRO_NETUID", "7")], "cache.mb = 5").unwrap();
        let shown = show::text(&found, true);
        assert!(shown.contains("# variable BISTRO_NETUID") && shown.contains("# command line"), "{shown}");
        let (_, again) = settings(role, &[], &[], &shown).unwrap();
        for key in again.keys.iter().filter(|key| found.set.contains_key(&key.words)) {
            assert_eq!(again.set[&key.words].values, found.set[&key.words].values, "{}", key.long);
        }
        let json = show::json(&found);
        assert_eq!(json["settings"]["netuid"]["value"], 7);
        assert_eq!(json["settings"]["subtensor.chain_endpoint"]["value"][1], "ws://b");
        assert_eq!(json["settings"]["threads"]["value"], serde_json::Value::Null);
    }
}

/// With every `# ` before a setting taken away, the file that `config init` writes is one that the program reads.
#[test]
fn a_new_file_names_every_setting_and_can_be_read() {
    for (role, _) in programs() {
        let (_, found) = settings(role, &[], &[], "").unwrap();
        let text = show::template(&found, "bistro-x");
        assert!(settings(role, &[], &[], &text).unwrap().1.set.is_empty(), "all of it is commented out");
        let setting = |line: &&str| {
            line.strip_prefix("# ")
                .is_some_and(|l| l.split_once(" = ").is_some_and(|(name, _)| found.keys.get(name).is_some()))
        };
        let open: Vec<_> = text.lines().filter(setting).map(|line| &line[2..]).collect();
        assert_eq!(open.len(), found.keys.iter().count());
        // What has no default shows what kind of thing it wants, which need not be one.
        let default = |line: &&&str| {
            found.keys.get(line.split(" = ").next().unwrap()).is_some_and(|key| !key.default().is_empty())
        };
        let open: Vec<_> = open.iter().filter(default).copied().collect();
        let (_, again) = settings(role, &[], &[], &open.join("\n")).unwrap_or_else(|e| panic!("{e}"));
        for key in again.keys.iter().filter(|key| !key.default().is_empty()) {
            assert_eq!(again.set[&key.words].values, key.default(), "{}", key.long);
        }
    }
}

/// The shipped files are what `config init` writes, and those of the networks mean something to both programs.
#[test]
fn shipped_files_are_up_to_date() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    for (role, _) in programs() {
        let (_, found) = settings(role, &[], &[], "").unwrap();
        let (file, program) = (config.join(format!("{role}.toml")), format!("bistro-{role}"));
        let now = show::template(&found, &program);
        if std::env::var_os("BISTRO_UPDATE_DOCS").is_some() {
            fs::write(&file, &now).unwrap();
        }
        let stale = fs::read_to_string(&file).unwrap_or_default() != now;
        assert!(
            !stale,
            "config/{role}.toml is stale: BISTRO_UPDATE_DOCS=1 cargo nextest run -p bistro-cli shipped_files"
        );
    }
    let mut seen = 0;
    for file in fs::read_dir(config.join("networks")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for (role, _) in programs() {
            seen += settings(role, &[], &[], &text).unwrap().1.set.len();
        }
    }
    assert!(seen > 4, "{seen}");
}
