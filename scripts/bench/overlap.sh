#!/usr/bin/env bash
# The demo network: for which share of the time the models of miners and validator compute, and wait for pages. README.md of
# this folder says what the numbers mean. --quick runs for a minute instead of three.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# The value of key $2 in the last line of log $1 that has it: what the program says as it stops.
value() {
    local found
    found=$(sed -nE "s/.* $2=([0-9.e-]+).*/\\1/p" "$1" | tail -1)
    [[ -n $found ]] || die "$1 says nothing of $2: did the program stop by itself?"
    printf '%s' "$found"
}

main() {
    local duration=180 log name row rows=()
    [[ ${1:-} != --quick ]] || duration=60
    DIR=$(mktemp -d)
    trap 'rm -rf "$DIR"' EXIT
    "$ROOT/scripts/demo.sh" --duration "$duration" --keep "$DIR/demo" >"$DIR/demo.out" ||
        say 'the demo did not reach its target loss; the shares below are of that run all the same'
    printf '%-12s %10s %14s\n' program computing 'waits for pages'
    for log in "$DIR"/demo/logs/*.log; do
        name=$(basename "$log" .log)
        grep -q ' computing=' "$log" || continue
        row="$name $(value "$log" computing) $(value "$log" waiting_for_pages)"
        rows+=("$row")
        # shellcheck disable=SC2086  # three words
        printf '%-12s %10.4f %14.6f\n' $row
    done
    # Of several miners, the worst counts.
    printf '%s\n' "${rows[@]}" | awk '
        $1 ~ /validator/ { validator = $2 }
        $1 !~ /validator/ && (miner == "" || $2 < miner) { miner = $2 }
        $3 > wait { wait = $3 }
        END { printf "RESULT miner_compute_share=%.3f validator_compute_share=%.3f page_wait_share=%.6f\n", miner, validator, wait }'
}

main "$@"
