#!/usr/bin/env bash
# Fuzzes what strangers write: manifests, deltas, and the bytes of their tensors. scripts/fuzz.sh [SECONDS a target, 600 by
# default] [TARGET…]. Needs a nightly compiler; cargo-fuzz is installed when it is not there. Begins with attacks/.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Puts the files of attacks/ where target $1 begins, behind the byte that chooses the encoding where it has one.
seed() {
    local target=$1 file index name
    local -r encodings=(f32 bf16 int8 int4 topk fine coarse)
    mkdir -p "$CORPUS/$target"
    if [[ $target == manifest ]]; then
        cp "$ROOT"/attacks/manifest/*.json "$CORPUS/manifest/"
        return
    fi
    for file in "$ROOT"/attacks/delta/*.safetensors; do
        name=$(basename "$file")
        for index in "${!encodings[@]}"; do
            [[ $name != "${encodings[index]}"-* ]] || break
        done
        { printf '%b' "\\x0$index" && cat "$file"; } >"$CORPUS/$target/$name"
    done
}

main() {
    local seconds=${1:-600} target targets
    shift || true
    targets=("$@")
    ((${#targets[@]})) || targets=(manifest delta tensor)
    rustc +nightly --version >/dev/null 2>&1 || die 'no nightly compiler: rustup toolchain install nightly'
    export PATH=$CACHE/bin:$PATH
    have cargo-fuzz || cargo install --locked --root "$CACHE" cargo-fuzz
    export CARGO_TARGET_DIR=$CACHE/fuzz
    CORPUS=$CACHE/fuzz-corpus
    cd "$ROOT"
    for target in "${targets[@]}"; do
        seed "$target"
        # An object of this model has at most some 10 KiB; whatever needs more memory than this has left its bounds.
        cargo +nightly fuzz run "$target" "$CORPUS/$target" -- -max_total_time="$seconds" -max_len=16384 -rss_limit_mb=512 \
            -malloc_limit_mb=64 -timeout=5
    done
    say "${#targets[@]} targets, $seconds s each: nothing found"
}

main "$@"
