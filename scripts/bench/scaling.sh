#!/usr/bin/env bash
# How much faster more miners train: real loops in virtual time, the toy model, then nano on the speeches. README.md of this
# folder says what the numbers mean. --quick runs the toy alone, one seed and a third of the pages; --model toy|nano only that
# one; other arguments go to the example as they are.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

main() {
    local models=(nano toy) args=()
    while (($#)); do
        case $1 in
        --quick) models=(toy) args+=(--quick) ;;
        --model)
            models=("${2:?--model needs toy or nano}")
            shift
            ;;
        *) args+=("$1") ;;
        esac
        shift
    done
    "$ROOT/scripts/setup.sh"
    build_env
    cd "$ROOT"
    # The development profile compiles what computes here for speed.
    cargo build --locked -p bistro-cli --example scaling || die 'the build failed: see above'
    local model own
    for model in "${models[@]}"; do
        own=()
        # An hour and a half; --recommended-only --miners 1,8 takes a quarter of that.
        [[ $model != nano ]] || own=(--pages 240 --seeds 1 --rate 1 --tuned 1 --threads 1)
        "$CARGO_TARGET_DIR/debug/examples/scaling" --model "$model" "${own[@]}" "${args[@]}"
    done
}

main "$@"
