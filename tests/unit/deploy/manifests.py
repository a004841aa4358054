"""Reading what lies under deploy/, for the tests beside this file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
OTHER_VARIABLES = frozenset({"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "BRIDGE_ENV_FILE", "BRIDGE_TOKEN"})
"""What a manifest may set besides settings; BRIDGE_TOKEN is read by a permissions.yaml, as env:BRIDGE_TOKEN."""


def documents(path: Path) -> list[Any]:
    """Every YAML document of a file."""
    return [found for found in yaml.safe_load_all(path.read_text(encoding="utf-8")) if found is not None]


def document(path: Path) -> Any:
    """The only YAML document of a file."""
    (found,) = documents(path)
    return found


def env_file(path: Path) -> dict[str, str]:
    """NAME=value lines."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def dockerfile_environment() -> dict[str, str]:
    """What the ENV instructions of the image's stage set."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    stage = text[text.index(" AS base\n") :]
    found: dict[str, str] = {}
    for line in re.findall(r"^ENV (.*)$", stage, re.M):
        found |= dict(pair.split("=", 1) for pair in line.split())
    return found
