# The one way to do each thing; CI runs the same targets.
.PHONY: help setup lint test proof demo bench docs dist lock clean
PY := .venv/bin/python
# What kustomize reads itself, patches and kinds that Kubernetes has not are left to the tests.
MANIFESTS = $(filter-out %/kustomization.yaml,$(wildcard deploy/kubernetes/base/*.yaml)) $(wildcard deploy/kubernetes/overlays/*/volume-claim.yaml)
# Tests run on two workers, each with stand-ins of its own; one after the other where they share a real server.
WORKERS ?= $(if $(SQLSERVER_HOST)$(DATABRICKS_HOST),0,2)

help:           ## show this list
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup:          ## make .venv with locked packages, and install the system libraries that the driver needs
	@bash tools/setup.sh

lint: setup     ## ruff, mypy (strict), import rules, Dockerfile, Kubernetes manifests
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports
	.venv/bin/hadolint Dockerfile
	.venv/bin/kubernetes-validate --strict $(MANIFESTS)

test: setup     ## every test, on the sandbox or on the servers that the environment names
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

proof: setup    ## the long campaigns whole: kills, racing pollers, outages (`make test` runs a seeded sample)
	BRIDGE_PROOF=whole $(PY) -m pytest tests/proof --timeout=14400

demo: setup     ## the whole show on the sandbox, both ways: 336,776 flights out, three events back
	.venv/bin/bridge demo

bench: setup    ## measure speed and memory as ratios, into build/bench/latest.json, .md and .svg
	$(PY) -m benchmarks

docs: setup     ## build the documentation into build/docs
	.venv/bin/python -m sql_databricks_bridge.core.type_docs docs/types.md
	.venv/bin/mkdocs build --strict --quiet

dist: setup     ## build wheels and sdists into dist/, install them in a clean environment, run the demo there
	rm -rf dist
	$(PY) -m hatchling build -d dist
	cd sdk && ../$(PY) -m hatchling build -d ../dist
	bash tools/check_dist.sh

lock: setup     ## make requirements.lock anew from pyproject.toml
	bash tools/lock.sh

clean:          ## remove what the targets made
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
