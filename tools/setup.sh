#!/usr/bin/env bash
# Makes .venv with everything that demo and tests need, from nothing but Python 3.11 or later on Debian or Ubuntu.
# Safe to run again: what is there already is kept.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif command -v sudo >/dev/null 2>&1; then sudo "$@"
    else fail "these system packages are missing and neither root nor sudo is at hand: run as root: $*"
    fi
}

apt_install() {
    command -v apt-get >/dev/null 2>&1 || fail "please install the equivalents of: $* (no apt-get here)"
    say "installing system packages: $*"
    log=$(mktemp)
    if ! { as_root apt-get update -qq &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } >"$log" 2>&1
    then
        cat "$log" >&2
        fail "apt-get could not install: $*"
    fi
    rm -f "$log"
}

python=${PYTHON:-}
if [ -z "$python" ]; then
    for candidate in python3.11 python3.12 python3.13 python3.14 python3; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            python=$candidate
            break
        fi
    done
fi
[ -n "$python" ] || fail "Python 3.11 or later was not found; install it or set PYTHON=/path/to/python3"

# Microsoft's driver loads these when it connects (its wheel does not bundle them).
missing=()
has_library() { "$python" -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "$1" >/dev/null 2>&1; }
has_library libltdl.so.7 || missing+=(libltdl7)
has_library libkrb5.so.3 || missing+=(libkrb5-3)
has_library libgssapi_krb5.so.2 || missing+=(libgssapi-krb5-2)
"$python" -c 'import ensurepip' >/dev/null 2>&1 ||
    missing+=("$("$python" -c 'import sys; print(f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")')")
[ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"

stamp=$(cat requirements.lock pyproject.toml sdk/pyproject.toml | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
if [ -x .venv/bin/bridge ] && [ "$(cat .venv/.stamp 2>/dev/null)" = "$stamp" ]; then exit 0; fi

say "making .venv with $("$python" --version)"
[ -x .venv/bin/python ] && .venv/bin/python -c 'import pip' >/dev/null 2>&1 || "$python" -m venv --clear .venv
pip() { PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip "$@"; }
say "installing locked packages (about 250 MB, once)"
pip install --quiet --use-pep517 --require-hashes -r requirements.lock
pip install --quiet --no-deps --no-build-isolation --editable . --editable ./sdk
echo "$stamp" > .venv/.stamp
say "ready"
