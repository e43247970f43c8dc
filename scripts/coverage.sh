#!/usr/bin/env bash
# Lines of bistro-core and bistro-delta that their tests and those of the loops reach: prints them by file, and fails below 95 % of either crate.
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

# Runs the tests of core, delta, and of the loops, which exercise both; leaves the profile and the list of programs.
run_tests() {
    local profiles=$CARGO_TARGET_DIR/profiles binary crates=(-p bistro-core -p bistro-delta -p bistro-node)
    rm -rf "$profiles"
    LLVM_PROFILE_FILE=$profiles/%p-%m.profraw cargo test --locked "${crates[@]}" --tests --lib >&2
    # The first one stands by itself, the others behind a flag.
    while read -r binary; do PROGRAMS+=(${PROGRAMS[0]:+--object} "$binary"); done < <(
        cargo test --locked "${crates[@]}" --tests --lib --no-run --message-format=json 2>/dev/null |
            sed -nE 's/.*"executable":"([^"]+)".*/\1/p'
    )
    "$LLVM/llvm-profdata" merge --sparse "$profiles"/*.profraw --output "$PROFILE"
}

# The share of lines of crate $1 that were reached.
share() {
    "$LLVM/llvm-cov" report "${PROGRAMS[@]}" --instr-profile "$PROFILE" --show-branch-summary=false \
        --show-region-summary=false --ignore-filename-regex='(/tests/|/tests\.rs$|/examples/)' "$ROOT/crates/$1/src" |
        awk '{ print | "cat >&2" } $1 == "TOTAL" { sub("%", "", $NF); print $NF }'
}

main() {
    local least=${1:-95} crate reached low=()
    cd "$ROOT"
    LLVM=$(llvm)
    export CARGO_TARGET_DIR=${BISTRO_COVERAGE_TARGET:-$CACHE/coverage}
    PROFILE=$CARGO_TARGET_DIR/all.profdata PROGRAMS=()
    export RUSTFLAGS='-C instrument-coverage' PROPTEST_CASES=${PROPTEST_CASES:-64}
    run_tests
    for crate in bistro-core bistro-delta; do
        reached=$(share "$crate")
        say "$crate: $reached % of lines"
        awk -v share="$reached" -v least="$least" 'BEGIN { exit !(share + 0 >= least + 0) }' || low+=("$crate")
    done
    ((!${#low[@]})) || die "below $least %: ${low[*]}"
    say "both at $least % or more"
}

main "$@"
