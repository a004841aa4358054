#!/usr/bin/env bash
# Resolves pyproject.toml to requirements.lock: every package, pinned, with hashes, without index addresses.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x build/uv/bin/uv ] || { python3 -m venv build/uv && build/uv/bin/pip install --quiet uv; }
build/uv/bin/uv pip compile pyproject.toml --extra sandbox --extra dev --extra postgres --universal --python-version 3.11 \
    --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --output-file requirements.lock "$@"
