//! Lets the binary find libtorch from any directory, beside itself first, and MKL inside libtorch find
//! `mkl_serv_intel_cpu_true` in the binary.

use std::{env, fs};

fn main() {
    // As scripts/release.sh lays them out: bin/ and lib/ in one folder, wherever that is.
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib");
    println!("cargo::rerun-if-env-changed=BISTRO_PORTABLE");
    // torch-sys says where it found libtorch; links (`.libtorch`) are followed, so that the binary outlives them.
    // A program for other machines does not name a folder of this one.
    if let (Some(lib), None) = (env::var_os("DEP_TCH_LIBTORCH_LIB"), env::var_os("BISTRO_PORTABLE")) {
        let lib = fs::canonicalize(&lib).unwrap_or_else(|_| lib.into());
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    }
    println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol=mkl_serv_intel_cpu_true");
    println!("cargo::rerun-if-changed=build.rs");
}
