//! Compiles `csrc`, what libtorch has and tch does not bind, and lets the tests and examples of this crate find libtorch from
//! any directory. A binary needs the link arguments in a build script of its own: Cargo hands them to the package that prints
//! them and to no other.

use std::path::Path;
use std::{env, fs};

fn main() {
    // torch-sys says where it found libtorch; links (`.libtorch`) are followed, so that the binary outlives them.
    if let Some(lib) = env::var_os("DEP_TCH_LIBTORCH_LIB") {
        let lib = fs::canonicalize(&lib).unwrap_or_else(|_| lib.into());
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
        compile(&lib);
    }
    // MKL inside libtorch asks for this function by name (see `bistro_model::mkl`).
    println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol=mkl_serv_intel_cpu_true");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=csrc");
    println!("cargo::rerun-if-env-changed=LIBTORCH_INCLUDE");
}

/// Headers lie beside the libraries unless `LIBTORCH_INCLUDE` says otherwise, as for torch-sys.
fn compile(lib: &Path) {
    let beside = lib.parent().unwrap_or(lib).to_owned();
    let include = env::var_os("LIBTORCH_INCLUDE").map_or(beside, Into::into).join("include");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .opt_level(3) // also for development: these are the inner loops
        .warnings(false) // libtorch's headers have plenty
        .flag("-fopenmp") // libtorch's own thread pool
        .flag("-ffp-contract=off") // `w + d · s` rounds twice on every machine
        .flag("-fno-math-errno")
        .flag("-fno-trapping-math")
        .include(include.join("torch/csrc/api/include"))
        .include(include)
        .files(["csrc/rows.cpp", "csrc/ops.cpp", "csrc/attention.cpp", "csrc/system.cpp"])
        .compile("bistro_kernels");
    println!("cargo::rustc-link-lib=gomp");
}
