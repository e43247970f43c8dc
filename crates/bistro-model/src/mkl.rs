//! MKL inside libtorch takes a slow path on AMD. It asks the process for a function of this name before it trusts the
//! processor's maker; one that answers 1 gives the AVX2 path: 1.25 times as many tokens a second, the same results within
//! rounding, no change on Intel.
//!
//! The symbol must be in the binary's dynamic table: its build script passes
//! `-Wl,--export-dynamic-symbol=mkl_serv_intel_cpu_true`, and its `main` calls [`keep`], so that the linker takes this file
//! at all.
#![allow(unsafe_code)] // `no_mangle` alone: the name is MKL's and no other definition of it is linked.

/// Answers MKL's question whether it may use its fast kernels.
#[unsafe(no_mangle)]
pub extern "C" fn mkl_serv_intel_cpu_true() -> i32 {
    1
}

/// Makes the linker keep [`mkl_serv_intel_cpu_true`] in whatever calls this.
pub fn keep() {
    std::hint::black_box(mkl_serv_intel_cpu_true as extern "C" fn() -> i32);
}
