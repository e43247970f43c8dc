# shellcheck shell=bash disable=SC2034  # what the sourcing script uses looks unused here
# Shared by the scripts of this folder; sourced, never run. Defines functions and the places below, and has no other effect.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# Everything large lives outside the clone, so that a second clone, or a fresh one in CI, finds it.
CACHE=${BISTRO_CACHE:-${XDG_CACHE_HOME:-${HOME:?HOME is not set, so set BISTRO_CACHE}/.cache}/bistro}
# The one PyTorch that the tch crate of Cargo.toml is made for.
TORCH_VERSION=2.11.0

say() { printf '%s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# The interpreter that torch-sys asks when LIBTORCH_USE_PYTORCH is set.
python() {
    if [[ -n ${VIRTUAL_ENV:-} ]]; then command python "$@"; else python3 "$@"; fi
}

# Prints the version of the libtorch in folder $1, or nothing when there is none to be told.
libtorch_version() {
    local dir=$1 version header
    if [[ -f $dir/build-version ]]; then
        version=$(<"$dir/build-version")
        printf '%s' "${version%%+*}"
        return
    fi
    # A wheel or Python's copy has no such file; older ones have the numbers in the second header.
    for header in "$dir"/include/torch/{headeronly,csrc/api/include/torch}/version.h; do
        [[ -f $header ]] || continue
        version=$(sed -nE 's/^#define TORCH_VERSION_(MAJOR|MINOR|PATCH) +([0-9]+).*/\2/p' "$header" | paste -sd.)
        [[ -z $version ]] || break
    done
    printf '%s' "${version:-}"
}

# Sets what cargo needs: where libtorch is, by its real path so that every clone shares one build of torch-sys,
# a target folder outside the clone, and the tools that setup.sh installed.
build_env() {
    if [[ -z ${LIBTORCH:-} && -z ${LIBTORCH_USE_PYTORCH+set} ]]; then
        LIBTORCH=$(realpath -e "$ROOT/.libtorch") || die "no libtorch at .libtorch: run ./scripts/setup.sh first"
        export LIBTORCH
    fi
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
    export PATH=$CACHE/bin:$PATH
}
