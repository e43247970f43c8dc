#!/usr/bin/env bash
# What each encoding of a delta costs and keeps, with a real model on real text. README.md of this folder says what the numbers
# mean. --quick trains fewer steps; --plot FILE draws the table as an SVG; other arguments go to the example as they are.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

main() {
    "$ROOT/scripts/setup.sh"
    build_env
    cd "$ROOT"
    # The development profile compiles what computes here for speed.
    cargo build --locked -p bistro-model --example encodings || die 'the build failed: see above'
    "$CARGO_TARGET_DIR/debug/examples/encodings" --text corpus/sotu "$@"
}

main "$@"
