#!/usr/bin/env bash
# Lines of bistro-core and bistro-delta that their own tests reach: prints them by file, and fails below 95 % of either crate.
# scripts/coverage.sh [LEAST PERCENT]. The compiler's own instrumentation; its llvm-tools are installed when they are not there.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The folder of the llvm tools that fit the compiler: others cannot read its profiles.
llvm() {
    local dir
    dir=$(rustc --print sysroot)/lib/rustlib/$(rustc --version --verbose | sed -n 's/^host: //p')/bin
    [[ -x $dir/llvm-cov ]] || rustup component add llvm-tools >&2 || die 'no llvm-tools: rustup component add llvm-tools'
    printf '%s' "$dir"
}

# Runs the tests of crate $1 and reports on its sources; the share of lines goes to standard output.
measure() {
    local crate=$1 profiles=$TARGET/profiles-$1 binary objects=()
    rm -rf "$profiles"
    LLVM_PROFILE_FILE=$profiles/%p-%m.profraw cargo test --locked -p "$crate" --tests --lib >&2
    while read -r binary; do objects+=(--object "$binary"); done < <(
        cargo test --locked -p "$crate" --tests --lib --no-run --message-format=json 2>/dev/null |
            sed -nE 's/.*"executable":"([^"]+)".*/\1/p'
    )
    "$LLVM/llvm-profdata" merge --sparse "$profiles"/*.profraw --output "$profiles/all"
    # Tests are no part of what they cover, and generics are counted where they stand.
    "$LLVM/llvm-cov" report "${objects[@]}" --instr-profile "$profiles/all" --show-branch-summary=false \
        --show-region-summary=false --ignore-filename-regex='(/tests/|/tests\.rs$|/examples/|\.cargo/|rustc/)' "$ROOT/crates/$crate/src" |
        tee /dev/stderr | awk '$1 == "TOTAL" { sub("%", "", $NF); print $NF }'
}

main() {
    local least=${1:-95} crate share low=()
    cd "$ROOT"
    LLVM=$(llvm)
    TARGET=${BISTRO_COVERAGE_TARGET:-$CACHE/coverage}
    export CARGO_TARGET_DIR=$TARGET RUSTFLAGS='-C instrument-coverage' PROPTEST_CASES=${PROPTEST_CASES:-64}
    for crate in bistro-core bistro-delta; do
        share=$(measure "$crate")
        say "$crate: $share % of lines"
        awk -v share="$share" -v least="$least" 'BEGIN { exit !(share + 0 >= least + 0) }' || low+=("$crate")
    done
    ((!${#low[@]})) || die "below $least %: ${low[*]}"
    say "both at $least % or more"
}

main "$@"
