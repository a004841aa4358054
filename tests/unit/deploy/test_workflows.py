"""Workflows and hooks call what is there, with no more rights than they need."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.deploy.manifests import ROOT, document

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = document(path)["jobs"]
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(path).values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_read_only_and_its_actions_have_versions(path: Path) -> None:
    assert document(path)["permissions"] == {"contents": "read"}
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used
    assert [name for name in used if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+(\.\d+)*", name)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_target_and_script_that_a_workflow_runs_is_there(path: Path) -> None:
    commands = " ; ".join(step.get("run", "") for step in steps(path)).replace("\n", " ; ")
    targets = {name for found in re.findall(r"\bmake ([a-z ]+)", commands) for name in found.split()}
    assert [name for name in targets if f"\n{name}: " not in MAKEFILE] == []
    files = re.findall(r"\b(?:deploy|tools|tests)/[\w./-]+\b", commands)
    assert [name for name in files if not (ROOT / name).exists() and name != "deploy/compose/.env"] == []


def test_every_python_that_the_project_promises_is_tested() -> None:
    matrix = jobs(ROOT / ".github/workflows/ci.yml")["test"]["strategy"]["matrix"]["python"]
    assert matrix == ["3.11", "3.12", "3.13", "3.14"]


def test_every_hook_is_local_and_runs_a_tool_of_the_environment() -> None:
    (repo,) = document(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    assert [hook["id"] for hook in repo["hooks"] if not hook["entry"].startswith(".venv/bin/")] == []
    assert {hook["language"] for hook in repo["hooks"]} == {"system"}
