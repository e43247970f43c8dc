#!/usr/bin/env bash
# Sets up, builds, and tests any subtensor node with a registered hotkey: metagraph, a commitment, weights, refusals by name.
# Arguments go to `bistro-localnet smoke` (--help lists them); they are the flags of miner and validator.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/setup.sh"
build_env
(cd "$ROOT" && cargo build --locked -p bistro-localnet) || die 'the build failed: see above'
# The caller's folder stays the current one: paths among the arguments are relative to it.
exec "$CARGO_TARGET_DIR/debug/bistro-localnet" smoke "$@"
