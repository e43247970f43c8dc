#!/usr/bin/env bash
# Holds what runs the programs for others against those others' own tools: the units against systemd, the Containerfile against
# hadolint, compose.yaml and the workflows against their schemas. Needs systemd-analyze (Debian: systemd).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"

# Exposure that `systemd-analyze security` may find, in tenths; 17 when this was written.
readonly EXPOSURE=20

main() {
    local dir venv=$CACHE/services-venv unit
    have systemd-analyze || die 'systemd-analyze is missing: apt-get install systemd'
    # Another list of requirements is another environment.
    venv+=-$(sha256sum <"$ROOT/scripts/conformance/services/requirements.txt" | cut -c1-8)
    if [[ ! -x $venv/bin/hadolint ]]; then
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --requirement "$ROOT/scripts/conformance/services/requirements.txt"
    fi
    dir=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$dir'" EXIT
    for unit in bistro-miner@ bistro-validator@; do
        # The program is not installed here; all else is as shipped.
        sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' "$ROOT/config/systemd/$unit.service" >"$dir/$unit.service"
        systemd-analyze verify "$dir/$unit.service"
        systemd-analyze security --offline=true --threshold=$EXPOSURE "$dir/$unit.service" | tail -n 1
    done
    systemd-sysusers --dry-run "$ROOT/config/systemd/bistro.sysusers"
    "$venv/bin/hadolint" "$ROOT/Containerfile"
    "$venv/bin/check-jsonschema" --builtin-schema vendor.compose-spec "$ROOT/compose.yaml"
    "$venv/bin/check-jsonschema" --builtin-schema vendor.github-workflows "$ROOT"/.github/workflows/*.yml
    say 'units, Containerfile, compose.yaml and workflows are sound'
}

main "$@"
