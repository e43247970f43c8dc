//! Lets the tests and examples of this crate find libtorch from any directory. A binary needs the same lines in a build
//! script of its own: Cargo hands link arguments to the package that prints them and to no other.

use std::{env, fs};

fn main() {
    // torch-sys says where it found libtorch; links (`.libtorch`) are followed, so that the binary outlives them.
    if let Some(lib) = env::var_os("DEP_TCH_LIBTORCH_LIB") {
        let lib = fs::canonicalize(&lib).unwrap_or_else(|_| lib.into());
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    }
    // MKL inside libtorch asks for this function by name (see `bistro_model::mkl`).
    println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol=mkl_serv_intel_cpu_true");
    println!("cargo::rerun-if-changed=build.rs");
}
