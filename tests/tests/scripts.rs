//! The scripts, run for real in a checkout of their own: what they refuse, what they leave alone, what they pass on.
//! Nothing is downloaded and nothing compiled: the cache holds a stand-in for libtorch, and `cargo` is a stub.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A checkout with the real scripts, a cache that setup.sh finds complete, and a folder of stubs first on the PATH.
struct Checkout {
    root: PathBuf,
}

impl Checkout {
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scripts").join(name);
        if root.exists() {
            fs::remove_dir_all(&root).unwrap();
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
        fs::create_dir_all(root.join("checkout/scripts")).unwrap();
        for script in ["lib.sh", "setup.sh", "test.sh", "demo.sh", "localnet.sh", "release.sh"] {
            fs::copy(source.join(script), root.join("checkout/scripts").join(script)).unwrap();
        }
        fs::create_dir_all(root.join("cache/corpus/sotu")).unwrap();
        let checkout = Self { root };
        checkout.libtorch("cache/libtorch-2.11.0-cpu", "2.11.0+cpu");
        checkout.program("stubs/cargo", "echo \"cargo $*\"");
        checkout
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// As much of a libtorch as the scripts look at.
    fn libtorch(&self, at: &str, version: &str) -> PathBuf {
        let dir = self.path(at);
        fs::create_dir_all(dir.join("lib")).unwrap();
        fs::create_dir_all(dir.join("include")).unwrap();
        fs::write(dir.join("lib/libtorch_cpu.so"), "").unwrap();
        fs::write(dir.join("build-version"), version).unwrap();
        dir
    }

    fn program(&self, at: &str, body: &str) {
        let file = self.path(at);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, script: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
        let path = format!("{}:{}", self.path("stubs").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(self.path("checkout/scripts").join(script));
        command.args(arguments).current_dir(&self.root).env("PATH", path).env("BISTRO_CACHE", self.path("cache"));
        for inherited in ["LIBTORCH", "LIBTORCH_USE_PYTORCH", "CARGO_TARGET_DIR", "VIRTUAL_ENV"] {
            command.env_remove(inherited);
        }
        Outcome(command.envs(environment.iter().copied()).output().unwrap())
    }
}

struct Outcome(Output);

impl Outcome {
    fn ok(&self) -> bool {
        self.0.status.success()
    }

    /// Both streams, for what a script says goes to one and what its programs print to the other.
    fn text(&self) -> String {
        String::from_utf8_lossy(&[&self.0.stdout[..], &self.0.stderr[..]].concat()).into_owned()
    }
}

#[test]
fn set_up_links_the_cache_and_does_nothing_the_second_time() {
    let checkout = Checkout::new("twice");
    let first = checkout.run("setup.sh", &[], &[]);
    assert!(first.ok(), "{}", first.text());
    assert_eq!(fs::read_link(checkout.path("checkout/.libtorch")).unwrap(), checkout.path("cache/libtorch-2.11.0-cpu"));
    assert!(checkout.path("checkout/corpus/sotu").is_dir());

    let second = checkout.run("setup.sh", &[], &[]);
    assert!(second.ok());
    assert_eq!(second.text(), "set up already: nothing to do\n");
}

#[test]
fn a_libtorch_of_another_version_is_refused_with_the_version_wanted() {
    let checkout = Checkout::new("wrong");
    let other = checkout.libtorch("mine", "2.10.0+cu128");
    let refused = checkout.run("setup.sh", &[], &[("LIBTORCH", other.to_str().unwrap())]);
    assert!(!refused.ok());
    assert!(refused.text().contains("holds libtorch 2.10.0, and libtorch 2.11.0 is wanted"), "{}", refused.text());
}

#[test]
fn a_libtorch_of_ones_own_is_used_as_it_is() {
    let checkout = Checkout::new("own");
    let own = checkout.libtorch("mine", "2.11.0+cu128");
    let accepted = checkout.run("setup.sh", &[], &[("LIBTORCH", own.to_str().unwrap())]);
    assert!(accepted.ok(), "{}", accepted.text());
    assert!(!checkout.path("checkout/.libtorch").exists(), "nothing else was set up beside it");
}

#[test]
fn the_version_is_read_from_the_headers_where_no_version_file_is() {
    let checkout = Checkout::new("headers");
    let own = checkout.libtorch("mine", "");
    fs::remove_file(own.join("build-version")).unwrap();
    fs::create_dir_all(own.join("include/torch/headeronly")).unwrap();
    for (minor, accepted) in [(11, true), (12, false)] {
        let header = format!(
            "/// Major\n#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR {minor}\n#define TORCH_VERSION_PATCH 0\n\
             #define TORCH_VERSION_ABI_TAG 0\n"
        );
        fs::write(own.join("include/torch/headeronly/version.h"), header).unwrap();
        let outcome = checkout.run("setup.sh", &[], &[("LIBTORCH", own.to_str().unwrap())]);
        assert_eq!(outcome.ok(), accepted, "{}", outcome.text());
    }
}

#[test]
fn a_chosen_libtorch_survives_a_later_plain_set_up() {
    let checkout = Checkout::new("cuda");
    let cuda = checkout.libtorch("cache/libtorch-2.11.0-cuda/torch", "2.11.0+cu130");
    fs::write(cuda.join("lib/libtorch_cuda.so"), "").unwrap();
    assert!(checkout.run("setup.sh", &["--cuda"], &[]).ok());
    assert!(checkout.run("setup.sh", &[], &[]).ok());
    assert_eq!(fs::read_link(checkout.path("checkout/.libtorch")).unwrap(), cuda);
    assert!(checkout.run("setup.sh", &["--cpu"], &[]).ok());
    assert_ne!(fs::read_link(checkout.path("checkout/.libtorch")).unwrap(), cuda);
}

#[test]
fn set_up_never_replaces_what_is_not_its_link() {
    let checkout = Checkout::new("in-the-way");
    fs::create_dir_all(checkout.path("checkout/.libtorch")).unwrap();
    fs::write(checkout.path("checkout/.libtorch/mine"), "precious").unwrap();
    let refused = checkout.run("setup.sh", &[], &[]);
    assert!(!refused.ok());
    assert!(refused.text().contains("is in the way"), "{}", refused.text());
    assert_eq!(fs::read_to_string(checkout.path("checkout/.libtorch/mine")).unwrap(), "precious");
}

#[test]
fn one_failing_check_fails_the_whole_and_is_named_and_hides_no_other() {
    let checkout = Checkout::new("gate");
    symlink(checkout.path("cache/libtorch-2.11.0-cpu"), checkout.path("checkout/.libtorch")).unwrap();
    checkout.program("stubs/cargo", "echo \"cargo $*\"; test \"$1\" != clippy");

    let failed = checkout.run("test.sh", &["fmt", "clippy", "test"], &[]);
    assert!(!failed.ok());
    assert!(failed.text().contains("error: failed: clippy\n"), "{}", failed.text());
    assert!(failed.text().contains("cargo nextest run --locked --workspace"), "{}", failed.text());

    let passed = checkout.run("test.sh", &["fmt", "test"], &[]);
    assert!(passed.ok(), "{}", passed.text());
    assert!(!checkout.run("test.sh", &["fnt"], &[]).ok(), "a misspelt step must not pass for a passed one");
}

#[test]
fn the_demo_gets_its_arguments_and_the_callers_folder() {
    let checkout = Checkout::new("demo");
    checkout.program("cache/target/debug/bistro-localnet", "echo \"debug in $PWD: $*\"");
    checkout.program("cache/target/release/bistro-localnet", "echo \"release: $*\"; exit 3");

    let run = checkout.run("demo.sh", &["--miners", "3", "--json", "a b.json"], &[]);
    assert!(run.ok(), "{}", run.text());
    let root = checkout.path("checkout");
    let expected = format!(
        "debug in {}: demo --corpus {}/corpus/sotu --miners 3 --json a b.json\n",
        checkout.root.display(),
        root.display()
    );
    assert!(run.text().contains(&expected), "{}", run.text());
    assert!(run.text().contains("cargo build --locked"), "{}", run.text());

    let release = checkout.run("demo.sh", &["--release", "--keep"], &[]);
    assert_eq!(release.0.status.code(), Some(3), "the demo's verdict is the script's");
    assert!(release.text().contains("release: demo") && !release.text().contains("--release --keep"));
    assert!(release.text().contains("-p bistro-localnet --release"), "{}", release.text());
}

#[test]
fn a_local_network_is_built_and_told_where_the_text_is() {
    let checkout = Checkout::new("localnet");
    checkout.program("cache/target/debug/bistro-localnet", "echo \"in $PWD: $*\"");
    let run = checkout.run("localnet.sh", &["--miners", "1"], &[]);
    assert!(run.ok(), "{}", run.text());
    let corpus = checkout.path("checkout/corpus/sotu");
    let expected =
        format!("in {}: up --corpus {} --block-time 2000 --miners 1\n", checkout.root.display(), corpus.display());
    assert!(run.text().contains(&expected), "{}", run.text());
    assert!(run.text().contains("cargo build --locked -p bistro-localnet -p bistro-miner -p bistro-validator"));
}

/// A checkout of which a release can be made: stand-ins for the programs, their crates and libtorch.
fn of_a_release(name: &str) -> Checkout {
    let checkout = Checkout::new(name);
    let write = |at: &str, text: &str| {
        let file = checkout.path(at);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    let licences = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/release/licences.py");
    write("checkout/scripts/release/licences.py", &fs::read_to_string(licences).unwrap());
    write(
        "checkout/Cargo.toml",
        "[workspace.package]\nversion = \"1.2.3\"\n[workspace.dependencies]\nversion = \"9\"\n",
    );
    for page in ["README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", "docs/quickstart.md", "config/models/nano.json"]
    {
        write(&format!("checkout/{page}"), page);
    }
    let libtorch = "cache/libtorch-2.11.0-cpu";
    for library in ["libc10.so", "libgomp.so.1", "libcudart.so.13", "libcupti.so.13"] {
        write(&format!("{libtorch}/lib/{library}"), library);
    }
    write(&format!("{libtorch}/licences/torch/LICENSE"), "torch's");
    write("registry/helper/Cargo.toml", "");
    write("registry/helper/LICENSE-MIT", "Permission is hereby granted");
    let helper = checkout.path("registry/helper/Cargo.toml");
    let package = |name: &str, manifest: &Path| {
        format!(
            "{{\"id\": \"{name}\", \"name\": \"{name}\", \"version\": \"1\", \"license\": \"MIT\", \"manifest_path\": \"{}\"}}",
            manifest.display()
        )
    };
    let node = |name: &str, kind: &str, deps: &[&str]| {
        let deps: Vec<_> =
            deps.iter().map(|dep| format!("{{\"pkg\": \"{dep}\", \"dep_kinds\": [{{\"kind\": {kind}}}]}}")).collect();
        format!("{{\"id\": \"{name}\", \"deps\": [{}]}}", deps.join(","))
    };
    let metadata = format!(
        "{{\"packages\": [{}], \"workspace_members\": [\"bistro-miner\", \"bistro-validator\"], \"resolve\": {{\"nodes\": [{}]}}}}",
        ["bistro-miner", "bistro-validator", "helper", "tester"].map(|name| package(name, &helper)).join(","),
        [
            node("bistro-miner", "null", &["helper"]),
            node("bistro-validator", "\"dev\"", &["tester"]),
            node("helper", "null", &[]),
            node("tester", "null", &[]),
        ]
        .join(",")
    );
    write("metadata.json", &metadata);
    checkout.program("stubs/cargo", &format!("cat {}", checkout.path("metadata.json").display()));
    for program in ["bistro-miner", "bistro-validator"] {
        let manual = "[ \"$1\" != man ] || echo manual >\"$3/$(basename \"$0\").1\"";
        checkout.program(&format!("programs/{program}"), &format!("{manual}\necho \"$(basename \"$0\") $*\""));
    }
    checkout
}

fn listed(archive: &Path) -> Vec<String> {
    let output = Command::new("tar").arg("-tzf").arg(archive).output().unwrap();
    let mut names: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    names.retain(|name| !name.ends_with('/'));
    names
}

#[test]
fn a_release_holds_programs_libraries_manuals_and_licences_and_its_sum_is_right() {
    let checkout = of_a_release("release");
    let programs = checkout.path("programs");
    let made = checkout.run("release.sh", &["--programs", programs.to_str().unwrap(), "--out", "dist"], &[]);
    assert!(made.ok(), "{}", made.text());
    let dist = checkout.path("dist");
    let sums = Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(&dist).output().unwrap();
    assert!(sums.status.success(), "{}", String::from_utf8_lossy(&sums.stdout));
    let archive = dist.join("bistro-1.2.3-x86_64-linux.tar.gz");
    let names = listed(&archive);
    for wanted in [
        "bin/bistro-miner",
        "bin/bistro-validator",
        "lib/libtorch_cpu.so",
        "lib/libtorch.so",
        "lib/libcupti.so.13",
        "share/man/man1/bistro-miner.1",
        "share/bash-completion/completions/bistro-validator",
        "share/doc/bistro/quickstart.md",
        "config/models/nano.json",
        "licences/torch/LICENSE",
        "licences/crates.txt",
        "LICENSE",
        "BUILD",
    ] {
        assert!(names.contains(&format!("bistro-1.2.3-x86_64-linux/{wanted}")), "{wanted} is missing: {names:?}");
    }
    let unpacked = Command::new("tar").arg("-xzf").arg(&archive).current_dir(&dist).status().unwrap();
    assert!(unpacked.success());
    let crates = fs::read_to_string(dist.join("bistro-1.2.3-x86_64-linux/licences/crates.txt")).unwrap();
    assert!(crates.contains("helper 1: MIT") && crates.contains("Permission is hereby granted"), "{crates}");
    assert!(!crates.contains("tester") && !crates.contains("bistro-miner"), "not shipped, or ours: {crates}");

    // The same tree gives the same bytes, and what is there is not overwritten.
    let again = checkout.run("release.sh", &["--programs", programs.to_str().unwrap(), "--out", "again"], &[]);
    assert!(again.ok(), "{}", again.text());
    let bytes = |dir: &str| fs::read(checkout.path(dir).join("bistro-1.2.3-x86_64-linux.tar.gz")).unwrap();
    assert_eq!(bytes("dist"), bytes("again"));
    let third = checkout.run("release.sh", &["--programs", programs.to_str().unwrap(), "--out", "dist"], &[]);
    assert!(!third.ok() && third.text().contains("is there already"), "{}", third.text());
}

#[test]
fn a_release_without_licences_or_programs_is_refused() {
    let checkout = of_a_release("incomplete");
    let nowhere = checkout.run("release.sh", &["--programs", "nowhere", "--out", "a"], &[]);
    assert!(!nowhere.ok() && nowhere.text().contains("is not there: build it"), "{}", nowhere.text());
    fs::remove_dir_all(checkout.path("cache/libtorch-2.11.0-cpu/licences")).unwrap();
    let programs = checkout.path("programs");
    let bare = checkout.run("release.sh", &["--programs", programs.to_str().unwrap(), "--out", "b"], &[]);
    assert!(!bare.ok() && bare.text().contains("has no licences"), "{}", bare.text());
}
