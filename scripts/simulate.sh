#!/usr/bin/env bash
# Runs the simulator over 1000 seeds (SEEDS=N for another number) and writes its report to .bench/simulation; any other flag of
# `bistro-localnet simulate` may follow. The exit status says whether every promise held.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
    cd "$ROOT"
    build_env
    cargo build --locked --quiet -p bistro-localnet --bin bistro-localnet
    exec "$CARGO_TARGET_DIR/debug/bistro-localnet" simulate --seeds "${SEEDS:-1000}" --report .bench/simulation "$@"
}

main "$@"
