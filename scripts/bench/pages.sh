#!/usr/bin/env bash
# Pages of a dataset through fetch, parse, tokenise and pack on one core: ours against Python with pyarrow and tiktoken, on the
# same files. README.md of this folder says what the numbers mean. --quick runs fewer rounds.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

readonly HERE=$ROOT/scripts/bench/pages PYTHON=$ROOT/.bench/pages-python

# The table of GPT-2's tokens that our dependency carries: Python's tiktoken would fetch the same from the network.
table() {
    (cd "$ROOT" && cargo metadata --format-version 1 --locked) | "$PYTHON/bin/python" -c '
import json, pathlib, sys
packages = json.load(sys.stdin)["packages"]
[manifest] = [package["manifest_path"] for package in packages if package["name"] == "tiktoken-rs"]
print(pathlib.Path(manifest).parent / "assets" / "r50k_base.tiktoken")'
}

main() {
    local rounds=7 pages=40
    [[ ${1:-} != --quick ]] || rounds=3 pages=20
    "$ROOT/scripts/setup.sh"
    build_env
    (cd "$ROOT" && cargo build --locked --release -p bistro-pages --example pages_speed) ||
        die 'the build failed: see above'
    [[ -x $PYTHON/bin/python ]] || python3 -m venv "$PYTHON"
    "$PYTHON/bin/pip" install --quiet --disable-pip-version-check --requirement "$HERE/requirements.txt" >&2
    DIR=$(mktemp -d)
    trap 'rm -rf "$DIR"' EXIT
    "$PYTHON/bin/python" "$HERE/compare.py" "$CARGO_TARGET_DIR/release/examples/pages_speed" "$ROOT/corpus/sotu" "$(table)" "$DIR" \
        "$rounds" "$pages"
}

main "$@"
