//! As a release lays it out: the program finds its libraries beside itself, wherever that is, with an empty environment.
#![allow(clippy::unwrap_used, missing_docs)]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

fn run(program: &Path, args: &[&str]) -> Output {
    Command::new(program).args(args).env_clear().current_dir("/").output().unwrap()
}

#[test]
fn a_program_with_its_libraries_beside_it_needs_nothing_else() {
    let linked = Command::new("ldd").arg(env!("CARGO_BIN_EXE_bistro-validator")).output().unwrap();
    let linked = String::from_utf8(linked.stdout).unwrap();
    let torch = linked.lines().find_map(|line| line.trim().strip_prefix("libtorch_cpu.so => ")).expect(&linked);
    let libraries = Path::new(torch.split(" (").next().unwrap()).parent().unwrap().canonicalize().unwrap();

    let release = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::create_dir(release.path().join("bin")).unwrap();
    symlink(&libraries, release.path().join("lib")).unwrap();
    let program = release.path().join("bin/bistro-validator");
    // A hard link: the loader's $ORIGIN is where the program was started, and 140 MB are not copied.
    std::fs::hard_link(env!("CARGO_BIN_EXE_bistro-validator"), &program).unwrap();

    let loaded = Command::new("ldd").arg(&program).output().unwrap();
    let loaded = String::from_utf8(loaded.stdout).unwrap();
    let beside = release.path().join("bin/../lib/libtorch_cpu.so");
    assert!(loaded.contains(beside.to_str().unwrap()), "its own libraries come first: {loaded}");
    let output = run(&program, &["--version"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8(output.stdout).unwrap().contains(env!("CARGO_PKG_VERSION")));
    let model = release.path().join("model");
    let output = run(&program, &["model", "init", "nano", "--out", model.to_str().unwrap()]);
    assert!(output.status.success() && model.join("model.safetensors").exists(), "{output:?}");
}
