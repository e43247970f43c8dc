//! Tells the programs their libtorch's version, lets the tests of this crate find libtorch from any directory, and MKL inside libtorch find `mkl_serv_intel_cpu_true` in them.

use std::path::Path;
use std::{env, fs};

/// The version of the libtorch in whose `lib` folder this is: from the file of PyTorch's archives, or the header of its wheels.
fn version(lib: &Path) -> Option<String> {
    let root = lib.parent()?;
    if let Ok(text) = fs::read_to_string(root.join("build-version")) {
        return Some(text.trim().to_owned());
    }
    let headers = ["headeronly/version.h", "csrc/api/include/torch/version.h"];
    let header = headers.iter().find_map(|name| fs::read_to_string(root.join("include/torch").join(name)).ok())?;
    let number = |name: &str| -> Option<String> {
        let line = header.lines().find(|line| line.contains(&format!("define TORCH_VERSION_{name} ")))?;
        line.split_whitespace().last().map(str::to_owned)
    };
    Some(format!("{}.{}.{}", number("MAJOR")?, number("MINOR")?, number("PATCH")?))
}

fn main() {
    // torch-sys says where it found libtorch; links (`.libtorch`) are followed, so that the binary outlives them.
    if let Some(lib) = env::var_os("DEP_TCH_LIBTORCH_LIB") {
        let lib = fs::canonicalize(&lib).unwrap_or_else(|_| lib.into());
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
        println!("cargo::rustc-env=BISTRO_LIBTORCH={}", version(&lib).unwrap_or_else(|| "unknown".to_owned()));
    } else {
        println!("cargo::rustc-env=BISTRO_LIBTORCH=unknown");
    }
    println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol=mkl_serv_intel_cpu_true");
    println!("cargo::rerun-if-changed=build.rs");
}
