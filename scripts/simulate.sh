#!/usr/bin/env bash
# Runs the simulator over 1000 seeds (SEEDS=N for another number) and writes its report to .bench/simulation; any other flag of
# `bistro-localnet simulate` may follow. The exit status says whether every promise held.
# `--model nano` (or another preset) trains that on the speeches in place of the toy: one seed, some 4 minutes of a core for the
# default scenario; --text, --scenario, --seeds, --first-seed, --blocks and --report may follow.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
    local model=toy args=()
    while (($#)); do
        if [[ $1 == --model ]]; then
            model=${2:?--model needs toy or a preset}
            shift
        else
            args+=("$1")
        fi
        shift
    done
    cd "$ROOT"
    build_env
    if [[ $model == toy ]]; then
        cargo build --locked --quiet -p bistro-localnet --bin bistro-localnet
        exec "$CARGO_TARGET_DIR/debug/bistro-localnet" simulate --seeds "${SEEDS:-1000}" --report .bench/simulation "${args[@]}"
    fi
    "$ROOT/scripts/setup.sh"
    cargo build --locked --quiet -p bistro-cli --example simulate || die 'the build failed: see above'
    exec "$CARGO_TARGET_DIR/debug/examples/simulate" --model "$model" --seeds "${SEEDS:-1}" --report ".bench/simulation-$model" \
        "${args[@]}"
}

main "$@"
