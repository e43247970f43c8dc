#!/usr/bin/env bash
# Changes the mechanism one line at a time, and demands that some test notices each change. scripts/mutants.sh [FLAGS of
# cargo mutants, as --file 'crates/bistro-core/src/mechanism/weights.rs']. cargo-mutants is installed when it is not there.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
    export PATH=$CACHE/bin:$PATH
    have cargo-mutants || cargo install --locked --root "$CACHE" cargo-mutants
    cd "$ROOT"
    # In the clone's own folder the build is taken up from change to change; the clone is left as it was.
    # Unoptimised, a build takes a second instead of ten: 373 changes in a quarter of an hour.
    export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0
    cargo mutants --cargo-arg=--config=profile.dev.package.bistro-core.opt-level=0 --in-place --package bistro-core \
        --file 'crates/bistro-core/src/mechanism/*.rs' \
        --file crates/bistro-core/src/ledger.rs --baseline skip --timeout 60 --output "$CACHE/mutants" --colors never "$@" \
        -- --lib || die "some changes were noticed by no test: $CACHE/mutants/mutants.out/missed.txt"
    say 'every change was noticed'
}

main "$@"
