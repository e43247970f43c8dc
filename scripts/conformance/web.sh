#!/usr/bin/env bash
# A local network whose programs are looked at as people look: the web pages in a headless Chromium, the metrics with promtool,
# and `status` from another shell. One miner's bucket ends up with a hostile manifest, which must reach the page as text.
# Arguments: where the pictures go (web-pictures), and for how many seconds the network trains first (90).
# Needs curl and chromium (Debian: chromium); promtool (Debian: prometheus) where it is there.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# The first of the ports: validator, then miners.
readonly PORT=19100
readonly HOSTILE='</script><img src=x onerror=document.body.dataset.owned=1>'

finish() {
    # The programs first: without chain and buckets they would try for minutes to put away what they hold.
    if ((${#PIDS[@]} > 1)); then
        kill -INT "${PIDS[@]:1}" 2>/dev/null || true
        wait "${PIDS[@]:1}" || true
    fi
    ((!${#PIDS[@]})) || kill -INT "${PIDS[0]}" 2>/dev/null || true
    wait
    rm -rf "$WORK"
}

# Waits for at most $1 seconds until the command that follows succeeds.
until_true() {
    local seconds=$1
    shift
    for ((; seconds > 0; seconds--)); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 1
    done
    die "this did not become true: $*"
}

# Starts the program of line $2 of what `up` printed with the page at port PORT + $1.
start() {
    local number=$1 line=$2 words
    # It is quoted for a shell, and by our own program.
    eval "words=($line)"
    env NO_COLOR=1 "${words[@]}" --http "$((PORT + number))" --threads 1 "${@:3}" >"$WORK/$number.log" 2>&1 &
    PIDS+=($!)
}

page() { printf 'http://127.0.0.1:%d%s' "$((PORT + $1))" "${2:-/}"; }

browse() {
    "$CHROMIUM" --headless=new --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$WORK/chromium" \
        --virtual-time-budget=5000 "$@" 2>"$WORK/chromium.log"
}

# Pictures of the page of program $1 at a desktop's and a phone's width, light and dark.
shoot() {
    browse --window-size=1180,1250 --screenshot="$PICTURES/$2.png" "$(page "$1")"
    browse --window-size=1180,1250 --screenshot="$PICTURES/$2-dark.png" --blink-settings=preferredColorScheme=0 "$(page "$1")"
    browse --window-size=375,1500 --screenshot="$PICTURES/$2-phone.png" "$(page "$1")"
    say "$PICTURES/$2.png, $2-dark.png, $2-phone.png"
}

# What must hold of program $1, which is a $2.
check() {
    local dom
    [[ $(curl -fsS "$(page "$1" /healthz)") == ok ]] || die "$2 is not well"
    if have promtool; then
        curl -fsS "$(page "$1" /metrics)" | promtool check metrics || die "promtool finds fault with the metrics of $2"
    fi
    dom=$(browse --window-size=1180,1250 --dump-dom "$(page "$1")")
    grep -q '<canvas' <<<"$dom" || die "the page of $2 has no chart"
    grep -q "<span id=\"program\">$2</span>" <<<"$dom" || die "the page of $2 did not draw itself: $dom"
    ! grep -q 'does not answer' <<<"$dom" || die "the page of $2 says that the program does not answer"
}

# Puts a hostile manifest into the bucket of the member of line $1, whose program has ended, by that member's own keys.
poison() {
    local line=$1 hotkey=$2 key secret endpoint bucket
    key=$(sed -nE 's/.*AWS_ACCESS_KEY_ID=([^ ]+).*/\1/p' <<<"$line")
    secret=$(sed -nE 's/.*AWS_SECRET_ACCESS_KEY=([^ ]+).*/\1/p' <<<"$line")
    endpoint=$(sed -nE 's/.*AWS_ENDPOINT_URL=([^ ]+).*/\1/p' <<<"$line")
    bucket=$(sed -nE 's/.*--bucket ([^ ]+).*/\1/p' <<<"$line")
    printf '{"%s": 1}' "$HOSTILE" >"$WORK/latest.json"
    curl -fsS --aws-sigv4 aws:amz:us-east-1:s3 --user "$key:$secret" \
        --header "x-amz-content-sha256: $(sha256sum "$WORK/latest.json" | cut -d' ' -f1)" -T "$WORK/latest.json" \
        "$endpoint/$bucket/bistro/v1/212/$hotkey/latest.json"
}

# Whether the validator has met the hostile manifest.
hostile_met() { grep -q onerror <<<"$(curl -fsS "$(page 0 /api/status)")"; }

main() {
    local lines hotkey dom
    PICTURES=$(realpath -m "${1:-web-pictures}")
    CHROMIUM=$(command -v chromium || command -v chromium-browser || command -v google-chrome) ||
        die 'no chromium: apt-get install chromium'
    build_env
    (cd "$ROOT" && cargo build --locked -p bistro-miner -p bistro-validator -p bistro-localnet) || die 'the build failed'
    WORK=$(mktemp -d)
    PIDS=()
    trap finish EXIT
    mkdir -p "$PICTURES"

    "$CARGO_TARGET_DIR/debug/bistro-localnet" up --corpus "$ROOT/corpus/sotu" --dir "$WORK/net" --miners 3 \
        --block-time 1000 >"$WORK/up.log" 2>&1 &
    PIDS+=($!)
    until_true 30 grep -q 'wallet.name miner-3' "$WORK/up.log"
    mapfile -t lines < <(grep -E '^AWS.*bistro-(miner|validator) ' "$WORK/up.log")
    start 0 "${lines[0]}" --rows-per-page 4
    for number in 1 2 3; do start "$number" "${lines[number]}"; done
    until_true 120 grep -q uploaded "$WORK/3.log"
    hotkey=$(curl -fsS "$(page 3 /api/status)" | grep -oE '"hotkey":"[^"]+"' | head -1 | cut -d'"' -f4)
    kill -INT "${PIDS[-1]}"
    wait "${PIDS[-1]}" || die "miner-3 did not end in order"
    unset 'PIDS[-1]'
    poison "${lines[3]}" "$hotkey"
    say "training for ${2:-90} s"
    sleep "${2:-90}"

    until_true 120 hostile_met
    check 0 validator
    check 1 miner
    dom=$(browse --dump-dom "$(page 0)")
    grep -q '&lt;img src=x' <<<"$dom" || die 'the hostile manifest is not on the page'
    ! grep -q 'data-owned' <<<"$dom" || die 'the hostile manifest ran'
    "$CARGO_TARGET_DIR/debug/bistro-validator" status --data-dir "$WORK/net/state/validator" || die 'status does not answer'
    AWS_ENDPOINT_URL=$(sed -nE 's/.*AWS_ENDPOINT_URL=([^ ]+).*/\1/p' <<<"${lines[1]}") \
        "$CARGO_TARGET_DIR/debug/bistro-miner" status --data-dir "$WORK/net/state/miner-1" --subtensor.chain_endpoint \
        "$(sed -nE 's/.*--subtensor.chain_endpoint ([^ ]+).*/\1/p' <<<"${lines[1]}")" || die 'status does not answer'
    shoot 0 validator
    shoot 1 miner
    say 'pages, metrics and status hold'
}

main "$@"
