#!/usr/bin/env bash
# Resolves pyproject.toml to requirements.lock: every package, pinned, with hashes, without index addresses.
# Two parts of it, at the same versions, are for the image: what the service needs, and what builds the wheel.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x build/uv/bin/uv ] || { python3 -m venv build/uv && build/uv/bin/pip install --quiet uv; }
compile() {
    build/uv/bin/uv pip compile --universal --python-version 3.11 \
        --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet "$@"
}
compile pyproject.toml --extra sandbox --extra dev --extra postgres --output-file requirements.lock "$@"
compile pyproject.toml --extra postgres --constraints requirements.lock --output-file deploy/image/runtime.lock
echo hatchling | compile - --constraints requirements.lock --output-file deploy/image/build.lock
