#!/usr/bin/env bash
# Installs the wheels of dist/ in a clean environment, everything by its hash, and runs the demo from an empty folder.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
python=${PYTHON:-.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf 'check_dist: %s\n' "$*" >&2; }
fail() { printf 'check_dist: %s\n' "$*" >&2; exit 1; }

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' src/sql_databricks_bridge/__init__.py)
for name in sql-databricks-bridge sql-databricks-bridge-sdk; do
    file=${name//-/_}-$version
    [ -f "dist/$file.tar.gz" ] && [ -f "dist/$file-py3-none-any.whl" ] || fail "dist/ lacks $file; run: make dist"
    echo "$name @ file://$root/dist/$file-py3-none-any.whl --hash=sha256:$(sha256sum < "dist/$file-py3-none-any.whl" | cut -d' ' -f1)"
done > "$work/wheels.txt"

say "making a clean environment (about 250 MB)"
"$python" -m venv "$work/venv"
pip() { PIP_DISABLE_PIP_VERSION_CHECK=1 "$work/venv/bin/python" -m pip --quiet "$@"; }
pip install --use-pep517 --require-hashes -r requirements.lock -r "$work/wheels.txt"
pip check

say "building wheels from the sdists: they must hold the same files"
for sdist in dist/*-"$version".tar.gz; do
    pip wheel --no-deps --no-build-isolation --wheel-dir "$work/again" "$sdist"
done
for wheel in "$work"/again/*.whl; do
    diff <("$python" -m zipfile -l "$wheel" | awk '{print $1, $NF}') \
        <("$python" -m zipfile -l "dist/$(basename "$wheel")" | awk '{print $1, $NF}') ||
        fail "$(basename "$wheel") differs when it is built from the sdist"
done

mkdir "$work/empty"
cd "$work/empty"
[ "$("$work/venv/bin/bridge" version --json | "$work/venv/bin/python" -c 'import json, sys; print(json.load(sys.stdin)["version"])')" = "$version" ] ||
    fail "bridge version does not say $version"
"$work/venv/bin/python" -c 'import sql_databricks_bridge_sdk as sdk, sys; sys.exit(sdk.__file__.startswith(sys.argv[1]))' "$root" ||
    fail "the SDK was imported from the clone"
say "running the demo"
"$work/venv/bin/bridge" demo
say "ready: dist/ holds version $version"
