#!/usr/bin/env bash
# Sets up, builds, and runs a network of one's own: a local chain and S3 with wallets; prints the lines that start a validator
# and miners. Arguments go to `bistro-localnet up` (--help lists them).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$ROOT/scripts/setup.sh"
build_env
[[ -x $CARGO_TARGET_DIR/debug/bistro-localnet ]] || say 'building; the first time compiles some 700 crates'
(cd "$ROOT" && cargo build --locked -p bistro-localnet -p bistro-miner -p bistro-validator) || die 'the build failed: see above'
# Six times as fast as the public networks, unless one wants otherwise.
[[ " $* " == *" --block-time"* ]] || set -- --block-time 2000 "$@"
# The caller's folder stays the current one: paths among the arguments are relative to it.
exec "$CARGO_TARGET_DIR/debug/bistro-localnet" up --corpus "$ROOT/corpus/sotu" "$@"
