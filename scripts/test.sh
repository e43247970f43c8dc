#!/usr/bin/env bash
# Sets up, then runs every check that a change must pass; the cheap ones first, and all of them even when one fails.
# With arguments, only the steps named: scripts/test.sh fmt clippy
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly STEPS=(setup shell fmt deny clippy doc doctest test)

step_setup() { "$ROOT/scripts/setup.sh" --dev; }
step_shell() { git ls-files -z -- '*.sh' .ci/run | xargs -0 shellcheck --external-sources; }
step_fmt() { cargo fmt --all --check; }
# Only a deprecated spelling inside others' Cargo.toml files is a parse-error; an unknown licence still fails.
step_deny() { cargo deny --locked check --allow parse-error licenses bans sources; }
step_clippy() { cargo clippy --locked --workspace --all-targets -- -D warnings; }
step_doc() { RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps; }
# Link flags of a build script do not reach doctests, so these alone are told where libtorch is.
step_doctest() { LD_LIBRARY_PATH=${LIBTORCH:+$LIBTORCH/lib:}${LD_LIBRARY_PATH:-} cargo test --locked --workspace --doc; }
# Last, so that its summary of the tests is what one sees first.
step_test() { cargo nextest run --locked --workspace --no-fail-fast; }

REPORT=()
FAILED=()

# Runs step $1, and notes its time and outcome.
run_step() {
    local name=$1 start=$SECONDS outcome=ok
    say "==> $name"
    "step_$name" </dev/null || outcome=FAILED
    [[ $outcome == ok ]] || FAILED+=("$name")
    say "==> $name: $outcome after $((SECONDS - start)) s"
    REPORT+=("$(printf '%-8s %-6s %5d s' "$name" "$outcome" $((SECONDS - start)))")
}

main() {
    local name steps=("$@")
    ((${#steps[@]})) || steps=("${STEPS[@]}")
    for name in "${steps[@]}"; do
        [[ " ${STEPS[*]} " == *" $name "* ]] || die "there is no step $name; the steps are: ${STEPS[*]}"
    done
    cd "$ROOT"
    for name in "${steps[@]}"; do
        [[ $name == setup ]] || build_env
        run_step "$name"
        # Nothing after it can mean anything.
        [[ $name != setup ]] || ((!${#FAILED[@]})) || break
    done
    say ''
    printf '%s\n' "${REPORT[@]}" >&2
    ((!${#FAILED[@]})) || die "failed: ${FAILED[*]}"
    say "all ${#REPORT[@]} steps passed in $SECONDS s"
}

main "$@"
