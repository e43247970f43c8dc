#!/usr/bin/env bash
# Drives the local chain by three clients that are not ours: Bittensor's two Python ones and polkadot.js. Exit status by result.
# Needs Python 3 and Node; the clients are installed, pinned, into .bench/, which git ignores.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"

readonly HERE=$ROOT/scripts/conformance/chain PYTHON=$ROOT/.bench/conformance-python JS=$ROOT/.bench/conformance-js NETUID=1

install() {
    [[ -x $PYTHON/bin/python ]] || python3 -m venv "$PYTHON"
    "$PYTHON/bin/pip" install --quiet --disable-pip-version-check --requirement "$HERE/requirements.txt" >&2
    mkdir -p "$JS"
    cmp -s "$HERE/package.json" "$JS/package.json" && [[ -d $JS/node_modules ]] && return
    cp "$HERE/package.json" "$JS/"
    (cd "$JS" && npm install --silent --no-audit --no-fund >&2)
}

main() {
    local url='' failed=0
    have node || die 'node is missing: install Node.js 20 or later'
    "$ROOT/scripts/setup.sh"
    build_env
    (cd "$ROOT" && cargo build --locked -p bistro-localnet) || die 'the build failed: see above'
    install
    DIR=$(mktemp -d)
    trap 'kill "$CHAIN" 2>/dev/null; rm -rf "$DIR"' EXIT
    "$CARGO_TARGET_DIR/debug/bistro-localnet" up --dir "$DIR/net" --miners 1 --netuid "$NETUID" --block-time 500 \
        --chain-port 0 --s3-port 0 >"$DIR/up" 2>"$DIR/log" &
    CHAIN=$!
    for _ in {1..300}; do
        url=$(sed -nE 's/^chain (ws:\S+).*/\1/p' "$DIR/up")
        [[ -z $url ]] || break
        kill -0 "$CHAIN" || die "the local chain ended: $(<"$DIR/log")"
        sleep 0.1
    done
    [[ -n $url ]] || die 'the local chain did not start within 30 s'
    say '== Python, async-substrate-interface'
    timeout 120 "$PYTHON/bin/python" "$HERE/check.py" "$url" "$NETUID" "$DIR/net/wallets" || failed=1
    say '== polkadot.js'
    timeout 120 node "$HERE/check.mjs" "$url" "$NETUID" "$DIR/net/wallets" "$JS" || failed=1
    say '== Python, the SDK of Bittensor 11'
    # It keeps what it read in a folder of its own below HOME.
    HOME=$DIR timeout 120 "$PYTHON/bin/python" "$HERE/sdk.py" "$url" "$NETUID" "$DIR/net/wallets" || failed=1
    return "$failed"
}

main "$@"
