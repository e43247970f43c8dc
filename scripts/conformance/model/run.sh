#!/usr/bin/env bash
# Holds our Llama against transformers': logits, losses, and folders in both directions. Exit status by result. transformers is
# installed, pinned, into .bench/, which git ignores; BISTRO_BENCH_PYTHON names a Python that has it already.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"

readonly HERE=$ROOT/scripts/conformance/model VENV=$ROOT/.bench/train-python

main() {
    local python=${BISTRO_BENCH_PYTHON:-$VENV/bin/python}
    "$ROOT/scripts/setup.sh"
    build_env
    (cd "$ROOT" && cargo build --locked -p bistro-model --example logits) || die 'the build failed: see above'
    if [[ -z ${BISTRO_BENCH_PYTHON:-} ]]; then
        [[ -x $python ]] || python3 -m venv "$VENV"
        "$python" -m pip install --quiet --disable-pip-version-check --requirement "$HERE/requirements.txt" >&2
    fi
    "$python" "$HERE/check.py" "$CARGO_TARGET_DIR/debug/examples/logits"
}

main "$@"
