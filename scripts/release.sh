#!/usr/bin/env bash
# Makes the tarball that runs on a bare machine: both programs, libtorch for the CPU, config, manuals, licences; and its SHA256SUMS.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'USAGE'
usage: scripts/release.sh [--out DIR] [--profile release|dev] [--programs DIR] [--folder]

  --out DIR       where bistro-VERSION-x86_64-linux.tar.gz and SHA256SUMS go (default: dist)
  --profile       how the programs are built (default: release)
  --programs DIR  take bistro-miner and bistro-validator from DIR instead of building them
  --folder        the unpacked folder only, no tarball
USAGE
}

# Builds both programs without the path of this machine's libtorch, and prints their folder.
build() { # $1: release or dev
    local flags=(--locked -p bistro-miner -p bistro-validator) folder=debug
    [[ $1 == dev ]] || flags+=(--release) folder=release
    (cd "$ROOT" && BISTRO_PORTABLE=1 cargo build "${flags[@]}") >&2 || die 'the build failed: see above'
    printf '%s' "$CARGO_TARGET_DIR/$folder"
}

# The first `version` of Cargo.toml is the workspace's.
version() { sed -n '/^version = /{s/^version = "\(.*\)"/\1/p;q}' "$ROOT/Cargo.toml"; }

copy_libraries() { # $1: where
    local library
    for library in libtorch_cpu.so libc10.so libgomp.so.1 libcudart.so.13 libcupti.so.13; do
        [[ -e $LIBTORCH/lib/$library ]] || die "$LIBTORCH/lib has no $library: a release needs the libtorch that ./scripts/setup.sh --cpu installs"
        cp -L --reflink=auto "$LIBTORCH/lib/$library" "$1/"
    done
    # The name that the programs were linked with.
    ln -s libtorch_cpu.so "$1/libtorch.so"
}

# Manuals and completions are the programs' own word.
write_manuals() { # $1: the release's folder
    local program
    mkdir -p "$1/share/man/man1" "$1/share/bash-completion/completions" "$1/share/zsh/site-functions" "$1/share/fish/vendor_completions.d"
    for program in bistro-miner bistro-validator; do
        "$1/bin/$program" man --out "$1/share/man/man1"
        "$1/bin/$program" completions bash >"$1/share/bash-completion/completions/$program"
        "$1/bin/$program" completions zsh >"$1/share/zsh/site-functions/_$program"
        "$1/bin/$program" completions fish >"$1/share/fish/vendor_completions.d/$program.fish"
    done
}

copy_licences() { # $1: where
    cp -rL "$LIBTORCH/licences" "$1"
    (cd "$ROOT" && cargo metadata --locked --format-version 1 --filter-platform x86_64-unknown-linux-gnu) |
        python3 "$ROOT/scripts/release/licences.py" bistro-miner bistro-validator >"$1/crates.txt"
}

# The newest glibc whose symbols something in the folder asks for.
glibc_wanted() { # $1: the release's folder
    have objdump || { printf 'unknown' && return; }
    find "$1/bin" "$1/lib" -type f -exec objdump -T {} + 2>/dev/null | grep -o 'GLIBC_2\.[0-9]*' | sort -uV | tail -n 1 || printf 'unknown'
}

assemble() { # $1: programs, $2: the release's folder
    local name
    mkdir -p "$2"/{bin,lib,share/doc/bistro}
    for name in bistro-miner bistro-validator; do
        [[ -x $1/$name ]] || die "$1/$name is not there: build it, or leave out --programs"
        install -m 755 "$1/$name" "$2/bin/$name"
    done
    copy_libraries "$2/lib"
    write_manuals "$2"
    copy_licences "$2/licences"
    cp -r "$ROOT/config" "$2/config"
    cp -r "$ROOT/docs/." "$2/share/doc/bistro/"
    cp "$ROOT"/{README.md,CHANGELOG.md,SECURITY.md,LICENSE} "$2/"
    {
        printf 'bistro %s\ncommit %s\n' "$(version)" "$(git -C "$ROOT" rev-parse HEAD 2>/dev/null || echo unknown)"
        printf 'libtorch %s\nneeds x86-64 Linux with glibc %s or newer and libstdc++\n' "$(libtorch_version "$LIBTORCH")" "$(glibc_wanted "$2")"
    } >"$2/BUILD"
}

pack() { # $1: the folder that holds $2, $2: the release's folder, $3: where to
    local time
    time=$(git -C "$ROOT" log -1 --format=%ct 2>/dev/null || echo 0)
    # The same tree gives the same bytes.
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$time" -C "$1" -cf - "$2" | gzip -n >"$3/$2.tar.gz"
    (cd "$3" && sha256sum "$2.tar.gz" >SHA256SUMS)
    say "$3/$2.tar.gz: $(du -h "$3/$2.tar.gz" | cut -f1), and SHA256SUMS"
}

main() {
    local out=dist profile=release programs='' folder='' name
    while (($#)); do
        case $1 in
        --out) out=${2:?--out wants a folder} && shift ;;
        --profile) profile=${2:?--profile wants release or dev} && shift ;;
        --programs) programs=${2:?--programs wants a folder} && shift ;;
        --folder) folder=yes ;;
        -h | --help) usage && return ;;
        *) usage >&2 && die "unknown argument: $1" ;;
        esac
        shift
    done
    [[ $profile == release || $profile == dev ]] || die "--profile $profile: release or dev is wanted"
    mkdir -p "$out"
    out=$(cd "$out" && pwd -P)
    "$ROOT/scripts/setup.sh" --cpu
    build_env
    # Before a build of a quarter of an hour, not after it.
    [[ -d $LIBTORCH/licences ]] || die "$LIBTORCH has no licences: remove that folder and run ./scripts/setup.sh --cpu again, which keeps them"
    [[ -n $programs ]] || programs=$(build "$profile")
    name=bistro-$(version)-x86_64-linux
    [[ ! -e $out/$name ]] || die "$out/$name is there already: remove it"
    assemble "$programs" "$out/$name"
    [[ -z $folder ]] || { say "$out/$name" && return; }
    pack "$out" "$name" "$out"
    rm -rf "${out:?}/$name"
}

main "$@"
