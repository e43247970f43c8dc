#!/usr/bin/env bash
# Training and evaluation against transformers in Python, with the same weights, batch, optimizer and threads. README.md of
# this folder says what the numbers mean. --quick takes one round; --device cuda measures a GPU's models.
# BISTRO_BENCH_PYTHON names a Python that has torch 2.11.0 and transformers already.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

readonly HERE=$ROOT/scripts/bench/train VENV=$ROOT/.bench/train-python MODELS=$ROOT/.bench/train-models

peer() { # prints the Python to compare with, made if need be
    if [[ -n ${BISTRO_BENCH_PYTHON:-} ]]; then
        printf '%s' "$BISTRO_BENCH_PYTHON"
        return
    fi
    [[ -x $VENV/bin/python ]] || python3 -m venv "$VENV"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check --requirement "$HERE/requirements.txt" >&2
    printf '%s' "$VENV/bin/python"
}

main() {
    local rounds=2 steps=3 device=cpu python configs
    while (($#)); do
        case $1 in
        --quick) rounds=1 steps=2 ;;
        --device)
            device=${2:?--device needs a name}
            shift
            ;;
        *) die "unknown argument: $1" ;;
        esac
        shift
    done
    "$ROOT/scripts/setup.sh"
    build_env
    (cd "$ROOT" && cargo build --locked -p bistro-model --example throughput) || die 'the build failed: see above'
    python=$(peer)
    local models=$ROOT/config/models
    if [[ $device == cpu ]]; then
        configs=(--config "nano=$models/nano.json,4,256,$((4 * steps))" --config "135m=$models/135m.json,2,512,$steps")
    else
        configs=(--config "415m=$models/small.json,8,1024,8" --config "1b=$models/1b.json,8,1024,8")
    fi
    "$python" "$HERE/compare.py" "$CARGO_TARGET_DIR/debug/examples/throughput" "$MODELS" --rounds "$rounds" \
        --device "$device" --threads "$(nproc)" "${configs[@]}"
}

main "$@"
