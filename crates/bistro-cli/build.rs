//! Lets the tests of this crate find libtorch from any directory, and MKL inside libtorch find `mkl_serv_intel_cpu_true` in them.

use std::{env, fs};

fn main() {
    // torch-sys says where it found libtorch; links (`.libtorch`) are followed, so that the binary outlives them.
    if let Some(lib) = env::var_os("DEP_TCH_LIBTORCH_LIB") {
        let lib = fs::canonicalize(&lib).unwrap_or_else(|_| lib.into());
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    }
    println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol=mkl_serv_intel_cpu_true");
    println!("cargo::rerun-if-changed=build.rs");
}
