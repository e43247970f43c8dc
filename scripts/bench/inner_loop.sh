#!/usr/bin/env bash
# The validator's inner loop: deltas judged a minute, and the share of that time in forward passes. README.md of this folder
# says what the numbers mean. --quick takes fewer deltas; --device cuda runs on a GPU.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

judge() { # $1: preset, $2: sequences, $3: tokens of each, $4: deltas; prints a row and keeps the JSON in LAST
    LAST=$("$CARGO_TARGET_DIR/debug/examples/inner_loop" "$1" --rows "$2" --seq "$3" --deltas "$4" --device "$DEVICE")
    printf '%-6s %2d x %-4d %s\n' "$1" "$2" "$3" "$LAST"
}

value() { sed -E "s/.*\"$1\":([0-9.]+).*/\1/" <<<"$LAST"; }

main() {
    local deltas=4 rate share exact
    DEVICE=cpu
    while (($#)); do
        case $1 in
        --quick) deltas=1 ;;
        --device)
            DEVICE=${2:?--device needs a name}
            shift
            ;;
        *) die "unknown argument: $1" ;;
        esac
        shift
    done
    "$ROOT/scripts/setup.sh"
    build_env
    (cd "$ROOT" && cargo build --locked -p bistro-model --example inner_loop) || die 'the build failed: see above'
    judge nano 16 256 $((deltas * 4))
    exact=$(value undo_exact)
    judge small 2 512 1
    exact=$((exact * $(value undo_exact)))
    judge 135m 4 512 "$deltas"
    rate=$(value evals_per_min) share=$(value forward_share) exact=$((exact * $(value undo_exact)))
    printf 'RESULT evals_per_min=%.2f forward_share=%.3f undo_exact=%d\n' "$rate" "$share" "$exact"
}

main "$@"
