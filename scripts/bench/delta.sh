#!/usr/bin/env bash
# A delta added to a master of 415 M parameters and taken out, against copying memory, numpy and safetensors. README.md of this
# folder says what the numbers mean. Needs 10 GB of memory. --quick runs fewer rounds.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

readonly HERE=$ROOT/scripts/bench/delta PYTHON=$ROOT/.bench/delta-python

# The number behind $2= in the line that begins with $1.
field() { sed -nE "s/^$1 (.* )?$2=([0-9.]+).*/\2/p" "$DIR/output"; }

# How many times $1 goes into $2.
ratio() { awk -v ours="$1" -v theirs="$2" 'BEGIN { printf "%.2f", theirs / ours }'; }

main() {
    local rounds=7
    [[ ${1:-} != --quick ]] || rounds=2
    "$ROOT/scripts/setup.sh"
    build_env
    (cd "$ROOT" && cargo build --locked --release -p bistro-delta --example bandwidth) || die 'the build failed: see above'
    [[ -x $PYTHON/bin/python ]] || python3 -m venv "$PYTHON"
    "$PYTHON/bin/pip" install --quiet --disable-pip-version-check --requirement "$HERE/requirements.txt" >&2
    DIR=$(mktemp -d)
    trap 'rm -rf "$DIR"' EXIT
    "$CARGO_TARGET_DIR/release/examples/bandwidth" "$rounds" "$DIR/delta.safetensors" | tee "$DIR/output"
    "$PYTHON/bin/python" "$HERE/peer.py" "$DIR/delta.safetensors" "$rounds" | tee -a "$DIR/output"
    printf 'RESULT %s add_vs_numpy=%s undo_vs_numpy=%s read_vs_safetensors=%s int4_vs_f32=%s int8_vs_f32=%s\n' \
        "$(sed -n 's/^SHARES //p' "$DIR/output")" \
        "$(ratio "$(field SECONDS add)" "$(field PEER add)")" \
        "$(ratio "$(field SECONDS take_out)" "$(field PEER take_out)")" \
        "$(ratio "$(field READ f32)" "$(field PEER read)")" \
        "$(ratio "$(field SECONDS int4)" "$(field SECONDS add)")" \
        "$(ratio "$(field SECONDS int8)" "$(field SECONDS add)")"
}

main "$@"
