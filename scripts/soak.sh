#!/usr/bin/env bash
# Runs the real network for half an hour and watches every program: memory, file handles and disk must not grow once it is
# warm. scripts/soak.sh [SECONDS] [flags of the demo, as --kills 3]. Samples go to .bench/soak.csv; fails when something grows.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Seconds between two samples.
readonly EVERY=5

# Resident memory in KiB, and open handles, of process $1; nothing if it is gone.
memory() { sed -nE 's/^VmRSS:[[:space:]]+([0-9]+) kB/\1/p' "/proc/$1/status" 2>/dev/null || true; }
handles() { find "/proc/$1/fd" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l; }

# The data folder that process $1 was started with, which is the name of its member.
name() { tr '\0' '\n' <"/proc/$1/cmdline" 2>/dev/null | sed -n '/^--data-dir$/{n;s|.*/||;p;}'; }

# One line a program: seconds, name, process, memory, handles, KiB of state.
sample() { # $1: process of the demo, $2: its folder
    local child who
    for child in $(pgrep -P "$1" || true); do
        who=$(name "$child")
        [[ -n $who ]] || continue
        printf '%s,%s,%s,%s,%s,%s\n' "$SECONDS" "$who" "$child" "$(memory "$child")" "$(handles "$child")" \
            "$(du -sk "$2/state/$who" 2>/dev/null | cut -f1)"
    done
}

# Compares the middle third with the last one: the mean of each column may grow by a tenth, and by some room for noise.
judge() {
    awk -F, '
        NR > 1 && $4 != "" {
            if ($1 > last) last = $1
            key = $2 SUBSEP $3; n[key]++; time[key, n[key]] = $1
            for (c = 4; c <= 6; c++) value[key, n[key], c] = $c
        }
        END {
            split("memory_kib handles state_kib", name, " "); split("20480 6 2048", room, " ")
            for (key in n) {
                split(key, part, SUBSEP)
                for (c = 4; c <= 6; c++) {
                    split("", sum); split("", count)
                    for (i = 1; i <= n[key]; i++) {
                        third = int(3 * (time[key, i] - time[key, 1]) / (last - time[key, 1] + 1))
                        sum[third] += value[key, i, c]; count[third]++
                    }
                    if (count[1] < 4 || count[2] < 4) continue
                    middle = sum[1] / count[1]; end = sum[2] / count[2]
                    # The log of a validator grows by intent, up to its bound.
                    grew = !(c == 6 && part[1] ~ /^validator/) && end > 1.1 * middle + room[c - 3]
                    printf "%-12s %-8s %-11s %10.0f -> %10.0f%s\n", part[1], part[2], name[c - 3], middle, end, grew ? "  GREW" : ""
                    bad += grew
                }
            }
            exit bad > 0
        }' "$1"
}

main() {
    local seconds=1800 folder demo status=0 samples=$ROOT/.bench/soak.csv
    if [[ ${1:-} =~ ^[0-9]+$ ]]; then
        seconds=$1
        shift
    fi
    folder=$(mktemp -d)
    mkdir -p "$ROOT/.bench"
    echo 'seconds,program,process,memory_kib,handles,state_kib' >"$samples"
    "$ROOT/scripts/demo.sh" --duration "$seconds" --keep "$folder/demo" "$@" >"$folder/demo.txt" 2>&1 &
    demo=$!
    trap 'kill -INT "$demo" 2>/dev/null || true' EXIT
    while kill -0 "$demo" 2>/dev/null; do
        sleep "$EVERY"
        sample "$demo" "$folder/demo" >>"$samples"
    done
    trap - EXIT
    wait "$demo" || status=$?
    tail -n 12 "$folder/demo.txt" >&2
    ((!status)) || die "the demo ended with status $status: $folder"
    judge "$samples" || die "something grew: see above, and $samples"
    rm -rf "$folder"
    say 'memory and handles stayed flat'
}

main "$@"
