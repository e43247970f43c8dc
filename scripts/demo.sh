#!/usr/bin/env bash
# Sets up, builds, and runs the whole network on this machine: a local chain and S3, a validator, miners, and a poisoner.
# Arguments go to `bistro-localnet demo` (--help lists them), but for --release, which builds that profile.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
    local argument profile=debug args=()
    for argument in "$@"; do
        if [[ $argument == --release ]]; then profile=release; else args+=("$argument"); fi
    done
    "$ROOT/scripts/setup.sh"
    build_env
    build "$profile"
    # The caller's folder stays the current one: paths among the arguments are relative to it.
    exec "$CARGO_TARGET_DIR/$profile/bistro-localnet" demo --corpus "$ROOT/corpus/sotu" ${args[@]+"${args[@]}"}
}

build() { # $1: debug or release
    local flags=(--locked -p bistro-miner -p bistro-validator -p bistro-localnet)
    [[ $1 == debug ]] || flags+=(--release)
    [[ -x $CARGO_TARGET_DIR/$1/bistro-localnet ]] || say 'building; the first time compiles some 700 crates'
    # From the root, where cargo finds .cargo/config.toml.
    (cd "$ROOT" && cargo build "${flags[@]}") || die 'the build failed: see above'
}

main "$@"
