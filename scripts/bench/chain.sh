#!/usr/bin/env bash
# Metagraph and weights on the local chain: our client against Bittensor's Python clients. README.md of this folder says what
# the numbers mean. --quick runs fewer rounds.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

readonly HERE=$ROOT/scripts/bench/chain PYTHON=$ROOT/.bench/chain-python
PIDS=()

clean() {
    ((!${#PIDS[@]})) || kill "${PIDS[@]}" 2>/dev/null || true
    rm -rf "$DIR"
}

serve() { # $1: neurons
    "$CARGO_TARGET_DIR/debug/examples/chain_server" "$DIR/$1" "$1" >"$DIR/$1.url" 2>"$DIR/$1.log" &
    PIDS+=($!)
}

# The address of the chain of $1 neurons, once it is up. 4096 of them take it some seconds.
address() {
    local _
    for _ in {1..1800}; do
        [[ ! -s $DIR/$1.url ]] || break
        sleep 0.1
    done
    [[ -s $DIR/$1.url ]] || die "the chain of $1 neurons did not start within 3 minutes: $(<"$DIR/$1.log")"
    cat "$DIR/$1.url"
}

main() {
    local rounds=7 times=9 small large client
    [[ ${1:-} != --quick ]] || rounds=3 times=5
    "$ROOT/scripts/setup.sh"
    build_env
    (cd "$ROOT" && cargo build --locked -p bistro-localnet --example chain_server &&
        cargo build --locked --release -p bistro-chain --example chain_client) || die 'the build failed: see above'
    client=$CARGO_TARGET_DIR/release/examples/chain_client
    [[ -x $PYTHON/bin/python ]] || python3 -m venv "$PYTHON"
    "$PYTHON/bin/pip" install --quiet --disable-pip-version-check --requirement "$HERE/requirements.txt" >&2
    DIR=$(mktemp -d)
    trap clean EXIT
    serve 256
    serve 4096
    small=$(address 256)
    large=$(address 4096)
    "$PYTHON/bin/python" "$HERE/compare.py" "$client" "$DIR" "$rounds" "$times" "256=$small" "4096=$large"
}

main "$@"
